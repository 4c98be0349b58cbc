//! `cluster.json`: what belongs to the cluster, who runs it and where it listens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hfs_daemon::port_file::Ports;
use serde::{Deserialize, Serialize};

use super::node::{Node, Role};
use super::options::Shape;
use super::process::ProcessId;

/// The file's name; a directory that has it is a local cluster.
pub(super) const FILE_NAME: &str = "cluster.json";

/// The form of the file this program reads and writes.
const FORMAT: u32 = 1;

/// What is in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    pub(super) shape: Shape,
    /// By the node's name.
    nodes: BTreeMap<String, Member>,
}

/// One process as it was last seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Member {
    /// `None` after an orderly stop.
    pub(super) process: Option<ProcessId>,
    /// Where it listened; asked for again at the next start.
    pub(super) ports: Ports,
    /// The program it runs.
    pub(super) program: PathBuf,
}

impl State {
    pub(super) fn new(shape: Shape) -> Self {
        Self { format: FORMAT, shape, nodes: BTreeMap::new() }
    }

    /// The state in `dir`; `None` when there is no such directory, or nothing in it.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                refuse_strangers(dir)?;
                return Ok(None);
            }
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                bail!("{} is a file, not a directory; choose another with --dir", dir.display());
            }
            Err(e) => bail!("can't read {}: {e}", path.display()),
        };
        let state: Self = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not the state of a local hfs cluster", path.display())
        })?;
        if state.format != FORMAT {
            bail!(
                "{} has form {}, and this hfs knows form {FORMAT}: use the hfs that made it",
                path.display(),
                state.format
            );
        }
        Ok(Some(state))
    }

    /// Writes the file in one step.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE_NAME);
        let neighbour = dir.join(format!("{FILE_NAME}.new"));
        let json = serde_json::to_vec_pretty(self)?;
        let written = fs::File::create(&neighbour)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&neighbour, &path));
        written.with_context(|| format!("can't write {}", path.display()))
    }

    /// All processes that belong to the cluster, in the order of their roles.
    pub(super) fn members(&self) -> Vec<Node> {
        let of = |role| (1..=self.shape.count(role)).map(move |number| Node::new(role, number));
        Role::ALL.into_iter().flat_map(of).collect()
    }

    pub(super) fn member(&self, node: Node) -> Option<&Member> {
        self.nodes.get(&node.to_string())
    }

    pub(super) fn set(&mut self, node: Node, member: Member) {
        self.nodes.insert(node.to_string(), member);
    }

    /// The process of that node, if it runs.
    pub(super) fn running(&self, node: Node) -> Option<&ProcessId> {
        self.member(node)?.process.as_ref().filter(|process| process.is_alive())
    }

    /// Notes that a node was stopped. Its ports stay.
    pub(super) fn clear(&mut self, node: Node) {
        if let Some(member) = self.nodes.get_mut(&node.to_string()) {
            member.process = None;
        }
    }
}

/// A directory with somebody else's files in it is not taken over.
fn refuse_strangers(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => bail!("can't read directory {}: {e}", dir.display()),
    };
    let mut strangers: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != hfs_daemon::lock_dir::FILE_NAME)
        .take(4)
        .collect();
    if strangers.is_empty() {
        return Ok(());
    }
    strangers.sort();
    bail!(
        "{} is not a local hfs cluster: it has other files in it ({}) and no {FILE_NAME}; \
         choose an empty or new directory with --dir",
        dir.display(),
        strangers.join(", ")
    );
}
