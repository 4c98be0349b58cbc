//! What must hold of a job at any time.

use std::collections::BTreeSet;

use hfs_protocol::ids::{TaskId, TaskKind};

use super::task::Tag;
use super::{Job, Tally, TaskState};

impl Job {
    /// The invariants that tests check after every event.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        for (kind, tasks, tally) in [
            (TaskKind::Map, &self.maps, self.map_tally),
            (TaskKind::Reduce, &self.reduces, self.reduce_tally),
        ] {
            let mut seen = Tally {
                failed_attempts: tally.failed_attempts,
                killed_attempts: tally.killed_attempts,
                ..Tally::default()
            };
            for (index, task) in tasks.iter().enumerate() {
                let running = task.running().count();
                match task.state.tag() {
                    Tag::Waiting if running > 0 => {
                        return Err(format!("{kind:?} {index} waits and runs"));
                    }
                    Tag::Waiting => {}
                    Tag::Running if running == 0 => {
                        return Err(format!("{kind:?} {index} runs without an attempt"));
                    }
                    Tag::Running => seen.running += 1,
                    Tag::Committing => seen.committing += 1,
                    Tag::Succeeded => seen.succeeded += 1,
                }
                let queued = match kind {
                    TaskKind::Map => self.map_queue.contains(index as u32),
                    TaskKind::Reduce => self.reduce_queue.contains(&(index as u32)),
                };
                let waits = matches!(task.state, TaskState::Waiting);
                if self.runs() && queued != waits {
                    return Err(format!("{kind:?} {index}: queued {queued}, waiting {waits}"));
                }
                if task.failures > self.max_attempts() {
                    return Err(format!("{kind:?} {index} failed {} times", task.failures));
                }
            }
            if seen != tally {
                return Err(format!("{kind:?} tally {tally:?} but counted {seen:?}"));
            }
        }
        self.validate_work()
    }

    fn validate_work(&self) -> Result<(), String> {
        let mut at_work = BTreeSet::new();
        let (mut speculative, mut running) = (0, 0);
        for (kind, tasks) in [(TaskKind::Map, &self.maps), (TaskKind::Reduce, &self.reduces)] {
            for (index, task) in tasks.iter().enumerate() {
                running += task.running().count() as u32;
                let raced = task.running().filter(|(attempt, _)| attempt.speculative).count();
                if raced > 1 {
                    return Err(format!("{kind:?} {index} is raced by {raced} attempts"));
                }
                speculative += raced as u32;
                if matches!(task.state, TaskState::Running) {
                    at_work.insert(TaskId { job: self.id, kind, index: index as u32 });
                }
            }
        }
        if at_work != self.at_work {
            return Err(format!("at work are {at_work:?}, listed {:?}", self.at_work));
        }
        if running != self.attempts_at_work {
            return Err(format!("{running} attempts run, counted {}", self.attempts_at_work));
        }
        if speculative != self.speculative_now {
            return Err(format!("{speculative} race, counted {}", self.speculative_now));
        }
        Ok(())
    }
}
