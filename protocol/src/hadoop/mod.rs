//! Hadoop RPC version 9: what file clients and the namenode speak.
//!
//! In reading order: [`frame`] cuts the byte stream; [`header`] writes what every frame begins
//! with; [`handshake`] is the server's side of a connection as a pure state machine; [`server`] and
//! [`client`] put sockets under it.

pub mod client;
pub mod frame;
pub mod handshake;
pub mod header;
pub mod server;
