//! Threads for transfers: made when needed, kept for a while, as many as there are transfers.
//!
//! The runtime's own blocking threads are bounded and shared with everything else that blocks; a
//! slow pipeline must not keep a metrics page waiting.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a thread waits for more work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// A transfer keeps its data on the heap, so its stack stays small.
const STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs, each on a thread of its own. Cheap to clone.
#[derive(Clone, Default)]
pub struct Threads {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs that an idle thread is about to take: never more than there are idle threads.
    jobs: VecDeque<Job>,
    idle: usize,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("idle", &self.shared.state.lock().idle).finish()
    }
}

impl Threads {
    /// Runs `job` at once, on an idle thread or a new one.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        if state.idle > state.jobs.len() {
            state.jobs.push_back(Box::new(job));
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.shared);
        let first: Job = Box::new(job);
        std::thread::Builder::new()
            .name("transfer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.work(first))?;
        Ok(())
    }
}

impl Shared {
    fn work(&self, first: Job) {
        first();
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let deadline = Instant::now() + IDLE;
        let mut state = self.state.lock();
        state.idle += 1;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.idle -= 1;
                return Some(job);
            }
            if self.work.wait_until(&mut state, deadline).timed_out() && state.jobs.is_empty() {
                state.idle -= 1;
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_that_wait_for_each_other_all_run() {
        let threads = Threads::default();
        for _ in 0..3 {
            let (to_second, second) = mpsc::channel();
            let (to_first, first) = mpsc::channel();
            let (done, finished) = mpsc::channel();
            threads.run(move || done.send(first.recv().unwrap()).unwrap()).unwrap();
            threads.run(move || to_first.send(second.recv().unwrap()).unwrap()).unwrap();
            to_second.send(7).unwrap();
            assert_eq!(finished.recv_timeout(Duration::from_secs(20)).unwrap(), 7);
        }
    }
}
