//! What the file verbs share: file systems by URL, arguments with globs, complaints, output.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Stdout, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use hfs_client::{ClientConfig, ErrorKind, FileStatus, FileSystem, FsUrl};
use hfs_mapreduce::files::Files;
use parking_lot::Mutex;

use super::glob::{self, Pattern};
use crate::cli::global::GlobalArgs;

/// FsShell's exit code for a command line that makes no sense (-1).
pub const USAGE_EXIT: u8 = 255;

/// The exit code of a program whose reader went away, as a shell sees it (128 + SIGPIPE).
const BROKEN_PIPE_EXIT: i32 = 141;

/// Why a verb could not do its work on one argument: FsShell's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint(pub String);

/// A verb's result for one argument.
pub type Done<T = ()> = Result<T, Complaint>;

impl Complaint {
    /// FsShell's form for a path: `` `/x': No such file or directory ``.
    #[must_use]
    pub fn path(path: &str, what: &str) -> Self {
        Self(format!("`{path}': {what}"))
    }

    /// What a client error means for this argument, in FsShell's words.
    #[must_use]
    pub fn from_client(path: &str, error: &hfs_client::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::path(path, "No such file or directory"),
            ErrorKind::AlreadyExists => Self::path(path, "File exists"),
            ErrorKind::ParentNotDirectory => Self::path(path, "Is not a directory"),
            ErrorKind::DirectoryNotEmpty => Self::path(path, "Directory is not empty"),
            _ => Self(error.to_string()),
        }
    }
}

impl From<hfs_client::Error> for Complaint {
    fn from(error: hfs_client::Error) -> Self {
        match error.path() {
            Some(path) => Self::from_client(path, &error),
            None => Self(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Complaint {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// A path on a file system, with the form the user knows it by.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file system.
    pub fs: FileSystem,
    /// The absolute path on it.
    pub path: String,
    /// The path as FsShell shows it: as it was given, with what was found below it.
    pub shown: String,
}

impl Target {
    /// The entry of this name in this directory.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self { fs: self.fs.clone(), path: join(&self.path, name), shown: join(&self.shown, name) }
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The directory it is in; the root for the root.
    #[must_use]
    pub fn parent(&self) -> &str {
        match self.path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        }
    }

    /// Its status, or `None` when there is no such path.
    ///
    /// # Errors
    /// The namenode's refusal.
    pub async fn try_status(&self) -> Done<Option<FileStatus>> {
        self.fs.try_status(&self.path).await.map_err(|e| self.complaint(&e))
    }

    /// What an error of the client means for this path.
    #[must_use]
    pub fn complaint(&self, error: &hfs_client::Error) -> Complaint {
        Complaint::from_client(&self.shown, error)
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.ends_with('/') { format!("{parent}{name}") } else { format!("{parent}/{name}") }
}

/// A path that is there.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it is.
    pub target: Target,
    /// What it is.
    pub status: FileStatus,
}

/// The surroundings of one file verb.
#[derive(Debug)]
pub struct Shell {
    /// The verb's name, which its complaints begin with.
    pub verb: &'static str,
    /// The shared options.
    pub global: GlobalArgs,
    /// The client's settings.
    pub config: ClientConfig,
    /// Files by their whole URLs, as jobs read them.
    pub files: Files,
    systems: tokio::sync::Mutex<BTreeMap<String, FileSystem>>,
    out: Mutex<BufWriter<Stdout>>,
    failed: AtomicBool,
}

impl Shell {
    /// The surroundings of `verb`.
    ///
    /// # Errors
    /// Settings that make no sense.
    pub fn new(verb: &'static str, global: GlobalArgs) -> Result<Self> {
        let config = global.client_config()?;
        Ok(Self {
            verb,
            global,
            files: Files::local_with(config.clone()),
            config,
            systems: tokio::sync::Mutex::default(),
            out: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())),
            failed: AtomicBool::new(false),
        })
    }

    /// The file system at a URL; connected to once. `None`: the default one.
    ///
    /// # Errors
    /// No such file system, or it can't be reached.
    pub async fn file_system(&self, url: Option<&FsUrl>) -> Result<FileSystem> {
        let url = match url {
            Some(url) if url.authority().is_some() => url.with_path("/"),
            _ => self.global.fs_url(&self.config)?.parse::<FsUrl>()?.with_path("/"),
        };
        let key = url.to_string();
        let mut systems = self.systems.lock().await;
        if let Some(fs) = systems.get(&key) {
            return Ok(fs.clone());
        }
        let fs = FileSystem::connect(&url, self.config.clone()).await?;
        systems.insert(key, fs.clone());
        Ok(fs)
    }

    /// The path an argument names, whether it is there or not. A relative path is below
    /// `/user/<name>`.
    ///
    /// # Errors
    /// A URL that is not one, or a file system that can't be reached.
    pub async fn target(&self, argument: &str) -> Done<Target> {
        let (fs, path) = if FsUrl::is_url(argument) {
            let url: FsUrl = argument.parse()?;
            (self.file_system(Some(&url)).await?, url.path().to_owned())
        } else if let Some((scheme, _)) = argument.split_once("://") {
            return Err(Complaint(format!(
                "{argument}: no file system for the scheme '{scheme}'; hfs knows hdfs://"
            )));
        } else {
            (self.file_system(None).await?, argument.to_owned())
        };
        if path.is_empty() {
            return Err(Complaint("an empty path names nothing".to_owned()));
        }
        let absolute = match path.strip_prefix('/') {
            Some(_) => path,
            None => format!("/user/{}/{}", self.config.user, path),
        };
        let path = normalize(&absolute)?;
        let trimmed = argument.trim_end_matches('/');
        let shown = if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() };
        Ok(Target { fs, path, shown })
    }

    /// The paths an argument with globs stands for, in order of their bytes.
    ///
    /// # Errors
    /// Nothing matches: `No such file or directory`, as FsShell has it.
    pub async fn expand(&self, argument: &str) -> Done<Vec<Item>> {
        let missing = || Complaint::path(argument, "No such file or directory");
        let mut found = Vec::new();
        for plain in glob::expand_braces(argument) {
            let target = self.target(&plain).await?;
            found.extend(self.matches(target).await?);
        }
        found.sort_by(|a, b| a.target.path.cmp(&b.target.path));
        found.dedup_by(|a, b| a.target.path == b.target.path);
        if found.is_empty() { Err(missing()) } else { Ok(found) }
    }

    /// What a target whose path may hold globs matches; nothing is no error here.
    async fn matches(&self, target: Target) -> Done<Vec<Item>> {
        if !glob::is_pattern(&target.path) {
            let plain = Target { path: glob::unescape(&target.path), ..target };
            let status = plain.try_status().await?;
            return Ok(status.map(|status| Item { target: plain, status }).into_iter().collect());
        }
        // The shown form differs from the path only in front, by a scheme or for being relative.
        let components: Vec<&str> = target.path.split('/').filter(|c| !c.is_empty()).collect();
        let prefix = shown_prefix(&target);
        let root = Target { fs: target.fs.clone(), path: "/".into(), shown: prefix.root };
        let mut level = vec![root];
        for (depth, component) in components.iter().enumerate() {
            let last = depth + 1 == components.len();
            let mut next = Vec::new();
            for dir in level {
                if !glob::is_pattern(component) {
                    next.push(dir.child(&glob::unescape(component)));
                    continue;
                }
                let pattern = Pattern::new(component)
                    .map_err(|why| Complaint(format!("{}: {why}", target.shown)))?;
                let entries = match dir.fs.list(&dir.path).await {
                    Ok(entries) => entries,
                    Err(e) if e.kind() == ErrorKind::NotFound => continue,
                    Err(e) => return Err(dir.complaint(&e)),
                };
                for entry in entries {
                    if pattern.matches(entry.name()) && (last || entry.is_dir()) {
                        next.push(dir.child(entry.name()));
                    }
                }
            }
            level = next;
        }
        let mut items = Vec::new();
        for mut target in level {
            if let Some(status) = target.try_status().await? {
                if let Some(cut) = &prefix.cut
                    && let Some(rest) = target.shown.strip_prefix(cut.as_str())
                {
                    target.shown = rest.to_owned();
                }
                items.push(Item { target, status });
            }
        }
        Ok(items)
    }

    /// Does `work` for every path that every argument stands for, complaining where it fails.
    pub async fn each(&self, arguments: &[String], work: impl AsyncFn(Item) -> Done) {
        for argument in arguments {
            match self.expand(argument).await {
                Ok(items) => {
                    for item in items {
                        if let Err(complaint) = work(item).await {
                            self.complain(&complaint);
                        }
                    }
                }
                Err(complaint) => self.complain(&complaint),
            }
        }
    }

    /// Does `work` for every path and, with `recursive`, for everything below it, parents first.
    pub async fn each_deep(
        &self,
        arguments: &[String],
        recursive: bool,
        work: impl AsyncFn(&Item) -> Done,
    ) {
        self.each(arguments, async |item| {
            let mut waiting = vec![item];
            while let Some(item) = waiting.pop() {
                work(&item).await?;
                if recursive && item.status.is_dir() {
                    waiting.extend(self.children(&item.target).await?.into_iter().rev());
                }
            }
            Ok(())
        })
        .await;
    }

    /// The entries of a directory, in order of their names' bytes.
    ///
    /// # Errors
    /// The namenode's refusal.
    pub async fn children(&self, dir: &Target) -> Done<Vec<Item>> {
        let entries = dir.fs.list(&dir.path).await.map_err(|e| dir.complaint(&e))?;
        let items = entries
            .into_iter()
            .map(|status| Item { target: dir.child(status.name()), status })
            .collect();
        Ok(items)
    }

    /// Says on standard error what went wrong; the verb will end with 1.
    pub fn complain(&self, complaint: &Complaint) {
        self.flush();
        self.failed.store(true, Ordering::Relaxed);
        eprintln!("{}: {}", self.verb, complaint.0);
    }

    /// The verb will end with 1 although nothing is said (`test`).
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Prints a line of data.
    pub fn line(&self, line: impl AsRef<str>) {
        self.bytes(line.as_ref().as_bytes());
        self.bytes(b"\n");
    }

    /// Prints a value as one line of JSON.
    pub fn json(&self, value: &impl serde::Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.line(text),
            Err(error) => self.complain(&Complaint(format!("cannot print JSON: {error}"))),
        }
    }

    /// Prints bytes of data as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        let written = self.out.lock().write_all(bytes);
        self.printed(written);
    }

    /// Sends what was printed on its way.
    pub fn flush(&self) {
        let flushed = self.out.lock().flush();
        self.printed(flushed);
    }

    fn printed(&self, result: io::Result<()>) {
        match result {
            Ok(()) => {}
            // The reader has seen enough: `hfs cat x | head`.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                std::process::exit(BROKEN_PIPE_EXIT);
            }
            Err(e) => {
                eprintln!("{}: cannot write to standard output: {e}", self.verb);
                std::process::exit(1);
            }
        }
    }

    /// The verb's exit code.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        self.flush();
        if self.failed.load(Ordering::Relaxed) { ExitCode::from(1) } else { ExitCode::SUCCESS }
    }
}

fn normalize(path: &str) -> Done<String> {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let mut clean: Vec<&str> = Vec::with_capacity(parts.len());
    for part in parts {
        if part == ".." {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    Ok(format!("/{}", clean.join("/")))
}

struct Shown {
    /// What the root is shown as.
    root: String,
    /// What is cut off the front of everything shown, for relative arguments.
    cut: Option<String>,
}

fn shown_prefix(target: &Target) -> Shown {
    if FsUrl::is_url(&target.shown) {
        let authority = target.shown.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        return Shown { root: format!("{authority}/"), cut: None };
    }
    if target.shown.starts_with('/') {
        return Shown { root: "/".into(), cut: None };
    }
    let home = target.path.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    Shown { root: "/".into(), cut: Some(format!("{home}/")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_lose_dots_and_doubled_slashes() {
        let normal = |path| normalize(path).unwrap();
        assert_eq!(normal("/a//b/./c/../d/"), "/a/b/d");
        assert_eq!(normal("/.."), "/");
        assert_eq!(normal("/"), "/");
    }

    #[test]
    fn complaints_are_in_fsshells_words() {
        let error = hfs_client::Error::new(ErrorKind::NotFound, "whatever").on("/x");
        assert_eq!(Complaint::from(error).0, "`/x': No such file or directory");
    }
}
