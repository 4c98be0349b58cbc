//! What blocking transfers do with their sockets beyond reading and writing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use prost::Message;

/// How long a failed transfer goes on reading what the peer sends, so that the peer gets to read
/// why: closing with unread data would destroy the answer on its way.
const LINGER: Duration = Duration::from_secs(5);

/// Sends all of `bytes`, telling the system that more follows at once.
///
/// # Errors
/// What the socket fails with; `WouldBlock` when the peer took nothing for the write timeout.
#[cfg(target_os = "linux")]
pub fn send_more(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    use rustix::net::{SendFlags, send};
    while !bytes.is_empty() {
        match send(stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sends all of `bytes`.
///
/// # Errors
/// What the socket fails with.
#[cfg(not(target_os = "linux"))]
pub fn send_more(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Sends a range of a file without taking it through this process.
///
/// # Errors
/// What either side fails with; `UnexpectedEof` when the file is shorter.
#[cfg(target_os = "linux")]
pub fn send_file(stream: &TcpStream, file: &File, offset: u64, len: u64) -> io::Result<()> {
    let mut position = offset;
    let end = offset + len;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(stream, file, Some(&mut position), wanted) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sends a range of a file.
///
/// # Errors
/// What either side fails with; `UnexpectedEof` when the file is shorter.
#[cfg(not(target_os = "linux"))]
pub fn send_file(mut stream: &TcpStream, file: &File, offset: u64, len: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    const STEP_BYTES: u64 = 128 * 1024;
    let mut buffer = vec![0; usize::try_from(len.min(STEP_BYTES)).unwrap_or(0)];
    let mut position = offset;
    let end = offset + len;
    while position < end {
        let step = (end - position).min(STEP_BYTES) as usize;
        file.read_exact_at(&mut buffer[..step], position)?;
        stream.write_all(&buffer[..step])?;
        position += step as u64;
    }
    Ok(())
}

/// Sends a delimited message with one write: some clients can't read a split length.
///
/// # Errors
/// What the socket fails with.
pub fn send_message(mut stream: &TcpStream, message: &impl Message) -> io::Result<()> {
    stream.write_all(&message.encode_length_delimited_to_vec())
}

/// Dials a peer, with deadlines for the connection and for every read and write on it.
///
/// # Errors
/// If it does not answer in time.
pub fn dial(address: SocketAddr, connect: Duration, wait: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, connect)?;
    prepare(&stream, wait)?;
    Ok(stream)
}

/// Makes a socket ready for a transfer.
///
/// # Errors
/// If the system refuses the options.
pub fn prepare(stream: &TcpStream, wait: Duration) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))
}

/// Ends a failed transfer gently: nothing more is sent, and what still comes is read and thrown
/// away until the peer closes or the patience ends.
pub fn linger(stream: &TcpStream) {
    let deadline = Instant::now() + LINGER;
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut sink = [0; 16 * 1024];
    let mut stream = stream;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut sink) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// True for the errors that only say that the peer has gone.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
    )
}
