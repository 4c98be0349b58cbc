//! The write pipeline: what must be done is decided by [`state`], a pure machine; [`streamer`] does
//! it; [`wire`] holds the single exchanges with datanodes and the namenode.

pub(crate) mod state;
pub(crate) mod streamer;
mod wire;
