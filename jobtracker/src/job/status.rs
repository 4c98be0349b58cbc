//! What people and programs are told about a job.

use std::collections::BTreeMap;

use hfs_protocol::ids::{AttemptId, TaskId, TaskKind};
use hfs_protocol::proto::job::{
    JobState, JobStatus, Locality as LocalityCounts, TaskCounts, TaskTiming,
};
use hfs_protocol::proto::task::Counter;

use super::{AttemptState, Job, Phase, Tally, Task};

/// Attempts that a status lists. A larger job's status tells the first ones and the counts.
pub const ATTEMPTS_LISTED: usize = 20_000;

/// Whether a status carries the list of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Counts only.
    Brief,
    /// With every attempt.
    Full,
}

impl Job {
    /// The state as clients know it. A job that is being cleaned up counts as running: it is over
    /// when nothing of it is left.
    #[must_use]
    pub fn state(&self) -> JobState {
        match &self.phase {
            Phase::Preparing => JobState::Preparing,
            Phase::Running | Phase::Ending(_) => JobState::Running,
            Phase::Sealing | Phase::Committing(_) => JobState::Committing,
            Phase::Ended(state) => *state,
        }
    }

    /// The status now.
    #[must_use]
    pub fn status(&self, detail: Detail) -> JobStatus {
        let mut attempts = Vec::new();
        if detail == Detail::Full {
            self.list_attempts(TaskKind::Map, &self.maps, &mut attempts);
            self.list_attempts(TaskKind::Reduce, &self.reduces, &mut attempts);
        }
        JobStatus {
            job_id: self.id.to_string(),
            name: self.spec.name.clone(),
            user: self.spec.user.clone(),
            state: self.state().into(),
            maps: Some(self.counts(TaskKind::Map, self.maps.len(), self.map_tally)),
            reduces: Some(self.counts(TaskKind::Reduce, self.reduces.len(), self.reduce_tally)),
            locality: Some(LocalityCounts {
                node: self.locality[0],
                rack: self.locality[1],
                any: self.locality[2],
            }),
            submit_ms: self.submit_ms,
            start_ms: self.start_ms,
            finish_ms: self.finish_ms,
            message: self.sentence(),
            failures: self.failures.clone(),
            counters: self.counters_now(),
            output_dir: self.spec.output_dir.clone(),
            attempts,
            queue: self.wishes.queue.clone(),
            priority: self.priority.word().to_owned(),
            speculative_attempts: self.speculated[0] + self.speculated[1],
            speculative_running: self.speculative_now,
        }
    }

    fn sentence(&self) -> String {
        if self.message.is_empty() && self.runs() && self.standing.waits_for_turn() {
            let queue = &self.wishes.queue;
            return format!("it waits: the queue {queue} runs as many jobs as it may");
        }
        self.message.clone()
    }

    fn counters_now(&self) -> Vec<Counter> {
        let mut sums: BTreeMap<(&str, &str), i64> = self
            .counters
            .iter()
            .map(|((group, name), value)| ((group.as_str(), name.as_str()), *value))
            .collect();
        if self.map_tally.running + self.reduce_tally.running > 0 {
            for task in self.at_work.iter().filter_map(|id| self.task(*id)) {
                for counter in task.running().flat_map(|(_, running)| &running.counters) {
                    let sum = sums.entry((&counter.group, &counter.name)).or_insert(0);
                    *sum = sum.saturating_add(counter.value);
                }
            }
        }
        sums.into_iter()
            .map(|((group, name), value)| Counter {
                group: group.to_owned(),
                name: name.to_owned(),
                value,
            })
            .collect()
    }

    fn list_attempts(&self, kind: TaskKind, tasks: &[Task], into: &mut Vec<TaskTiming>) {
        for (index, task) in tasks.iter().enumerate() {
            for attempt in &task.attempts {
                if into.len() == ATTEMPTS_LISTED {
                    return;
                }
                let (state, end_ms) = match &attempt.state {
                    AttemptState::Running(_) => ("running", 0),
                    AttemptState::Ended { end, finish_ms } => (end.word(), *finish_ms),
                };
                let task = TaskId { job: self.id, kind, index: index as u32 };
                into.push(TaskTiming {
                    attempt_id: AttemptId { task, number: attempt.number }.to_string(),
                    worker: self.worker_names.get(&attempt.worker).cloned().unwrap_or_default(),
                    start_ms: attempt.start_ms,
                    end_ms,
                    state: state.to_owned(),
                    locality: attempt.locality.map_or("", |l| l.word()).to_owned(),
                    speculative: attempt.speculative,
                    shuffle_finish_ms: attempt.phases.shuffle_finish_ms,
                    merge_finish_ms: attempt.phases.merge_finish_ms,
                });
            }
        }
    }

    fn counts(&self, kind: TaskKind, total: usize, tally: Tally) -> TaskCounts {
        let mut done = f64::from(tally.succeeded) + f64::from(tally.committing);
        let at_work = self.at_work.iter().filter(|id| id.kind == kind);
        done += at_work
            .filter_map(|id| {
                let running = self.task(*id)?.running();
                running.map(|(_, running)| running.fraction).reduce(f64::max)
            })
            .sum::<f64>();
        let progress = if total == 0 { 1.0 } else { done / total as f64 };
        TaskCounts {
            total: total as u32,
            running: tally.running + tally.committing,
            succeeded: tally.succeeded,
            failed_attempts: tally.failed_attempts,
            killed_attempts: tally.killed_attempts,
            progress: progress.clamp(0.0, 1.0),
        }
    }
}
