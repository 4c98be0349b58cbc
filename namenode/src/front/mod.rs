//! The fronts: each translates a wire into calls on the [service](crate::service) and back, and
//! decides nothing.

pub mod datanode_grpc;
pub mod hadoop;
pub mod web;
