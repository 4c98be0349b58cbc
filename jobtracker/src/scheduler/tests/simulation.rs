//! A cluster in one thread: workers that run, finish, fail, are slow, fall silent, are cut off and come
//! back as zombies, die and start again, and operators that kill attempts, drain hosts and change
//! priorities, all by a seeded dice. Checked for every seed: each task's files are committed exactly once, every job
//! ends, and the scheduler's invariants hold throughout. When workers stay alive long enough in the end
//! (the healing phase) every job succeeds.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Instant;

use hfs_protocol::proto::task::Progress;
use proptest::prelude::*;

use self::world::{Shape, World, calm};
use crate::scheduler::Event;

#[test]
fn a_calm_cluster_runs_each_task_once() {
    let mut world = World::new(calm(5, 50, 4), 7);
    world.run();
    assert_eq!(world.launched, 54);
    assert_eq!(world.committed.len(), 4);
}

#[test]
fn a_progress_report_of_a_stranger_changes_nothing() {
    let mut world = World::new(calm(1, 1, 0), 1);
    world.born(0);
    let progress = Progress { attempt_id: "nonsense".into(), ..Progress::default() };
    let key = world.alive[&0].1;
    world.event(Event::Progress(key, progress));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_task_is_lost_or_committed_twice_whoever_dies(
        seed in any::<u64>(),
        workers in 1_u32..12,
        slots in 1_u32..4,
        jobs in 1_u32..6,
        maps in 0_u32..40,
        reduces in 0_u32..8,
        failing in 0_u64..15,
        deaths in 3_u64..40,
        cuts in prop_oneof![Just(0_u64), 3_u64..40],
        slow in prop_oneof![Just(0_u64), 1_u64..30],
        mixed in any::<bool>(),
        operators in any::<bool>(),
        restart_after in prop_oneof![Just(0_u64), 20_u64..300],
    ) {
        let shape = Shape {
            workers, slots, jobs, maps, reduces, failing, deaths, cuts, slow, mixed, operators,
            restart_after, speculate: true, validate: true,
        };
        let mut world = World::new(shape, seed);
        world.run();
        let writers = if reduces > 0 { reduces } else { maps };
        prop_assert_eq!(world.committed.len() as u32, writers * jobs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // Without failures: a task that avoids a worker where it failed asks at each look whether another one
    // is free, and the plain one looks more often. With tasks of one size: a worker that was kept for a
    // large task and is given back is offered at once by the plain one and in the next round by the other,
    // so the two fill the room in another order.
    #[test]
    fn looking_only_at_what_has_changed_decides_as_a_look_at_everything(
        seed in any::<u64>(),
        workers in 1_u32..30,
        slots in 1_u32..5,
        jobs in 1_u32..9,
        maps in 0_u32..40,
        reduces in 0_u32..8,
        deaths in prop_oneof![Just(0_u64), 10_u64..80],
        cuts in prop_oneof![Just(0_u64), 10_u64..80],
        slow in prop_oneof![Just(0_u64), 1_u64..30],
        operators in any::<bool>(),
        restart_after in prop_oneof![Just(0_u64), 20_u64..300],
    ) {
        let shape = Shape {
            workers, slots, jobs, maps, reduces, failing: 0, deaths, cuts, slow, mixed: false, operators,
            restart_after, speculate: true, validate: false,
        };
        World::compared(shape, seed).run();
    }
}

#[test]
fn a_thousand_workers_run_a_hundred_thousand_tasks() {
    let shape = Shape { failing: 1, deaths: 2_000, validate: false, ..calm(1_000, 100_000, 50) };
    let mut world = World::new(shape, 42);
    world.run();
    assert_eq!(world.committed.len(), 50);
    assert!(world.launched >= 100_050);
}

/// How long the same unlucky cluster takes, and how many attempts were raced.
fn unlucky(speculate: bool) -> (u64, u64) {
    let mut world = World::new(Shape { slow: 4, speculate, ..calm(40, 300, 8) }, 11);
    world.run();
    assert_eq!(world.committed.len(), 8);
    (world.now.steady_ms, world.raced)
}

#[test]
fn racing_slow_attempts_ends_a_job_sooner_and_costs_little() {
    let (alone_ms, none) = unlucky(false);
    let (raced_ms, raced) = unlucky(true);
    assert_eq!(none, 0);
    assert!(raced > 0 && raced < 308 / 5, "{raced} of 308 tasks were raced");
    assert!(raced_ms * 10 < alone_ms * 8, "{raced_ms} ms with races, {alone_ms} ms without");
}

/// The size that was promised, with everything that can go wrong. Takes seconds when optimised:
///
/// ```text
/// cargo test --release -p hfs-jobtracker --lib -- --ignored --nocapture ten_thousand
/// ```
#[test]
#[ignore = "for optimised builds"]
#[allow(
    clippy::disallowed_methods,
    reason = "the clock measures the scheduler; it does not steer it"
)]
fn ten_thousand_workers_run_a_million_tasks() {
    let given = std::env::var("HFS_SIMULATION_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_nanos() as u64)
    });
    println!("HFS_SIMULATION_SEED={seed}");
    let shape = Shape {
        workers: 10_000,
        slots: 4,
        jobs: 10,
        maps: 99_900,
        reduces: 100,
        failing: 1,
        deaths: 2_000,
        cuts: 2_000,
        slow: 1,
        speculate: true,
        mixed: true,
        operators: false,
        restart_after: 400_000,
        validate: false,
    };
    let begun = Instant::now();
    let mut world = World::new(shape, seed);
    world.run();
    let (took, launched) = (begun.elapsed(), world.launched);
    assert_eq!(world.committed.len(), 1_000);
    println!(
        "{launched} attempts, {} of them raced, {} ms of cluster time in {:.1} s: {:.0} ns an attempt",
        world.raced,
        world.now.steady_ms,
        took.as_secs_f64(),
        took.as_nanos() as f64 / launched as f64,
    );
}
