//! Moves the bytes of one file. Local files are read and written on threads of their own with large
//! reads and writes, so that the disk and the network work at the same time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc as std_mpsc;

use bytes::Bytes;
use hfs_client::{CreateOptions, FileReader, FileWriter};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use super::super::shell::{Complaint, Done, Shell, Target};
use super::end::{End, Kind, Node};
use super::local::{LocalPath, io_complaint};
use super::progress::Progress;
use super::stop::Stop;
use super::{COPYING_SUFFIX, CopyOptions, Preserve};

/// Bytes of one local read.
const READ_BYTES: usize = 1 << 20;

/// Buffers between a local reader and the file system, and chunks between the file system and a
/// local writer.
const BUFFERS: usize = 4;

/// Copies one file to `target`, by way of `target._COPYING_` unless told otherwise.
///
/// # Errors
/// What went wrong; the temporary file has been removed then, if that was possible.
pub async fn copy_file(
    source: &Node,
    target: &End,
    is_new: bool,
    options: CopyOptions,
    (progress, stop): (&Progress, &Stop),
) -> Done {
    let there = if is_new { None } else { target.kind().await? };
    match there {
        Some(Kind::Directory) => return Err(Complaint::path(&target.shown(), "File exists")),
        Some(Kind::File) if !options.overwrite => {
            return Err(Complaint::path(&target.shown(), "File exists"));
        }
        None | Some(Kind::File | Kind::Special) => {}
    }
    match target {
        End::Remote(target) => {
            put(Origin::Node(source), target, options, (progress, stop)).await?;
        }
        End::Local(path) if there == Some(Kind::Special) => {
            stop.guard(fetch(source, path, path, progress)).await?;
        }
        End::Local(path) => {
            let written = if options.direct { path.clone() } else { copying(path) };
            let fetched = stop.guard(fetch(source, path, &written, progress)).await;
            if let Err(complaint) = fetched {
                // The complaint matters more than a file that stays behind.
                let _ = std::fs::remove_file(&written.path);
                return Err(complaint);
            }
            if !options.direct {
                std::fs::rename(&written.path, &path.path)
                    .map_err(|e| io_complaint(&path.shown, &e))?;
            }
        }
    }
    if options.preserve == Preserve::default() || there == Some(Kind::Special) {
        return Ok(());
    }
    target.preserve(&source.attributes, options.preserve).await
}

fn copying(path: &LocalPath) -> LocalPath {
    let mut name = path.path.clone().into_os_string();
    name.push(COPYING_SUFFIX);
    LocalPath::new(name)
}

/// Where the bytes of a file to write come from.
enum Origin<'a> {
    Node(&'a Node),
    Stdin,
}

/// Writes standard input to a file.
///
/// # Errors
/// As [`copy_file`].
pub async fn stdin_to(target: &Target, options: CopyOptions, watched: (&Progress, &Stop)) -> Done {
    put(Origin::Stdin, target, options, watched).await
}

async fn put(
    origin: Origin<'_>,
    target: &Target,
    options: CopyOptions,
    (progress, stop): (&Progress, &Stop),
) -> Done {
    let written = if options.direct {
        target.path.clone()
    } else {
        format!("{}{COPYING_SUFFIX}", target.path)
    };
    let create = CreateOptions {
        // A temporary file that an earlier copy left behind is nobody's.
        overwrite: options.overwrite || !options.direct,
        ..CreateOptions::default()
    };
    // The source is opened before the target is made: a file that can't be read leaves nothing.
    let opened = match origin {
        Origin::Node(source) => open(source).await?,
        Origin::Stdin => Opened::Stream(Box::new(io::stdin()), "-".to_owned()),
    };
    let complain = |e: hfs_client::Error| target.complaint(&e);
    let mut writer = target.fs.create(&written, &create).await.map_err(complain)?;
    let poured = stop.guard(pour(opened, &mut writer, target, progress)).await;
    let moved = match poured {
        Ok(()) => writer.close().await.map_err(complain),
        Err(complaint) => Err(complaint),
    };
    let done = match moved {
        Ok(()) if options.direct => Ok(()),
        Ok(()) => {
            target.fs.rename2(&written, &target.path, options.overwrite).await.map_err(complain)
        }
        Err(complaint) => Err(complaint),
    };
    if done.is_err() {
        // The complaint matters more than a file that stays behind.
        let _ = target.fs.delete(&written, false).await;
    }
    done
}

/// A source that can be read.
enum Opened {
    /// A regular file, which always has its next bytes soon.
    File(File, String),
    /// A pipe or a terminal, which may take for ever.
    Stream(Box<dyn Read + Send>, String),
    Remote(Box<FileReader>, Target),
}

async fn open(source: &Node) -> Done<Opened> {
    match &source.end {
        End::Local(path) => {
            let file = File::open(&path.path).map_err(|e| io_complaint(&path.shown, &e))?;
            Ok(match source.kind {
                Kind::Special => Opened::Stream(Box::new(file), path.shown.clone()),
                Kind::File | Kind::Directory => Opened::File(file, path.shown.clone()),
            })
        }
        End::Remote(target) => {
            let reader = target.fs.open(&target.path).await.map_err(|e| target.complaint(&e))?;
            Ok(Opened::Remote(Box::new(reader), target.clone()))
        }
    }
}

async fn pour(from: Opened, writer: &mut FileWriter, target: &Target, progress: &Progress) -> Done {
    match from {
        Opened::File(file, shown) => upload_file(file, &shown, writer, target, progress).await,
        Opened::Stream(source, shown) => {
            upload_stream(source, &shown, writer, target, progress).await
        }
        Opened::Remote(mut reader, source) => loop {
            let chunk = reader.read_chunk().await.map_err(|e| source.complaint(&e))?;
            if chunk.is_empty() {
                return Ok(());
            }
            writer.write_all(&chunk).await.map_err(|e| target.complaint(&e))?;
            progress.moved(chunk.len());
        },
    }
}

/// Writes all of a local file to a file that is open. It is read right into the packets.
///
/// # Errors
/// The source can't be read (`shown` is its name), or the file can't be written.
pub async fn upload_file(
    mut source: File,
    shown: &str,
    writer: &mut FileWriter,
    target: &Target,
    progress: &Progress,
) -> Done {
    loop {
        let room = writer.room().await.map_err(|e| target.complaint(&e))?;
        let read = blocking(|| read_some(&mut source, room));
        let read = read.map_err(|e| io_complaint(shown, &e))?;
        if read == 0 {
            return Ok(());
        }
        writer.filled(read).await.map_err(|e| target.complaint(&e))?;
        progress.moved(read);
    }
}

fn read_some(source: &mut File, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Does something that may take a moment without holding up the other tasks of this thread.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Writes all of a source that may take its time to a file that is open. It is read on a thread of
/// its own, a few buffers ahead.
///
/// # Errors
/// The source can't be read (`shown` is its name), or the file can't be written.
pub async fn upload_stream(
    source: impl Read + Send + 'static,
    shown: &str,
    writer: &mut FileWriter,
    target: &Target,
    progress: &Progress,
) -> Done {
    let (full, mut filled) = mpsc::channel::<io::Result<Vec<u8>>>(BUFFERS);
    let (empty, emptied) = std_mpsc::sync_channel::<Vec<u8>>(BUFFERS);
    // A thread rather than a task: one that hangs in a read of a terminal or a pipe must not keep
    // the program from ending.
    std::thread::spawn(move || read_ahead(source, &full, &emptied));
    while let Some(piece) = filled.recv().await {
        let piece = piece.map_err(|e| io_complaint(shown, &e))?;
        writer.write_all(&piece).await.map_err(|e| target.complaint(&e))?;
        progress.moved(piece.len());
        // The reader may have ended; then nobody needs the buffer.
        let _ = empty.try_send(piece);
    }
    Ok(())
}

/// Sends the source's bytes in pieces of `READ_BYTES` until its end, an error, or nobody listens.
fn read_ahead(
    mut source: impl Read,
    full: &mpsc::Sender<io::Result<Vec<u8>>>,
    emptied: &std_mpsc::Receiver<Vec<u8>>,
) {
    loop {
        let mut piece = emptied.try_recv().unwrap_or_default();
        piece.clear();
        match (&mut source).take(READ_BYTES as u64).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => {
                if full.blocking_send(Ok(piece)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nobody listening: nobody to tell.
                let _ = full.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Writes a file's bytes to `written`, on a thread of its own.
async fn fetch(source: &Node, path: &LocalPath, written: &LocalPath, progress: &Progress) -> Done {
    let mut opened = open(source).await?;
    let failed = |e: io::Error| io_complaint(&path.shown, &e);
    let mut file = File::create(&written.path).map_err(failed)?;
    let (reader, remote) = match &mut opened {
        Opened::Remote(reader, remote) => (reader, remote),
        // From one local place to another: where it can, the kernel copies.
        Opened::File(source, _) => {
            return blocking(|| io::copy(source, &mut file)).map(|_| ()).map_err(failed);
        }
        Opened::Stream(source, _) => {
            return blocking(|| io::copy(source, &mut file)).map(|_| ()).map_err(failed);
        }
    };
    let (chunks, mut arrived) = mpsc::channel::<Bytes>(BUFFERS);
    let (report, reported) = oneshot::channel();
    std::thread::spawn(move || {
        let mut result = Ok(());
        while let Some(chunk) = arrived.blocking_recv() {
            result = file.write_all(&chunk);
            if result.is_err() {
                break;
            }
        }
        // Whoever waited for the report may have been cancelled.
        let _ = report.send(result);
    });
    loop {
        let chunk = reader.read_chunk().await.map_err(|e| remote.complaint(&e))?;
        if chunk.is_empty() {
            break;
        }
        let bytes = chunk.len();
        if chunks.send(chunk).await.is_err() {
            // The writer has stopped: its report says why.
            break;
        }
        progress.moved(bytes);
    }
    drop(chunks);
    match reported.await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(Complaint::path(&path.shown, "the writing thread ended unexpectedly")),
    }
}

/// Prints a file's bytes from `position` on. How many there were.
///
/// # Errors
/// It can't be read.
pub async fn stream_to_stdout(shell: &Shell, target: &Target, position: u64) -> Done<u64> {
    let complain = |e: hfs_client::Error| target.complaint(&e);
    let mut reader = target.fs.open(&target.path).await.map_err(complain)?;
    reader.seek(position);
    let mut printed = 0;
    loop {
        let chunk = reader.read_chunk().await.map_err(complain)?;
        if chunk.is_empty() {
            return Ok(printed);
        }
        shell.bytes(&chunk);
        printed += chunk.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_source_is_read_ahead_in_large_pieces() {
        let data: Vec<u8> = (0..3 * READ_BYTES + 5).map(|index| (index % 253) as u8).collect();
        let (full, mut filled) = mpsc::channel(BUFFERS);
        let (empty, emptied) = std_mpsc::sync_channel(BUFFERS);
        let source = io::Cursor::new(data.clone());
        let reader = std::thread::spawn(move || read_ahead(source, &full, &emptied));
        let (mut read, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = filled.blocking_recv() {
            let piece: Vec<u8> = piece.unwrap();
            read.extend_from_slice(&piece);
            pieces += 1;
            let _ = empty.try_send(piece);
        }
        reader.join().unwrap();
        assert_eq!((read == data, pieces), (true, 4));
    }

    #[test]
    fn a_reader_stops_when_nobody_listens() {
        let (full, filled) = mpsc::channel(1);
        let (_empty, emptied) = std_mpsc::sync_channel(1);
        drop(filled);
        read_ahead(io::repeat(1), &full, &emptied);
    }

    #[test]
    fn the_temporary_name_keeps_odd_bytes() {
        assert_eq!(copying(&LocalPath::new("/a/b")).shown, "/a/b._COPYING_");
    }
}
