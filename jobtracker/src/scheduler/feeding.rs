//! Running reduces are told where finished maps' outputs lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hfs_protocol::ids::{AttemptId, JobId, TaskId, TaskKind};
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
            let of_job = |index| TaskId { job: id, kind: TaskKind::Reduce, index };
            let at_work: Vec<TaskId> = job.at_work.range(of_job(0)..).copied().collect();
            for task in at_work {
                for attempt in job.task_mut(task).into_iter().flat_map(|task| &mut task.attempts) {
                    let (number, worker) = (attempt.number, attempt.worker);
                    if let Some(running) = attempt.running_mut()
                        && running.outputs_sent < end
                    {
                        let news = running.outputs_sent..end;
                        running.outputs_sent = end;
                        out.push(Action::FeedReduce(worker, AttemptId { task, number }, news));
                    }
                }
            }
        }
    }

    /// What reduces of a job are told of this part of its output log, as it is now: outputs that can't be
    /// fetched any more are left out.
    #[must_use]
    pub fn news(&self, id: JobId, part: Range<usize>) -> News {
        let job = self.jobs.get(&id);
        job.map_or_else(News::default, |job| news(job, &self.workers, part))
    }

    /// The host of a worker.
    #[must_use]
    pub fn host_of(&self, worker: WorkerKey) -> Option<HostId> {
        self.workers.get(worker).map(|worker| worker.host)
    }
}

/// Outputs that reduces are to be told of.
#[derive(Debug, Default)]
pub struct News {
    /// As a reduce is told that runs where none of them lies.
    elsewhere: Vec<MapOutput>,
    /// Which of them lie on which host, and at which path.
    on_host: BTreeMap<HostId, Vec<(usize, String)>>,
}

impl News {
    /// As a reduce on this host is told.
    #[must_use]
    pub fn for_host(&self, host: Option<HostId>) -> Vec<MapOutput> {
        let mut told = self.elsewhere.clone();
        for (place, path) in host.and_then(|host| self.on_host.get(&host)).into_iter().flatten() {
            told[*place].local_path.clone_from(path);
        }
        told
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

/// The outputs in this part of the log that can be fetched.
fn news(job: &Job, workers: &Workers, part: Range<usize>) -> News {
    let mut told = BTreeSet::new();
    let mut elsewhere = Vec::new();
    let mut on_host: BTreeMap<HostId, Vec<(usize, String)>> = BTreeMap::new();
    for index in job.output_log.get(part).unwrap_or_default() {
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
        on_host.entry(worker.host).or_default().push((elsewhere.len(), segment.path.clone()));
        elsewhere.push(MapOutput {
            map_index: *index,
            attempt_id: AttemptId { task, number: success.attempt }.to_string(),
            shuffle_address: worker.profile.shuffle_address.clone(),
            local_path: String::new(),
            worker_id: worker.profile.id.clone(),
        });
    }
    News { elsewhere, on_host }
}
