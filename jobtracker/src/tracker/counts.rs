//! What `/metrics` says about jobs.

use hfs_daemon::metrics::{self, Registry};
use hfs_protocol::proto::job::JobState;

use crate::scheduler::{Action, Scheduler};

/// The jobtracker's metrics.
#[derive(Debug, Clone)]
pub struct Counts {
    submitted: metrics::Counter,
    succeeded: metrics::Counter,
    failed: metrics::Counter,
    killed: metrics::Counter,
    launched: metrics::Counter,
    map_reruns: metrics::Counter,
    running: metrics::Gauge,
    workers: metrics::Gauge,
    slots: metrics::Gauge,
}

impl Counts {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            submitted: metrics::counter(registry, "jobs_submitted", "Jobs taken"),
            succeeded: metrics::counter(registry, "jobs_succeeded", "Jobs that succeeded"),
            failed: metrics::counter(registry, "jobs_failed", "Jobs that failed"),
            killed: metrics::counter(registry, "jobs_killed", "Jobs that were killed"),
            launched: metrics::counter(registry, "attempts_launched", "Attempts launched"),
            map_reruns: metrics::counter(
                registry,
                "map_outputs_lost",
                "Finished maps that had to run again",
            ),
            running: metrics::gauge(registry, "jobs_unfinished", "Jobs that are not over"),
            workers: metrics::gauge(registry, "workers_live", "Workers with an open stream"),
            slots: metrics::gauge(registry, "slots_live", "Slots of those workers"),
        }
    }

    pub(super) fn submitted(&self) {
        self.submitted.inc();
    }

    pub(super) fn ended(&self, state: JobState) {
        match state {
            JobState::Succeeded => self.succeeded.inc(),
            JobState::Killed => self.killed.inc(),
            _ => self.failed.inc(),
        };
    }

    pub(super) fn action(&self, action: &Action) {
        use crate::history::record::Entry;
        match action {
            Action::Launch(..) => {
                self.launched.inc();
            }
            Action::Journal(_, record, _) if matches!(record.entry, Some(Entry::OutputLost(_))) => {
                self.map_reruns.inc();
            }
            _ => {}
        }
    }

    pub(super) fn settled(&self, scheduler: &Scheduler) {
        self.running.set(scheduler.jobs().len() as i64);
        self.workers.set(i64::from(scheduler.workers().live_count()));
        self.slots.set(scheduler.workers().live_slots() as i64);
    }
}
