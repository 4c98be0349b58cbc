//! `hfs admin`: an operator's words to the namenode.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use hfs_client::{FileSystem, SafeModeAction};

use super::global::GlobalArgs;

/// What an operator can say.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Ask for safe mode, enter it (no changes) or leave it
    Safemode {
        /// What to do
        #[arg(value_enum)]
        action: Action,
    },
}

/// What to do about safe mode.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Action {
    /// Only ask
    Get,
    /// Refuse changes
    Enter,
    /// Allow changes
    Leave,
}

/// Says it to the namenode and prints its answer in Hadoop's words.
///
/// # Errors
/// No namenode, or its refusal.
pub async fn run(command: AdminCommand, global: &GlobalArgs) -> Result<()> {
    let AdminCommand::Safemode { action } = command;
    let action = match action {
        Action::Get => SafeModeAction::Get,
        Action::Enter => SafeModeAction::Enter,
        Action::Leave => SafeModeAction::Leave,
    };
    let config = global.client_config()?;
    let url = global.fs_url(&config)?;
    let fs = FileSystem::connect(url.as_str(), config).await?;
    let on = fs.set_safe_mode(action).await?;
    println!("Safe mode is {}", if on { "ON" } else { "OFF" });
    Ok(())
}
