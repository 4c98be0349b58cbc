//! Commands as `-mapper` and its like give them. Pure.

use std::path::Path;

/// Cuts a command into words as Hadoop Streaming does (`PipeMapRed.splitArgs`): at spaces, and at
/// quotes, single or double, between which spaces are ordinary. Nothing can be escaped, there are no
/// variables, and empty words vanish: for more, give `sh -c '...'`.
pub(super) fn split_command(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for letter in command.chars() {
        let ends = match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                true
            }
            (_, Some(open)) if letter == open => {
                quote = None;
                true
            }
            (' ', None) => true,
            _ => false,
        };
        if !ends {
            word.push(letter);
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A command whose program is a file that is brought along runs what lies in the working directory: of
/// the path only the name is left (Hadoop's `unqualifyIfLocalPath`). `shipped`: the paths of `-file` and
/// `-files`, without names of links.
pub(super) fn unqualify(command: &str, shipped: &[String]) -> String {
    let program = command.split(' ').next().unwrap_or_default();
    if !program.contains('/') || !shipped.iter().any(|file| same_path(file, program)) {
        return command.to_owned();
    }
    let name = program.rsplit('/').next().unwrap_or_default();
    format!("{name}{}", &command[program.len()..])
}

fn same_path(a: &str, b: &str) -> bool {
    let plain =
        |path| Path::new(path).components().filter(|c| !matches!(c, std::path::Component::CurDir));
    plain(a).eq(plain(b))
}

/// What a mapper, combiner or reducer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Records pass as they are.
    Identity,
    /// Hadoop's Aggregate package.
    Aggregate,
    /// A program with its arguments: lines in, lines out.
    Command(String),
}

impl Step {
    /// Reads what an option says. `Err`: it is a Java class, which can't be run.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" | "NONE" | "IdentityMapper" | "IdentityReducer" => Ok(Self::Identity),
            name if name.eq_ignore_ascii_case("aggregate") => Ok(Self::Aggregate),
            name if name.starts_with("org.apache.hadoop.") && !name.contains([' ', '/']) => {
                match name.rsplit('.').next() {
                    Some("IdentityMapper" | "IdentityReducer" | "Mapper" | "Reducer") => {
                        Ok(Self::Identity)
                    }
                    Some("ValueAggregatorReducer" | "ValueAggregatorCombiner") => {
                        Ok(Self::Aggregate)
                    }
                    _ => Err(format!(
                        "{name} is a Java class, and there is no Java here; give a command, \
                         IdentityMapper, IdentityReducer or aggregate"
                    )),
                }
            }
            command => Ok(Self::Command(command.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_and_quotes() {
        let split = |text| split_command(text);
        assert_eq!(split("python3  map.py -x 1"), ["python3", "map.py", "-x", "1"]);
        assert_eq!(split("sh -c 'grep \"a b\" | cat'"), ["sh", "-c", "grep \"a b\" | cat"]);
        assert_eq!(split("awk \"{ print $1 }\""), ["awk", "{ print $1 }"]);
        // As in Hadoop: a quote ends a word, and what is between two quotes alone is none.
        assert_eq!(split("a'b c'd ''"), ["a", "b c", "d"]);
        assert_eq!(split("a\\ b"), ["a\\", "b"]);
        assert_eq!(split(""), [""; 0]);
        assert_eq!(split("x 'unended y"), ["x", "unended y"]);
    }

    #[test]
    fn shipped_programs_lose_their_path() {
        let shipped = vec!["/home/me/map.py".to_owned(), "./red.sh".to_owned()];
        assert_eq!(unqualify("/home/me/map.py -a /b", &shipped), "map.py -a /b");
        assert_eq!(unqualify("/home/me/other.py", &shipped), "/home/me/other.py");
        assert_eq!(unqualify("./red.sh", &shipped), "red.sh");
        assert_eq!(unqualify("python /home/me/map.py", &shipped), "python /home/me/map.py");
    }

    #[test]
    fn classes_are_told_from_commands() {
        assert_eq!(Step::read("org.apache.hadoop.mapred.lib.IdentityMapper"), Ok(Step::Identity));
        assert_eq!(Step::read("NONE"), Ok(Step::Identity));
        assert_eq!(Step::read("Aggregate"), Ok(Step::Aggregate));
        assert_eq!(Step::read("/bin/cat -n"), Ok(Step::Command("/bin/cat -n".into())));
        assert!(
            Step::read("org.apache.hadoop.mapred.lib.RegexMapper").unwrap_err().contains("Java")
        );
    }
}
