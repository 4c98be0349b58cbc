//! How much memory the machine can give.

use std::fs;

/// Bytes of memory that are free or can be freed without harm, as far as this process's control group allows; 0 where
/// the system does not say.
pub(super) fn available_memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let machine = kib.unwrap_or_default().saturating_mul(1024);
    group_room().map_or(machine, |room| room.min(machine))
}

/// What the control group (version 2) has left; none without a limit.
fn group_room() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/sys/fs/cgroup{}/{name}", path.trim())).ok()?;
        text.trim().parse().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current").unwrap_or_default()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn something_is_available() {
        let bytes = available_memory();
        assert!((1 << 20..1 << 60).contains(&bytes), "{bytes}");
    }
}
