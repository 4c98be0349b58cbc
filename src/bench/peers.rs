//! The peers hfs is held against: the least that any implementation has to do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

/// How much the peers move at once. 1 MiB, as hfs's own packets.
const CHUNK: usize = 1 << 20;

/// Copies `from` through a chain of one hop per target, each on a thread with a socket of its own: read
/// the socket, write the file, forward. The limit of a write pipeline: no protocol, checksum or ack
/// but one byte at the end.
///
/// # Errors
/// Any hop's I/O error.
pub fn relay(from: &Path, targets: &[&Path]) -> io::Result<()> {
    let listeners = targets
        .iter()
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<io::Result<Vec<_>>>()?;
    let addresses =
        listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let mut hops = Vec::new();
        for (i, (listener, target)) in listeners.iter().zip(targets).enumerate() {
            let next = addresses.get(i + 1).copied();
            hops.push(scope.spawn(move || -> io::Result<()> {
                let (mut upstream, _) = listener.accept()?;
                let mut downstream = next.map(TcpStream::connect).transpose()?;
                let mut file = File::create(target)?;
                let mut buffer = vec![0; CHUNK];
                loop {
                    let n = upstream.read(&mut buffer)?;
                    if n == 0 {
                        break;
                    }
                    file.write_all(&buffer[..n])?;
                    if let Some(downstream) = &mut downstream {
                        downstream.write_all(&buffer[..n])?;
                    }
                }
                if let Some(mut downstream) = downstream {
                    downstream.shutdown(std::net::Shutdown::Write)?;
                    downstream.read_exact(&mut [0])?;
                }
                upstream.write_all(&[1])
            }));
        }
        let Some(first) = addresses.first() else { return Ok(()) };
        let mut out = TcpStream::connect(first)?;
        let mut file = File::open(from)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            out.write_all(&buffer[..n])?;
        }
        out.shutdown(std::net::Shutdown::Write)?;
        out.read_exact(&mut [0])?;
        for hop in hops {
            hop.join().map_err(|_| io::Error::other("a relay hop panicked"))??;
        }
        Ok(())
    })
}

/// Sends `count` messages of `request` bytes over each of `connections` sockets, one at a time on each,
/// and waits for an answer of `reply` bytes to every one. The limit of a request/response protocol.
///
/// # Errors
/// Any socket's I/O error.
pub fn echo(connections: usize, count: usize, request: usize, reply: usize) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        let server = scope.spawn(move || -> io::Result<()> {
            thread::scope(|scope| {
                for _ in 0..connections {
                    let (mut stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    scope.spawn(move || {
                        let (mut input, output) = (vec![0; request], vec![0; reply]);
                        while stream.read_exact(&mut input).is_ok() {
                            if stream.write_all(&output).is_err() {
                                break;
                            }
                        }
                    });
                }
                Ok(())
            })
        });
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(move || -> io::Result<()> {
                    let mut stream = TcpStream::connect(address)?;
                    stream.set_nodelay(true)?;
                    let (output, mut input) = (vec![0; request], vec![0; reply]);
                    for _ in 0..count {
                        stream.write_all(&output)?;
                        stream.read_exact(&mut input)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().map_err(|_| io::Error::other("an echo client panicked"))??;
        }
        server.join().map_err(|_| io::Error::other("the echo server panicked"))?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_relay_copies_to_every_hop() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let bytes: Vec<u8> = (0..3_000_001u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&source, &bytes).unwrap();
        let targets = [dir.path().join("a"), dir.path().join("b"), dir.path().join("c")];
        relay(&source, &targets.each_ref().map(|p| p.as_path())).unwrap();
        for target in targets {
            assert!(std::fs::read(target).unwrap() == bytes);
        }
    }

    #[test]
    fn an_echo_ends() {
        echo(4, 10, 100, 30).unwrap();
    }
}
