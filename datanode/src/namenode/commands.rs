//! What the namenode orders, done on threads of their own.

use std::sync::Arc;

use hfs_protocol::ids::{BlockId, GenStamp};
use hfs_protocol::proto::datanode::datanode_message::Message;
use hfs_protocol::proto::datanode::namenode_message::Message as Command;
use hfs_protocol::proto::datanode::{
    Block, FinishRecovery, InitRecovery, RecoveryDone, RecoveryReplica, ReplicaState, Target,
    Transfer, TransferDone,
};
use hfs_protocol::proto::hadoop::hdfs::{DatanodeIdProto, DatanodeInfoProto};
use tokio::sync::Semaphore;

use super::Link;
use crate::store::named;
use crate::xceiver::copy::{CopyTarget, copy_replica};

impl Link {
    /// Starts what the namenode wants; answers go through the outbox.
    pub(super) fn obey(self: &Arc<Self>, command: Command) {
        match command {
            Command::Transfer(transfer) => {
                self.on_thread(Some(&self.copies), move |link| link.transfer(&transfer));
            }
            Command::Invalidate(invalidate) => {
                self.on_thread(Some(&self.deletions), move |link| {
                    let gone = link.xceiver.store.invalidate(&invalidate.blocks);
                    tracing::debug!("deleted {gone} of {} replicas", invalidate.blocks.len());
                });
            }
            Command::InitRecovery(init) => {
                self.on_thread(None, move |link| link.init_recovery(&init));
            }
            Command::FinishRecovery(finish) => {
                self.on_thread(None, move |link| link.finish_recovery(&finish));
            }
            Command::ReportAccepted(accepted) => {
                tracing::debug!("the namenode took the block report of {}", accepted.storage_uuid);
            }
            Command::Refused(refused) => tracing::warn!("the namenode says: {}", refused.reason),
            Command::Registered(_) | Command::SendBlockReport(_) => {}
        }
    }

    /// Runs `work` on a thread, when `turns` allows it.
    fn on_thread(
        self: &Arc<Self>,
        turns: Option<&Arc<Semaphore>>,
        work: impl FnOnce(&Link) + Send + 'static,
    ) {
        let link = Arc::clone(self);
        let turns = turns.cloned();
        tokio::spawn(async move {
            let permit = match turns {
                Some(turns) => turns.acquire_owned().await.ok(),
                None => None,
            };
            let runner = Arc::clone(&link);
            let started = link.xceiver.threads.run(move || {
                work(&runner);
                drop(permit);
            });
            if let Err(error) = started {
                tracing::warn!("a command of the namenode was dropped: no thread: {error}");
            }
        });
    }

    fn transfer(&self, transfer: &Transfer) {
        let Some(block) = transfer.block else { return };
        let (id, stamp) = (BlockId(block.block_id), GenStamp(block.generation_stamp));
        for target in &transfer.targets {
            let node = node_of(target);
            let copied = self
                .xceiver
                .store
                .open_reader(id, stamp)
                .map_err(|error| error.to_string())
                .and_then(|reader| {
                    if !reader.finalized {
                        return Err(format!("blk_{id} is not complete here"));
                    }
                    let target = CopyTarget {
                        node: &node,
                        storage_uuid: Some(&target.storage_uuid),
                        client: "",
                        token: None,
                    };
                    copy_replica(&self.xceiver, &reader, &target).map_err(|error| error.to_string())
                });
            if let Err(error) = &copied {
                tracing::warn!("blk_{id} was not copied: {error}");
            }
            self.announcer.outbox().say(Message::TransferDone(TransferDone {
                block: Some(block),
                target_uuid: target.datanode_uuid.clone(),
                error: copied.err().unwrap_or_default(),
            }));
        }
    }

    fn init_recovery(&self, init: &InitRecovery) {
        let Some(block) = init.block else { return };
        let recovery_id = GenStamp(init.recovery_id);
        let result = self.xceiver.store.init_recovery(
            BlockId(block.block_id),
            GenStamp(block.generation_stamp),
            recovery_id,
        );
        let (block, state, error) = match result {
            Ok(offered) => (offered.block, offered.state, String::new()),
            Err(error) => {
                tracing::warn!("recovery {recovery_id}: {error}");
                (block, ReplicaState::Finalized, error.to_string())
            }
        };
        self.announcer.outbox().say(Message::RecoveryReplica(RecoveryReplica {
            recovery_id: init.recovery_id,
            block: Some(block),
            state: state as i32,
            error,
        }));
    }

    fn finish_recovery(&self, finish: &FinishRecovery) {
        let Some(block) = finish.block else { return };
        let recovery_id = GenStamp(finish.recovery_id);
        let id = BlockId(block.block_id);
        let result = self.xceiver.store.finish_recovery(id, recovery_id, finish.length);
        let (block, storage_uuid, error): (Block, String, String) = match result {
            Ok(storage) => (named(id, recovery_id, finish.length), storage, String::new()),
            Err(error) => {
                tracing::warn!("recovery {recovery_id}: {error}");
                (block, String::new(), error.to_string())
            }
        };
        self.announcer.outbox().say(Message::RecoveryDone(RecoveryDone {
            recovery_id: finish.recovery_id,
            block: Some(block),
            storage_uuid,
            error,
        }));
    }
}

fn node_of(target: &Target) -> DatanodeInfoProto {
    DatanodeInfoProto {
        id: DatanodeIdProto {
            ip_addr: target.ip.clone(),
            host_name: target.host.clone(),
            datanode_uuid: target.datanode_uuid.clone(),
            xfer_port: target.transfer_port,
            info_port: 0,
            ipc_port: 0,
            info_secure_port: None,
        },
        ..DatanodeInfoProto::default()
    }
}
