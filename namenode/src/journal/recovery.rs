//! From a name directory to a namespace and a journal: the newest image whose checksums hold, and every entry after it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hfs_daemon::clock::{Clock, SystemClock};
use hfs_daemon::lock_dir;
use hfs_protocol::ids::TxId;

use super::checkpoint::{self, NameDir, image_name, image_txid};
use super::files::{self, DirFiles, Files, TEMPORARY};
use super::local::{JournalOptions, LocalJournal};
use super::segment::{self, End, MAX_SEGMENT_BYTES};
use super::version::{self, Identity};
use crate::namesystem::{Entry, Namespace};

/// A segment is at most this long: the limit and one full buffer.
const MAX_SEGMENT_FILE_BYTES: u64 = MAX_SEGMENT_BYTES + (1 << 30);
/// How many inodes of deleted trees are taken apart at once.
const REAP_BATCH: usize = 1 << 16;

/// What a new file system begins with, and how the journal uses its disk.
#[derive(Debug, Clone)]
pub struct RecoveryOptions {
    /// Owner of the root of a new file system: the superuser.
    pub owner: String,
    /// Group of the root of a new file system.
    pub group: String,
    /// The cluster id of a new file system; drawn when there is none.
    pub cluster_id: Option<String>,
    /// This machine's address, for the block pool id of a new file system.
    pub ip: String,
    /// Wall time, milliseconds since the epoch.
    pub now_ms: u64,
    /// How many images are kept, at least one.
    pub checkpoints_kept: usize,
    /// How the journal uses its disk.
    pub journal: JournalOptions,
}

impl Default for RecoveryOptions {
    /// Two images, the loopback address, and the time it is.
    fn default() -> Self {
        Self {
            owner: "hdfs".to_owned(),
            group: "supergroup".to_owned(),
            cluster_id: None,
            ip: "127.0.0.1".to_owned(),
            now_ms: SystemClock::new().now_ms(),
            checkpoints_kept: 2,
            journal: JournalOptions::default(),
        }
    }
}

/// Why a namenode can't start from a directory. Each is a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk said no.
    #[error("can't use the name directory {dir}: {source}")]
    Io {
        /// The directory.
        dir: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error(
        "{dir} is not empty and not a name directory of hfs (it has {found}); choose an empty directory, or move its content away"
    )]
    Foreign {
        /// The directory.
        dir: String,
        /// Some of what is there.
        found: String,
    },
    /// There is a file system already.
    #[error(
        "{dir} already holds the file system of cluster {cluster_id}; to begin a new one, choose an empty directory, \
         move this one away, or format with force, which puts the old files aside"
    )]
    NotEmpty {
        /// The directory.
        dir: String,
        /// Whose it is.
        cluster_id: String,
    },
    /// An id or a version does not fit.
    #[error("{0}")]
    Identity(String),
    /// Something that was durable is lost.
    #[error(
        "{file} is damaged at offset {offset} (operation {txid}): {why}. Starting would lose operations that clients were told are done. \
         Restore the name directory from a copy; or, to accept the loss, stop here, copy the directory, and cut {file} to {offset} bytes \
         and move all later segments away"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: usize,
        /// The operation that should be there.
        txid: TxId,
        /// What is wrong.
        why: String,
    },
    /// Entries are missing between an image and the journal, or between segments.
    #[error(
        "operations {from} to {to} are missing from {dir}: {why}. Restore the missing journal segments from a copy of the name directory"
    )]
    Gap {
        /// The directory.
        dir: String,
        /// The first missing one.
        from: TxId,
        /// The last missing one.
        to: TxId,
        /// Between what.
        why: String,
    },
    /// No image can be read.
    #[error("no image in {dir} can be read: {why}. Restore the name directory from a copy")]
    NoImage {
        /// The directory.
        dir: String,
        /// What is wrong with each.
        why: String,
    },
}

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the directory was empty and a new file system was made.
    pub initialised: bool,
    /// The image that was loaded.
    pub image: String,
    /// The last entry in it.
    pub image_txid: TxId,
    /// How many entries were replayed after it.
    pub replayed: u64,
    /// Sentences for the log, each worth an operator's attention.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.initialised {
            return f.write_str("made a new file system in an empty directory");
        }
        write!(f, "loaded {} and replayed {} operations after it", self.image, self.replayed)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "; {warning}"))
    }
}

/// A recovered namenode state.
#[derive(Debug)]
pub struct Recovered {
    /// Files, directories, leases.
    pub namespace: Namespace,
    /// Where the next entries go.
    pub journal: LocalJournal,
    /// Whose it is.
    pub identity: Identity,
    /// The directory, for checkpoints.
    pub name_dir: NameDir,
    /// What was found.
    pub report: RecoveryReport,
}

/// Opens name directories.
#[derive(Debug)]
pub struct Recovery;

impl Recovery {
    /// Opens a name directory, which an empty or missing one becomes. The caller holds its
    /// [`DirLock`](hfs_daemon::lock_dir::DirLock).
    ///
    /// # Errors
    /// A [`RecoveryError`]; nothing was changed then but a torn end that was cut. After a success,
    /// newer images that can't be read have `.bad` at the end of their names.
    pub fn open(dir: &Path, options: &RecoveryOptions) -> Result<Recovered, RecoveryError> {
        Self::open_files(dir_files(dir)?, options)
    }

    /// The same over any directory seam.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_files(
        files: Arc<dyn Files>,
        options: &RecoveryOptions,
    ) -> Result<Recovered, RecoveryError> {
        let mut report = RecoveryReport::default();
        let identity = match content(files.as_ref())? {
            Content::Ours(identity) => identity,
            Content::Empty => {
                report.initialised = true;
                initialise(files.as_ref(), options)?
            }
        };
        if let Some(wanted) = options.cluster_id.as_ref().filter(|id| **id != identity.cluster_id) {
            return Err(RecoveryError::Identity(format!(
                "the name directory {} belongs to cluster {}, and the configuration says {wanted}; \
                 correct the one that is wrong",
                files.path(""),
                identity.cluster_id
            )));
        }
        let io_error = io_error(files.as_ref());
        for name in files.list().map_err(&io_error)? {
            if name.ends_with(TEMPORARY) {
                files.remove(&name).map_err(&io_error)?;
            }
        }
        let (mut namespace, unusable) = load_image(files.as_ref(), &mut report)?;
        replay(files.as_ref(), &identity, &mut namespace, &mut report)?;
        // Out of the way of the next checkpoints, which count images to know what may go.
        for name in &unusable {
            files.rename(name, &format!("{name}{UNUSABLE}")).map_err(&io_error)?;
        }
        if !unusable.is_empty() {
            files.sync().map_err(&io_error)?;
        }
        let mut effects = Vec::new();
        while namespace.reap(REAP_BATCH, &mut effects) {
            effects.clear();
        }
        let next = namespace.applied().next();
        let journal =
            LocalJournal::start(Arc::clone(&files), &identity.cluster_id, next, options.journal)
                .map_err(&io_error)?;
        let name_dir = NameDir::new(files, options.checkpoints_kept);
        Ok(Recovered { namespace, journal, identity, name_dir, report })
    }
}

fn io_error(files: &dyn Files) -> impl Fn(io::Error) -> RecoveryError + use<> {
    let dir = files.path("");
    move |source| RecoveryError::Io { dir: dir.clone(), source }
}

fn dir_files(dir: &Path) -> Result<Arc<dyn Files>, RecoveryError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| RecoveryError::Io { dir: dir.display().to_string(), source })?;
    Ok(Arc::new(DirFiles::new(dir)))
}

impl NameDir {
    /// Makes an empty directory a name directory of a new file system (`hfs namenode format`). With `force`, what a name
    /// directory of hfs holds is put aside into a directory `before_<ms>` first; nothing is ever deleted. The caller holds its
    /// [`DirLock`](hfs_daemon::lock_dir::DirLock).
    ///
    /// # Errors
    /// [`RecoveryError::NotEmpty`] when it holds one, [`RecoveryError::Foreign`] when it holds something else.
    pub fn format(
        dir: &Path,
        cluster_id: Option<&str>,
        force: bool,
        options: &RecoveryOptions,
    ) -> Result<Identity, RecoveryError> {
        let files = dir_files(dir)?;
        let mut options = options.clone();
        options.cluster_id = cluster_id.map(str::to_owned).or(options.cluster_id);
        match content(files.as_ref())? {
            Content::Ours(identity) if !force => {
                return Err(RecoveryError::NotEmpty {
                    dir: dir.display().to_string(),
                    cluster_id: identity.cluster_id,
                });
            }
            Content::Ours(_) => {
                put_aside(dir, files.as_ref(), options.now_ms).map_err(io_error(files.as_ref()))?
            }
            Content::Empty => {}
        }
        initialise(files.as_ref(), &options)
    }
}

/// The directory's `VERSION` goes first: from then on it is no file system any more.
fn put_aside(dir: &Path, files: &dyn Files, now_ms: u64) -> io::Result<()> {
    let aside = format!("{ASIDE}{now_ms}");
    std::fs::create_dir(dir.join(&aside))?;
    let mut names = files.list()?;
    names.sort_by_key(|name| name != version::FILE_NAME);
    for name in names {
        if name != lock_dir::FILE_NAME && !name.starts_with(ASIDE) {
            files.rename(&name, &format!("{aside}/{name}"))?;
        }
    }
    files.sync()
}

/// What directories with put-aside files begin with.
const ASIDE: &str = "before_";

/// What is in the directory and not ours, when no `VERSION` says that it is a name directory.
fn foreign_names(files: &dyn Files) -> Result<Option<String>, RecoveryError> {
    let names = files.list().map_err(io_error(files))?;
    if names.iter().any(|name| name == version::FILE_NAME) {
        return Ok(None);
    }
    // An initialisation that was cut off leaves the first image and unfinished files.
    let first = image_name(TxId(0));
    let foreign: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|&name| {
            name != lock_dir::FILE_NAME
                && name != first
                && !name.starts_with(ASIDE)
                && !ours_unfinished(name)
        })
        .collect();
    if foreign.is_empty() {
        return Ok(None);
    }
    let mut found = foreign.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if foreign.len() > 3 {
        found.push_str(&format!(" and {} more", foreign.len() - 3));
    }
    Ok(Some(found))
}

fn ours_unfinished(name: &str) -> bool {
    name.strip_suffix(TEMPORARY)
        .is_some_and(|name| name == version::FILE_NAME || image_txid(name).is_some())
}

enum Content {
    Empty,
    Ours(Identity),
}

fn content(files: &dyn Files) -> Result<Content, RecoveryError> {
    if let Some(found) = foreign_names(files)? {
        return Err(RecoveryError::Foreign { dir: files.path(""), found });
    }
    let names = files.list().map_err(io_error(files))?;
    if names.iter().any(|name| name == version::FILE_NAME) {
        return Identity::read(files).map(Content::Ours).map_err(RecoveryError::Identity);
    }
    Ok(Content::Empty)
}

/// The first image carries the root; the `VERSION` file comes last and says that all is there.
fn initialise(files: &dyn Files, options: &RecoveryOptions) -> Result<Identity, RecoveryError> {
    let identity = Identity::draw(options.cluster_id.as_deref(), &options.ip, options.now_ms);
    identity.check().map_err(RecoveryError::Identity)?;
    let namespace = Namespace::new(&options.owner, &options.group, options.now_ms);
    files::replace(files, &image_name(TxId(0)), &namespace.to_image())
        .and_then(|()| identity.write(files))
        .map_err(io_error(files))?;
    Ok(identity)
}

/// What the name of an image that can't be read ends with from then on: kept for people, not counted.
const UNUSABLE: &str = ".bad";

/// The newest image that can be used, and the names of newer ones that can't be.
fn load_image(
    files: &dyn Files,
    report: &mut RecoveryReport,
) -> Result<(Namespace, Vec<String>), RecoveryError> {
    let mut images = checkpoint::images(files).map_err(io_error(files))?;
    images.reverse();
    let (mut complaints, mut unusable) = (Vec::new(), Vec::new());
    for txid in images {
        let name = image_name(txid);
        let path = files.path(&name);
        let loaded = files.open(&name).map_err(Into::into).and_then(|file| {
            Namespace::from_image(io::BufReader::new(checkpoint::Stream::new(file)))
        });
        match loaded {
            Ok(namespace) if namespace.applied() == txid => {
                report.image = name;
                report.image_txid = txid;
                report.warnings.extend(complaints.iter().map(|complaint| {
                    format!("{complaint}; the older image {path} was used and more of the journal replayed")
                }));
                return Ok((namespace, unusable));
            }
            Ok(namespace) => complaints.push(format!(
                "image {path} holds operation {} and not {txid}",
                namespace.applied()
            )),
            Err(error) => complaints.push(format!("image {path} can't be used: {error}")),
        }
        unusable.push(image_name(txid));
    }
    let why =
        if complaints.is_empty() { "there is none".to_owned() } else { complaints.join("; ") };
    Err(RecoveryError::NoImage { dir: files.path(""), why })
}

fn replay(
    files: &dyn Files,
    identity: &Identity,
    namespace: &mut Namespace,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let names = files.list().map_err(io_error(files))?;
    let mut segments: Vec<TxId> = names.iter().filter_map(|name| segment::first_of(name)).collect();
    drop_unborn(files, identity, &mut segments, report)?;
    let next = namespace.applied().next();
    // The image has what came before the segment that holds the next entry.
    let start = segments.partition_point(|&first| first <= next).saturating_sub(1);
    if let Some(&first) = segments.get(start).filter(|&&first| first > next) {
        return Err(RecoveryError::Gap {
            dir: files.path(""),
            from: next,
            to: TxId(first.0 - 1),
            why: format!("the image ends before them and the journal begins at {first}"),
        });
    }
    for (number, &first) in segments.iter().enumerate().skip(start) {
        let followed_by = segments.get(number + 1).copied();
        replay_segment(files, identity, namespace, report, first, followed_by)?;
    }
    Ok(())
}

/// A segment that a crash cut off before its first sync has nothing in it that was ever promised.
fn drop_unborn(
    files: &dyn Files,
    identity: &Identity,
    segments: &mut Vec<TxId>,
    report: &mut RecoveryReport,
) -> Result<(), RecoveryError> {
    let Some(&last) = segments.last() else { return Ok(()) };
    let name = segment::file_name(last);
    let io_error = io_error(files);
    let bytes = files::read(files, &name, MAX_SEGMENT_FILE_BYTES).map_err(&io_error)?;
    let Err(why) = segment::check_header(&bytes, &identity.cluster_id, last) else { return Ok(()) };
    let header_only = bytes.len() <= segment::HEADER_BYTES;
    // A header and nothing else, and not all of it: only a crash while the segment was made leaves this.
    let whole = bytes.get(..8) == Some(&segment::MAGIC) && !header_is_torn(&bytes);
    if !header_only || whole {
        return Ok(());
    }
    files.remove(&name).map_err(&io_error)?;
    report.warnings.push(format!(
        "removed {}, a segment that was being made when the namenode was killed: {why}",
        files.path(&name)
    ));
    segments.pop();
    Ok(())
}

/// Whether a header lacks its checksum: it was not written to its end.
fn header_is_torn(bytes: &[u8]) -> bool {
    bytes.len() < segment::HEADER_BYTES
        || bytes[segment::HEADER_BYTES - 4..segment::HEADER_BYTES]
            != crc32fast::hash(&bytes[..segment::HEADER_BYTES - 4]).to_le_bytes()
}

fn replay_segment(
    files: &dyn Files,
    identity: &Identity,
    namespace: &mut Namespace,
    report: &mut RecoveryReport,
    first: TxId,
    followed_by: Option<TxId>,
) -> Result<(), RecoveryError> {
    let name = segment::file_name(first);
    let path = files.path(&name);
    let io_error = io_error(files);
    let bytes = files::read(files, &name, MAX_SEGMENT_FILE_BYTES).map_err(&io_error)?;
    let damaged = |offset: usize, txid: TxId, why: String| RecoveryError::Damaged {
        file: path.clone(),
        offset,
        txid,
        why,
    };
    segment::check_header(&bytes, &identity.cluster_id, first)
        .map_err(|why| damaged(0, first, why))?;
    let mut effects = Vec::new();
    let scanned = segment::scan(&bytes, first, |txid, payload| {
        if txid <= namespace.applied() {
            return Ok(());
        }
        let entry = Entry::decode(payload).map_err(|error| (txid, error.to_string()))?;
        namespace.apply(txid, &entry, &mut effects).map_err(|error| (txid, error.to_string()))?;
        effects.clear();
        report.replayed += 1;
        Ok(())
    });
    let (next, end) = scanned.map_err(|(offset, (txid, why))| damaged(offset, txid, why))?;
    let offset = match end {
        End::Damaged { offset, why, proof } => {
            let why = format!("{why}, and a record at offset {proof} shows that it was good once");
            return Err(damaged(offset, next, why));
        }
        End::Torn { offset, why } if followed_by.is_some() => {
            return Err(damaged(offset, next, format!("{why}, and a later segment follows")));
        }
        End::Clean { offset, .. } | End::Torn { offset, .. } => offset,
    };
    if let Some(following) = followed_by.filter(|&following| following != next) {
        return Err(RecoveryError::Gap {
            dir: files.path(""),
            from: next.min(following),
            to: TxId(next.max(following).0.saturating_sub(1)),
            why: format!("{path} ends before {next}, and the next segment begins at {following}"),
        });
    }
    if followed_by.is_none() {
        if let End::Torn { why, .. } = end {
            report.warnings.push(format!(
                "cut {path} at offset {offset}, after operation {}: {why}. It is what a crash leaves of a write that was never \
                 acknowledged",
                next.0 - 1
            ));
        }
        // What was read may still be in caches only; from here on it counts as durable.
        let file = files.open(&name).map_err(&io_error)?;
        file.set_len(offset as u64).and_then(|()| file.sync()).map_err(&io_error)?;
    }
    Ok(())
}
