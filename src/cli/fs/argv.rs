//! FsShell's command lines, written the way this command line is parsed: `hfs fs -put a /b` and
//! `hfs put a /b` are the same, and `-skipTrash` is an option, not seven.

use std::ffi::OsString;

/// FsShell's options of more than one letter with a single dash.
const LONG_OPTIONS: [&str; 8] =
    ["crc", "ignoreCrc", "ignorecrc", "immediate", "nl", "safely", "skip-empty-file", "skipTrash"];

/// Options in front of the verb that take a value, besides those written `--option=value`.
const WITH_VALUE: [&str; 3] = ["--fs", "-fs", "-D"];

/// Whether a word of the command line is `fs` or `dfs`.
fn is_front(word: &str) -> bool {
    word == "fs" || word == "dfs"
}

/// The command line as the parser wants it. `is_verb` knows the file verbs.
#[must_use]
pub fn normalize(args: Vec<OsString>, is_verb: impl Fn(&str) -> bool) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    out.extend(args.next());
    let mut in_front = false;
    while let Some(arg) = args.next() {
        let Some(word) = arg.to_str() else {
            out.push(arg);
            break;
        };
        if WITH_VALUE.contains(&word) {
            out.push(if word == "-fs" { "--fs".into() } else { arg });
            out.extend(args.next());
        } else if !in_front && is_front(word) {
            in_front = true;
            out.push(arg);
        } else if in_front && word.starts_with('-') && is_verb(&word[1..]) {
            out.push(word[1..].into());
            return options(out, args);
        } else if in_front && matches!(word, "-help" | "-usage") {
            out.push("help".into());
            out.extend(args.map(
                |word| match word.to_str().and_then(|word| word.strip_prefix('-')) {
                    Some(verb) if is_verb(verb) => verb.into(),
                    _ => word,
                },
            ));
            return out;
        } else if is_verb(word) {
            out.push(arg);
            return options(out, args);
        } else if word.starts_with('-') {
            out.push(arg);
        } else {
            // Not a file verb: its words are its own.
            out.push(arg);
            break;
        }
    }
    out.extend(args);
    out
}

/// The words after a verb, which is the last one in `out`.
fn options(mut out: Vec<OsString>, args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let copies = out.last().is_some_and(|verb| verb == "cp");
    let mut plain = false;
    for arg in args {
        let option = arg.to_str().and_then(|word| word.strip_prefix('-')).filter(|_| !plain);
        match option {
            Some("-") => plain = true,
            Some(name) if LONG_OPTIONS.contains(&name) => {
                out.push(format!("--{name}").into());
                continue;
            }
            Some(name) if copies && is_preserve(name) => {
                out.push(format!("-p={}", &name[1..]).into());
                continue;
            }
            _ => {}
        }
        out.push(arg);
    }
    out
}

/// `ptop`: an option of `cp` with what it keeps.
fn is_preserve(name: &str) -> bool {
    name.len() > 1 && name.starts_with('p') && name.bytes().skip(1).all(|b| b"topax".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(line: &str) -> String {
        let verbs = ["cp", "ls", "put", "rm"];
        let args = line.split(' ').map(OsString::from).collect();
        let out = normalize(args, |word| verbs.contains(&word));
        out.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_three_ways_to_say_a_verb() {
        assert_eq!(normal("hfs put a /b"), "hfs put a /b");
        assert_eq!(normal("hfs fs -put a /b"), "hfs fs put a /b");
        assert_eq!(normal("hfs dfs -put a /b"), "hfs dfs put a /b");
        assert_eq!(normal("hfs fs put a /b"), "hfs fs put a /b");
    }

    #[test]
    fn long_options_with_one_dash() {
        assert_eq!(normal("hfs rm -r -skipTrash /x"), "hfs rm -r --skipTrash /x");
        assert_eq!(normal("hfs fs -rm -skipTrash /x"), "hfs fs rm --skipTrash /x");
        assert_eq!(normal("hfs rm -- -skipTrash"), "hfs rm -- -skipTrash");
        assert_eq!(normal("hfs job submit -skipTrash"), "hfs job submit -skipTrash");
        assert_eq!(normal("hfs cp -ptop -p a b"), "hfs cp -p=top -p a b");
        assert_eq!(normal("hfs put -ptop"), "hfs put -ptop");
    }

    #[test]
    fn generic_options_before_the_verb() {
        assert_eq!(normal("hfs fs -D a=b -fs hdfs://x -ls /"), "hfs fs -D a=b --fs hdfs://x ls /");
        assert_eq!(normal("hfs --fs hdfs://x ls -h /"), "hfs --fs hdfs://x ls -h /");
        assert_eq!(normal("hfs fs -help ls"), "hfs fs help ls");
        assert_eq!(normal("hfs fs -help -ls"), "hfs fs help ls");
    }
}
