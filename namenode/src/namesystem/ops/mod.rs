//! The operations, one file each: what a request must fulfil (`check`), and what happens (`apply`).

pub mod abandon_block;
pub mod add_block;
pub mod append;
pub mod commit_block_synchronization;
pub mod complete;
pub mod concat;
pub mod create;
pub mod delete;
pub mod fsync;
pub mod mkdirs;
pub mod recover_lease;
pub mod rename;
pub mod rename2;
pub mod set_owner;
pub mod set_permission;
pub mod set_replication;
pub mod set_times;
pub mod update_block_for_pipeline;
pub mod update_pipeline;
