//! The write pipeline: what must be done is decided by [`state`], a pure machine; [`streamer`] does
//! it; [`connection`] moves packets and acks; [`wire`] holds the single exchanges with datanodes and the namenode.

mod connection;
pub(crate) mod state;
pub(crate) mod streamer;
mod wire;
