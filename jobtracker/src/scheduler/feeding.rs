//! Running reduces are told where finished maps' outputs lie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hfs_protocol::ids::{AttemptId, TaskId, TaskKind};
use hfs_protocol::proto::task::MapOutput;

use super::{Action, Now, Scheduler, Timer};
use crate::job::{Job, Task, TaskState};
use crate::workers::{HostId, WorkerKey, Workers};

/// A job with at most so many running reduces tells them each output at once.
const FEW_REDUCES: u32 = 16;
/// The longest time that news of an output are held back, ms.
const PAUSE_MAX_MS: u64 = 250;

impl Scheduler {
    /// Tells running reduces of outputs that they have not been told of.
    pub(super) fn feed(&mut self, now: Now, out: &mut Vec<Action>) {
        for id in std::mem::take(&mut self.hungry) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if !job.runs() || job.reduce_tally.running == 0 {
                continue;
            }
            let due_ms = job.fed_ms + pause_ms(job);
            if due_ms > now.steady_ms {
                self.set_timer(due_ms, Timer::Feed(id));
                continue;
            }
            job.fed_ms = now.steady_ms;
            let end = job.output_log.len();
            let mut due: Vec<(AttemptId, WorkerKey, usize)> = Vec::new();
            for (index, task) in job.reduces.iter_mut().enumerate() {
                for attempt in &mut task.attempts {
                    let (number, worker) = (attempt.number, attempt.worker);
                    if let Some(running) = attempt.running_mut()
                        && running.outputs_sent < end
                    {
                        let task = TaskId { job: id, kind: TaskKind::Reduce, index: index as u32 };
                        due.push((AttemptId { task, number }, worker, running.outputs_sent));
                        running.outputs_sent = end;
                    }
                }
            }
            // Reduces on one host that know equally much are told the same.
            let mut lists: BTreeMap<(usize, Option<HostId>), Arc<Vec<MapOutput>>> = BTreeMap::new();
            for (attempt, worker, from) in due {
                let host = self.workers.get(worker).map(|worker| worker.host);
                let outputs = lists
                    .entry((from, host))
                    .or_insert_with(|| Arc::new(outputs(job, &self.workers, host, from)));
                if !outputs.is_empty() {
                    out.push(Action::FeedReduce(worker, attempt, Arc::clone(outputs)));
                }
            }
        }
    }
}

/// How long a job collects news before it tells its reduces: telling each of many reduces of each of
/// many maps by itself would be their product in messages. The last map is told at once.
fn pause_ms(job: &Job) -> u64 {
    if job.reduce_tally.running <= FEW_REDUCES || job.maps_left() == 0 {
        return 0;
    }
    u64::from(job.reduce_tally.running).min(PAUSE_MAX_MS)
}

/// The outputs logged from `from` on that can be fetched, as a reduce on this host is told them.
fn outputs(
    job: &Job,
    workers: &Workers,
    reader_host: Option<HostId>,
    from: usize,
) -> Vec<MapOutput> {
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for index in &job.output_log[from..] {
        let Some(Task { state: TaskState::Succeeded(success), .. }) = job.maps.get(*index as usize)
        else {
            continue;
        };
        let Some(segment) = &success.segment else { continue };
        let Some(worker) = workers.get(segment.worker).filter(|worker| !worker.dead()) else {
            continue;
        };
        if !told.insert(*index) {
            continue;
        }
        let task = TaskId { job: job.id, kind: TaskKind::Map, index: *index };
        let local = reader_host == Some(worker.host);
        found.push(MapOutput {
            map_index: *index,
            attempt_id: AttemptId { task, number: success.attempt }.to_string(),
            shuffle_address: worker.profile.shuffle_address.clone(),
            local_path: if local { segment.path.clone() } else { String::new() },
            worker_id: worker.profile.id.clone(),
        });
    }
    found
}
