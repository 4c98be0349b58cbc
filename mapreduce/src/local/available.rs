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

/// What the control group, of either version, has left; none without a limit.
fn group_room() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let first = groups.lines().find_map(|line| {
        let path = line.split_once(":memory:")?.1;
        // Without a limit it names one that no machine has.
        let files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
        // A container often sees its own group as the root of all, by whatever name the machine knows it.
        let root = "/sys/fs/cgroup/memory";
        room(&format!("{root}{}", path.trim()), files).or_else(|| room(root, files))
    });
    let second = groups.lines().find_map(|line| {
        let path = line.strip_prefix("0::")?;
        let files = ("memory.max", "memory.current", "inactive_file");
        room(&format!("/sys/fs/cgroup{}", path.trim()), files)
    });
    first.into_iter().chain(second).min()
}

/// What a group has left, by the names of its limit, its use, and in its statistics of what of that can be had back.
fn room(dir: &str, (limit, used, cached): (&str, &str, &str)) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("{dir}/{name}"));
    let number = |name: &str| read(name).ok()?.trim().parse::<u64>().ok();
    let statistics = read("memory.stat").unwrap_or_default();
    let cached = statistics.lines().find_map(|line| line.strip_prefix(cached)?.trim().parse().ok());
    let used = number(used).unwrap_or_default().saturating_sub(cached.unwrap_or_default());
    Some(number(limit)?.saturating_sub(used))
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
