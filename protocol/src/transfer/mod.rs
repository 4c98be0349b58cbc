//! The HDFS data transfer protocol: how block bytes travel between clients and datanodes.
//!
//! In reading order: [`op`] opens an operation on a connection; [`packet`] is the unit both
//! directions stream; [`ack`] answers each packet of a write; [`checksum`] guards every chunk of a
//! packet and of a replica on disk; [`file_checksum`] folds chunk checksums into one for a file.

pub mod ack;
pub mod checksum;
mod crc32c_lanes;
pub mod file_checksum;
pub mod op;
pub mod packet;
pub mod packet_buffer;
pub mod packet_reader;
