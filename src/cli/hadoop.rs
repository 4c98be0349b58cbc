//! `hfs hadoop-shim DIR`: a directory laid out as an installation of Hadoop, for programs that look for
//! one and call its `bin/hadoop`. What the scripts in it call is `hfs hadoop`, which gives Hadoop's
//! commands to the verbs of hfs.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::streaming;

/// The verb of the scripts.
pub const VERB: &str = "hadoop";

/// The Hadoop whose commands and output these are like.
const VERSION: &str = "3.4.1";

/// The scripts in `bin`.
const SCRIPTS: [&str; 3] = ["hadoop", "hdfs", "mapred"];

/// `hfs hadoop-shim`.
#[derive(Debug, clap::Args)]
pub struct HadoopShim {
    /// The directory to make or to renew; use it as HADOOP_HOME
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl HadoopShim {
    /// Writes the directory.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn run(self) -> Result<()> {
        let hfs = std::env::current_exe().context("the program's own file can't be found")?;
        write(&self.dir, &hfs).with_context(|| format!("can't write {}", self.dir.display()))?;
        let dir = self.dir.canonicalize().unwrap_or(self.dir);
        println!("export HADOOP_HOME={}", quoted(&dir)?);
        Ok(())
    }
}

fn write(dir: &Path, hfs: &Path) -> Result<()> {
    let bin = dir.join("bin");
    let tools = dir.join("share/hadoop/tools/lib");
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&tools)?;
    let script = format!("#!/bin/sh\nexec {} {VERB} \"$@\"\n", quoted(hfs)?);
    for name in SCRIPTS {
        let path = bin.join(name);
        fs::write(&path, &script)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    // Programs want to know where it is; what is in it nobody reads. This is a zip file without entries.
    let mut empty_zip = b"PK\x05\x06".to_vec();
    empty_zip.resize(22, 0);
    fs::write(tools.join(format!("hadoop-streaming-{VERSION}.jar")), empty_zip)?;
    Ok(())
}

/// A path as one word of a shell script.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// What a command of Hadoop is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A command line of hfs, without the program's name.
    Hfs(Vec<OsString>),
    /// Something to print.
    Text(String),
}

/// Reads what comes after `hadoop`.
///
/// # Errors
/// A command that there is not.
pub fn translate(words: Vec<OsString>) -> Result<Meaning> {
    let mut words = words.into_iter();
    let first = words.next().unwrap_or_default();
    let rest: Vec<OsString> = words.collect();
    let hfs = |verb: &[&str], rest: &[OsString]| {
        Ok(Meaning::Hfs(verb.iter().map(OsString::from).chain(rest.iter().cloned()).collect()))
    };
    match first.to_str().unwrap_or_default() {
        "fs" | "dfs" => hfs(&["fs"], &rest),
        "version" | "-version" | "--version" => Ok(Meaning::Text(format!(
            "Hadoop {VERSION}\nThis is hfs {}, which has Hadoop's commands.",
            env!("CARGO_PKG_VERSION")
        ))),
        "streaming" => hfs(&[streaming::VERB], &rest),
        "jar" => {
            let jar = rest.first().map(PathBuf::from).unwrap_or_default();
            let name = jar.file_name().map(|name| name.to_string_lossy().into_owned());
            if !name.is_some_and(|name| name.contains("streaming") && name.ends_with(".jar")) {
                bail!(
                    "Not a valid JAR: {}: there is no Java here; the one jar that can be run is that of \
                     Hadoop Streaming",
                    jar.display()
                );
            }
            hfs(&[streaming::VERB], &rest[1..])
        }
        "job" => {
            let (action, ids) =
                rest.split_first().context("say what: -list, -status, -kill or -logs")?;
            match action.to_str().unwrap_or_default() {
                "-list" => hfs(&["job", "list"], &[]),
                "-status" => hfs(&["job", "status"], ids),
                "-kill" => hfs(&["job", "kill"], ids),
                "-logs" => hfs(&["job", "logs"], ids),
                other => {
                    bail!("there is no job {other}; there are -list, -status, -kill and -logs")
                }
            }
        }
        other => bail!(
            "there is no command '{other}'; there are fs, dfs, jar (for Hadoop Streaming), streaming, job \
             and version"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn meaning(line: &str) -> Result<String> {
        let meaning = translate(line.split(' ').map(OsString::from).collect())?;
        Ok(match meaning {
            Meaning::Text(text) => text,
            Meaning::Hfs(words) => {
                words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
            }
        })
    }

    #[test]
    fn commands_of_hadoop_are_verbs_of_hfs() {
        assert_eq!(meaning("fs -ls /").unwrap(), "fs -ls /");
        assert_eq!(meaning("dfs -put a /b").unwrap(), "fs -put a /b");
        let line = "jar /x/hadoop-streaming-3.4.1.jar -input /a";
        assert_eq!(meaning(line).unwrap(), "streaming -input /a");
        assert_eq!(meaning("streaming -info").unwrap(), "streaming -info");
        assert_eq!(meaning("job -kill job_1_0001").unwrap(), "job kill job_1_0001");
        assert!(meaning("version").unwrap().starts_with("Hadoop 3."));
        assert!(
            meaning("jar x.jar").unwrap_err().to_string().starts_with("Not a valid JAR: x.jar")
        );
        assert!(meaning("balancer").unwrap_err().to_string().contains("'balancer'"));
    }

    #[test]
    fn the_directory_is_laid_out_like_an_installation() {
        let dir = tempfile::tempdir().unwrap();
        let hfs = Path::new("/opt/it's here/hfs");
        for _ in 0..2 {
            write(dir.path(), hfs).unwrap();
        }
        let script = dir.path().join("bin/hadoop");
        let text = fs::read_to_string(&script).unwrap();
        assert_eq!(text, "#!/bin/sh\nexec '/opt/it'\\''s here/hfs' hadoop \"$@\"\n");
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o777, 0o755);
        let jar = dir.path().join(format!("share/hadoop/tools/lib/hadoop-streaming-{VERSION}.jar"));
        assert_eq!(fs::metadata(jar).unwrap().len(), 22);
    }
}
