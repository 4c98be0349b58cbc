//! Processes that this one may not be the parent of, told apart from strangers that got the same number.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process by its number and the moment it started. The number alone is recycled by the system; both
/// together name one process and no other, so a stranger is never signalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The system's number.
    pub pid: u32,
    /// When it started, as the system says it: opaque, only compared.
    started: String,
}

impl ProcessId {
    /// The process that has this number now; `None` when there is none or it has ended and waits to be collected.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: start_mark(pid)? })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        start_mark(self.pid).as_ref() == Some(&self.started)
    }

    /// Sends a signal; `false` when the process is gone.
    ///
    /// # Errors
    /// When the system refuses, for want of rights say.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = self.raw() else { return Ok(false) };
        let sent = self.send(pid, signal);
        match sent {
            Ok(sent) => Ok(sent),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until the process has ended, at most `patience`; says whether it has.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.pause(left);
        }
        true
    }

    fn raw(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    /// The descriptor is taken first and the identity looked at second, so the number can't change hands between.
    #[cfg(target_os = "linux")]
    fn send(&self, pid: Pid, signal: Signal) -> rustix::io::Result<bool> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        if !self.is_alive() {
            return Ok(false);
        }
        pidfd_send_signal(&pidfd, signal).map(|()| true)
    }

    #[cfg(not(target_os = "linux"))]
    fn send(&self, pid: Pid, signal: Signal) -> rustix::io::Result<bool> {
        if !self.is_alive() {
            return Ok(false);
        }
        rustix::process::kill_process(pid, signal).map(|()| true)
    }

    /// Sleeps until the process ends or `longest` has passed, or a little less.
    #[cfg(target_os = "linux")]
    pub(super) fn pause(&self, longest: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open};
        let pidfd = self.raw().map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let Some(Ok(pidfd)) = pidfd else {
            return std::thread::sleep(longest.min(Duration::from_millis(1)));
        };
        let timeout = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // An interrupted poll is a shorter pause.
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn pause(&self, longest: Duration) {
        std::thread::sleep(longest.min(Duration::from_millis(5)));
    }
}

/// Boot and ticks since boot: the start time is counted from boot, so only both survive a restart of the machine.
#[cfg(target_os = "linux")]
fn start_mark(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, brackets included.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    let threads = fields.nth(16)?;
    // A killed process whose first thread is a zombie lives until its last thread has let go of files and ports.
    if matches!(state, "Z" | "X") && matches!(threads, "0" | "1") {
        return None;
    }
    let ticks = fields.nth(1)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{ticks}", boot.trim()))
}

#[cfg(not(target_os = "linux"))]
fn start_mark(pid: u32) -> Option<String> {
    let words = ["-o", "stat=,lstart=", "-p"];
    let output = std::process::Command::new("ps").args(words).arg(pid.to_string()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_signalled_and_waited_for() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(!process.wait(Duration::from_millis(1)));
        assert!(process.signal(Signal::TERM).unwrap());
        assert!(process.wait(Duration::from_secs(10)));
        assert!(!process.is_alive(), "not even before it was collected");
        child.wait().unwrap();
        assert!(!process.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn the_same_number_with_another_start_is_a_stranger() {
        let me = ProcessId::of(std::process::id()).unwrap();
        let former = ProcessId { started: "before".to_owned(), ..me };
        assert!(me.is_alive());
        assert!(!former.is_alive());
        assert!(!former.signal(Signal::KILL).unwrap(), "or this test would be dead");
    }
}
