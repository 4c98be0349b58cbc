//! The whole namespace as bytes: what a start begins from. `docs/formats.md` has the diagram.
//!
//! An image is a run of sections, each with its own checksum, so that it can be written and read as a stream and so that damage is
//! found where it is. Directories come before what is in them and entries in the order of their names: two equal
//! namespaces have equal images, which is also how tests compare them.

use std::io::{self, Read, Write};

use hfs_protocol::ids::{BlockId, GenStamp, INodeId, TxId};

use super::Namespace;
use super::children::Children;
use super::codec::{DecodeError, Field, record};
use super::inode::{Blocks, File, Inode, Kind, NO_SLOT, Name, Perm, Tail, Writing};
use super::retry_cache::Done;
use super::tree::ROOT;
use super::types::{Block, RetryKey};

/// The first bytes of every image.
pub const MAGIC: [u8; 8] = *b"hfsimage";
/// The version of the format: 1 is the first, since 0.1.
pub const VERSION: u32 = 1;
/// No section is longer; a longer one is damage.
const MAX_SECTION_BYTES: u64 = 256 << 20;
/// About how long a section of inodes gets.
const INODES_BYTES: usize = 1 << 20;

const META: u8 = 1;
const NAMES: u8 = 2;
const INODES: u8 = 3;
const CALLS: u8 = 4;
const END: u8 = 255;

/// Why an image can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The disk said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bytes are not what was written.
    #[error("damaged at offset {offset}: {why}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A newer hfs wrote it.
    #[error(
        "it has format {0}, and this hfs knows formats up to {VERSION}; start the version of hfs that wrote it"
    )]
    Version(u32),
}

record! {
    /// What is known about the whole.
    pub struct Meta {
        /// The last entry that is part of it.
        pub applied: TxId,
        /// The last inode id given out.
        pub last_inode: INodeId,
        /// The last block id given out.
        pub last_block: BlockId,
        /// The last generation stamp given out.
        pub last_gen_stamp: GenStamp,
        /// How many inodes follow.
        pub inodes: u64,
    }
}

impl Namespace {
    /// Writes the namespace as an image, a section of about a megabyte at a time. Takes as long as a walk over everything, and as
    /// long as `out` takes.
    ///
    /// # Errors
    /// What `out` says; the image is not whole then.
    pub fn write_image(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Writer { out, whole: crc32fast::Hasher::new() };
        out.put(&MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        let mut section = Vec::new();
        let detached: usize = self.detached.iter().map(|&slot| self.tree.walk(slot).count()).sum();
        Meta {
            applied: self.applied,
            last_inode: self.last_inode,
            last_block: self.last_block,
            last_gen_stamp: self.last_gen_stamp,
            inodes: (self.tree.len() - detached) as u64,
        }
        .put(&mut section);
        out.section(META, &mut section)?;
        let names = self.tree.names();
        (names.len() as u64).put(&mut section);
        for number in 0..names.len() {
            names.get(number as u32).put(&mut section);
        }
        out.section(NAMES, &mut section)?;
        for slot in self.tree.walk(ROOT) {
            let inode = self.tree.get(slot);
            let parent = if slot == ROOT { INodeId(0) } else { self.tree.get(inode.parent).id };
            put_inode(inode, parent, &mut section);
            if section.len() >= INODES_BYTES {
                out.section(INODES, &mut section)?;
            }
        }
        out.section(INODES, &mut section)?;
        (self.retry.len() as u64).put(&mut section);
        for (key, done) in self.retry.iter() {
            key.put(&mut section);
            done.put(&mut section);
        }
        out.section(CALLS, &mut section)?;
        section.extend_from_slice(&out.whole.clone().finalize().to_le_bytes());
        out.section(END, &mut section)
    }

    /// The namespace as an image in memory, for those who compare namespaces.
    #[must_use]
    pub fn to_image(&self) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.tree.len() * 64 + 4096);
        self.write_image(&mut image).expect("invariant: memory takes every byte");
        image
    }

    /// Reads an image. Leases count as renewed at monotonic time 0.
    ///
    /// # Errors
    /// When any checksum, any count or any invariant does not hold.
    pub fn from_image(source: impl Read) -> Result<Self, ImageError> {
        let mut reader = Reader { source, offset: 0, whole: crc32fast::Hasher::new() };
        let mut head = [0; 12];
        reader.fill(&mut head)?;
        if head[..8] != MAGIC {
            return Err(reader.damaged("it does not begin as an image"));
        }
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let meta: Meta = reader.only(META)?;
        let names: Vec<std::sync::Arc<str>> = reader.only(NAMES)?;
        let mut ns = Self::with_root("", "", 0, 0);
        ns.tree.clear_names();
        for name in &names {
            ns.tree.names_mut().intern(name).ok_or_else(|| reader.damaged("too many names"))?;
        }
        ns.last_inode = meta.last_inode;
        ns.last_block = meta.last_block;
        ns.last_gen_stamp = meta.last_gen_stamp;
        let mut inodes = 0;
        loop {
            let start = reader.offset;
            let damaged = |why: String| ImageError::Damaged { offset: start, why };
            let (tag, bytes) = reader.section()?;
            let mut from = bytes.as_slice();
            match tag {
                INODES => {
                    while !from.is_empty() {
                        get_inode(&mut ns, &mut from, names.len() as u64).map_err(damaged)?;
                        inodes += 1;
                    }
                }
                CALLS => {
                    let count = u64::get(&mut from).map_err(|e| damaged(e.to_string()))?;
                    for _ in 0..count {
                        let key = RetryKey::get(&mut from).map_err(|e| damaged(e.to_string()))?;
                        let done = Done::get(&mut from).map_err(|e| damaged(e.to_string()))?;
                        ns.retry.insert(key, done);
                    }
                    break;
                }
                other => return Err(damaged(format!("unexpected section {other}"))),
            }
        }
        if inodes != meta.inodes {
            return Err(reader.damaged("it has fewer or more inodes than it says"));
        }
        let whole = reader.whole.clone().finalize();
        let (tag, bytes) = reader.section()?;
        if tag != END || bytes != whole.to_le_bytes() {
            return Err(reader.damaged("the checksum of the whole does not fit"));
        }
        if reader.source.read(&mut [0])? != 0 {
            return Err(reader.damaged("bytes follow its end"));
        }
        ns.applied = meta.applied;
        Ok(ns)
    }
}

/// Where a writer is in an image.
struct Writer<'a, W> {
    out: &'a mut W,
    whole: crc32fast::Hasher,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.out.write_all(bytes)
    }

    /// Writes a section and empties its buffer; none if there is nothing in it.
    fn section(&mut self, tag: u8, content: &mut Vec<u8>) -> io::Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        let mut head = [tag; 9];
        head[1..].copy_from_slice(&(content.len() as u64).to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(content);
        self.put(&head)?;
        self.put(content)?;
        self.put(&crc.finalize().to_le_bytes())?;
        content.clear();
        Ok(())
    }
}

/// Where a reader is in an image.
struct Reader<R> {
    source: R,
    offset: u64,
    whole: crc32fast::Hasher,
}

impl<R: Read> Reader<R> {
    fn damaged(&self, why: &str) -> ImageError {
        ImageError::Damaged { offset: self.offset, why: why.to_owned() }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), ImageError> {
        self.source.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends here, before its end mark"),
            _ => ImageError::Io(error),
        })?;
        self.whole.update(into);
        self.offset += into.len() as u64;
        Ok(())
    }

    fn section(&mut self) -> Result<(u8, Vec<u8>), ImageError> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let mut length = [0; 8];
        length.copy_from_slice(&head[1..]);
        let length = u64::from_le_bytes(length);
        if length > MAX_SECTION_BYTES {
            return Err(self.damaged("a section claims more bytes than any has"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| self.damaged("too long"))?];
        self.fill(&mut bytes)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(&bytes);
        let mut stored = [0; 4];
        self.fill(&mut stored)?;
        if crc.finalize() != u32::from_le_bytes(stored) {
            return Err(self.damaged("the checksum of the section that ends here does not fit"));
        }
        Ok((head[0], bytes))
    }

    /// A section that holds one value.
    fn only<T: Field>(&mut self, tag: u8) -> Result<T, ImageError> {
        let (found, bytes) = self.section()?;
        if found != tag {
            return Err(self.damaged(&format!("section {tag} was expected and {found} found")));
        }
        let mut from = bytes.as_slice();
        let value = T::get(&mut from).map_err(|error| self.damaged(&error.to_string()))?;
        if from.is_empty() {
            Ok(value)
        } else {
            Err(self.damaged("bytes follow a section's value"))
        }
    }
}

const DIRECTORY: u8 = 0;
const CLOSED_FILE: u8 = 1;
const OPEN_FILE: u8 = 2;

fn put_inode(inode: &Inode, parent: INodeId, out: &mut Vec<u8>) {
    inode.id.put(out);
    parent.put(out);
    let name = inode.name.as_bytes();
    (name.len() as u64).put(out);
    out.extend_from_slice(name);
    inode.perm.user().put(out);
    inode.perm.group().put(out);
    inode.perm.mode().put(out);
    inode.mtime_ms.put(out);
    let Some(file) = inode.file() else {
        out.push(DIRECTORY);
        return;
    };
    out.push(if file.writing.is_some() { OPEN_FILE } else { CLOSED_FILE });
    file.atime_ms.put(out);
    file.replication().put(out);
    file.block_size().put(out);
    let blocks = file.blocks.as_slice();
    (blocks.len() as u64).put(out);
    blocks.iter().for_each(|block| block.put(out));
    if let Some(writing) = &file.writing {
        writing.client_name.put(out);
        writing.client_machine.put(out);
        match writing.tail {
            Tail::Committed => out.push(0),
            Tail::Pipeline => out.push(1),
            Tail::Recovering { recovery_id } => {
                out.push(2);
                recovery_id.put(out);
            }
        }
    }
}

fn get_inode(ns: &mut Namespace, from: &mut &[u8], names: u64) -> Result<(), String> {
    let decode = |error: DecodeError| error.to_string();
    let id = INodeId::get(from).map_err(decode)?;
    let parent = INodeId::get(from).map_err(decode)?;
    let name = Box::<str>::get(from).map_err(decode)?;
    let user = u32::get(from).map_err(decode)?;
    let group = u32::get(from).map_err(decode)?;
    let mode = u16::get(from).map_err(decode)?;
    let mtime_ms = u64::get(from).map_err(decode)?;
    if u64::from(user) >= names || u64::from(group) >= names {
        return Err(format!("inode {id} has an owner or group without a name"));
    }
    let perm = Perm::new(user, group, mode);
    let kind = match u8::get(from).map_err(decode)? {
        DIRECTORY => Kind::Directory(Children::default()),
        state @ (CLOSED_FILE | OPEN_FILE) => Kind::File(get_file(from, state).map_err(decode)?),
        other => return Err(format!("inode {id} is of unknown kind {other}")),
    };
    if parent == INodeId(0) {
        let is_dir = matches!(kind, Kind::Directory(_));
        if id != INodeId::ROOT || ns.tree.len() != 1 || !is_dir {
            return Err("it has a second root".to_owned());
        }
        let root = ns.tree.get_mut(ROOT);
        root.perm = perm;
        root.mtime_ms = mtime_ms;
        return Ok(());
    }
    if id <= INodeId::ROOT
        || id > ns.last_inode
        || ns.tree.slot_of_any(id).is_some()
        || name.is_empty()
    {
        return Err(format!("inode {id} is out of range, there twice, or without a name"));
    }
    let dir = ns
        .tree
        .slot_of_any(parent)
        .ok_or_else(|| format!("inode {id} comes before its directory"))?;
    match &kind {
        Kind::Directory(_) => ns.counts.directories += 1,
        Kind::File(file) => {
            ns.counts.files += 1;
            ns.counts.blocks += file.blocks.as_slice().len() as u64;
            if let Some(writing) = &file.writing {
                ns.counts.open_files += 1;
                ns.leases.add(&writing.client_name, id);
            }
        }
    }
    let slot =
        ns.tree.insert(Inode { id, parent: NO_SLOT, name: Name::new(&name), perm, mtime_ms, kind });
    if ns.tree.attach_last(dir, slot) {
        Ok(())
    } else {
        Err(format!("inode {id} is out of order in its directory"))
    }
}

fn get_file(from: &mut &[u8], state: u8) -> Result<File, DecodeError> {
    let atime_ms = u64::get(from)?;
    let replication = u16::get(from)?;
    let block_size = u64::get(from)?;
    let mut file = File::new(replication, block_size, atime_ms);
    file.blocks = Blocks::from_vec(Vec::<Block>::get(from)?);
    if state == OPEN_FILE {
        let client_name = Field::get(from)?;
        let client_machine = Field::get(from)?;
        let tail = match u8::get(from)? {
            0 => Tail::Committed,
            1 => Tail::Pipeline,
            2 => Tail::Recovering { recovery_id: Field::get(from)? },
            other => {
                return Err(DecodeError::Unknown { what: "block state", number: other.into() });
            }
        };
        file.writing = Some(Box::new(Writing { client_name, client_machine, tail }));
    }
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::namesystem::testing::Fixture;

    /// Fault 5: each byte, flipped, is noticed.
    #[test]
    fn no_flipped_or_missing_byte_goes_unseen() {
        let mut fixture = Fixture::new();
        fixture.write_file("/a/f", &[1 << 20, 3]);
        fixture.create("/a/open");
        fixture.add_block("/a/open", None);
        let image = fixture.ns.to_image();
        assert!(Namespace::from_image(image.as_slice()).unwrap().to_image() == image);
        for at in 0..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 0x20;
            assert!(Namespace::from_image(damaged.as_slice()).is_err(), "flip at {at}");
            assert!(Namespace::from_image(&image[..at]).is_err(), "cut at {at}");
        }
        let mut longer = image;
        longer.push(0);
        assert!(Namespace::from_image(longer.as_slice()).is_err());
    }
}
