//! What the jobtracker orders.

use std::sync::Arc;
use std::time::Duration;

use hfs_protocol::ids::AttemptId;
use hfs_protocol::proto::worker::tracker_message::Message as FromTracker;
use hfs_protocol::proto::worker::worker_message::Message as ToTracker;
use hfs_protocol::proto::worker::{AttemptFailed, ReduceInputs, Registered};

use super::attempt::{Stage, remove_dir};
use super::logs;
use super::{Node, NodeEvent};
use crate::process::{Failed, Order};

/// The shortest heartbeat interval that a jobtracker can ask for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// Attempts here above the number of slots: those that are dying while others begin.
const SPARE: usize = 64;

impl Node {
    pub(super) fn obey(&mut self, message: FromTracker) {
        match message {
            FromTracker::Registered(Registered { heartbeat_interval_ms }) => {
                self.heartbeat = Duration::from_millis(heartbeat_interval_ms).max(HEARTBEAT_MIN);
                tracing::info!("registered with the jobtracker as {}", self.parts.identity.id);
            }
            FromTracker::Refused(refused) => {
                tracing::warn!("the jobtracker closes the stream: {}", refused.reason);
            }
            FromTracker::Launch(order) => {
                let Some(launch) = order.launch else { return };
                self.launch(launch);
            }
            FromTracker::Kill(order) => self.kill(&order.attempt_id, &order.reason),
            FromTracker::ReduceInputs(ReduceInputs { attempt_id, outputs }) => {
                if let (Some(attempt), Some(outputs)) =
                    (self.attempts.get_mut(&attempt_id), outputs)
                {
                    attempt.outputs.extend(outputs.outputs);
                    self.flush(&attempt_id);
                }
            }
            FromTracker::ForgetJob(order) => self.forget(&order.job_id),
            FromTracker::ReadLog(order) => {
                let path = order
                    .attempt_id
                    .parse::<AttemptId>()
                    .ok()
                    .map(|id| self.parts.dirs.log(&id.task.job.to_string(), &order.attempt_id));
                if let Some(outgoing) = &self.outgoing {
                    tokio::spawn(logs::send(order, path, outgoing.clone()));
                }
            }
        }
    }

    fn launch(&mut self, launch: hfs_protocol::proto::task::Launch) {
        let id = launch.attempt_id.clone();
        let job = launch.job.as_ref().map(|job| job.job_id.clone()).unwrap_or_default();
        // The ids become names of directories.
        let sane = id.parse::<AttemptId>().is_ok_and(|id| id.task.job.to_string() == job);
        let refusal = if !sane {
            Some(format!("'{id}' of '{job}' is not an attempt of that job"))
        } else if self.attempts.len() >= self.parts.identity.slots as usize + SPARE {
            Some(format!("worker {} has no slot left", self.parts.identity.id))
        } else {
            None
        };
        if self.attempts.contains_key(&id) {
            return;
        }
        if let Some(message) = refusal {
            let failed = AttemptFailed { attempt_id: id, message, ..AttemptFailed::default() };
            return self.send(ToTracker::Failed(failed));
        }
        self.parts.counts.launched.inc();
        if let Err(message) = self.prepare(launch) {
            return self.failed(&id, Failed { message, ..Failed::default() });
        }
        if !self.reuse(&id) {
            self.localize(&id);
        }
    }

    /// Has the program and the job's cache items brought; [`NodeEvent::Localized`] follows.
    pub(super) fn localize(&mut self, id: &str) {
        let Some(job) =
            self.attempts.get(id).and_then(|attempt| attempt.launch.as_ref()?.job.clone())
        else {
            return;
        };
        let (programs, cache) = (Arc::clone(&self.parts.programs), Arc::clone(&self.parts.cache));
        let (own, id) = (self.own.clone(), id.to_owned());
        tokio::spawn(async move {
            let program = programs.bring(&job).await;
            let result = match cache.bring(&job).await {
                Ok(()) => program,
                Err(why) => program.and(Err(why)),
            };
            // A node that is gone needs no program.
            let _ = own.send(NodeEvent::Localized(id, result)).await;
        });
    }

    fn kill(&mut self, id: &str, reason: &str) {
        match self.stage_of(id) {
            Some(Stage::InProcess(_)) => {
                tracing::info!("killing {id}: {reason}");
                if let Some(attempt) = self.attempts.get_mut(id) {
                    attempt.kill = true;
                }
                self.flush(id);
            }
            Some(Stage::Localizing) => {
                let message = reason.to_owned();
                self.failed(id, Failed { message, killed: true, ..Failed::default() });
            }
            // The order crossed with the report, or the attempt never came here: the slot is free.
            None => {
                let report = self.ended.get(id).cloned().unwrap_or_else(|| {
                    ToTracker::Failed(AttemptFailed {
                        attempt_id: id.to_owned(),
                        message: "it does not run here".to_owned(),
                        killed: true,
                        ..AttemptFailed::default()
                    })
                });
                self.send(report);
            }
        }
    }

    fn forget(&mut self, job: &str) {
        let left: Vec<String> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.job == job)
            .map(|(id, _)| id.clone())
            .collect();
        for id in left {
            self.kill(&id, "the job has ended");
        }
        for process in self.processes.values().filter(|process| process.job == job) {
            let _ = process.orders.try_send(Order::Exit);
        }
        let of_job = |attempt: &str| {
            attempt.parse::<AttemptId>().is_ok_and(|id| id.task.job.to_string() == job)
        };
        self.parts.segments.forget(of_job);
        self.ended.retain(|attempt, _| !of_job(attempt));
        if job.parse::<hfs_protocol::ids::JobId>().is_ok() {
            remove_dir(self.parts.dirs.job(job));
        }
        let (dirs, programs, logs) =
            (self.parts.dirs.clone(), self.parts.keep_programs, self.parts.keep_logs);
        tokio::task::spawn_blocking(move || dirs.trim(programs, logs));
    }
}
