//! A scheduler that offers every free worker to every job at every turn. What it decides is what the one
//! that looks only at what has changed must decide.

use super::*;

impl Scheduler {
    /// A scheduler that does so.
    pub(super) fn plainly(self) -> Self {
        Self { plain: true, ..self }
    }

    pub(in crate::scheduler) fn offer_plainly(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut fresh = std::mem::take(&mut self.openings.fresh);
        let mut last = None;
        while !self.shares.idle() {
            let free =
                self.workers.iter().filter(|(_, worker)| worker.usable() && worker.free() > 0);
            let places = free.map(|(key, worker)| (worker.load(), key));
            let Some((load, key)) = places.filter(|place| Some(*place) > last).min() else { break };
            last = Some((load, key));
            if let Some(choice) = self.choose(now, key, fresh.contains(&key)) {
                self.launch(now, key, choice, out);
                fresh.insert(key);
            }
        }
        self.openings.restless = self.shares.ready().collect();
        self.note_held_back(now);
    }
}
