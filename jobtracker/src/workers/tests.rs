//! The registry's counts and rooms.

use super::*;

fn first(workers: &Workers) -> Option<Place> {
    workers.free_after(None, Ask::default().least())
}

fn profile(id: &str, host: &str) -> Profile {
    let (id, host) = (id.to_owned(), host.to_owned());
    Profile { id, host, rack: "/r".into(), slots: 2, ..Profile::default() }
}

#[test]
fn counts_follow_liveness() {
    let mut workers = Workers::default();
    let a = workers.add(profile("a", "h1"), 0);
    let b = workers.add(profile("b", "h1"), 0);
    let host = workers.host("h1");
    assert!(!workers.live_on(host));
    workers.set_liveness(a, Liveness::Live);
    workers.set_liveness(a, Liveness::Live);
    workers.set_liveness(b, Liveness::Live);
    assert_eq!((workers.live_count(), workers.live_slots()), (2, 4));
    workers.set_liveness(a, Liveness::Dead { since_ms: 5 });
    assert!(workers.live_on(host));
    workers.set_liveness(b, Liveness::Away { until_ms: 9 });
    assert!(!workers.live_on(host));
    assert_eq!(workers.live_count(), 0);
    assert_eq!(workers.hopeful_count(), 1);
    workers.forget_dead(6);
    assert!(workers.get(a).is_none() && workers.by_id("a").is_none());
    assert!(workers.get(b).is_some());
}

#[test]
fn room_is_by_slots_processors_and_memory() {
    let mut workers = Workers::default();
    let big = Profile { vcores: 4, memory_mb: 4000, slots: 3, ..profile("a", "h") };
    let key = workers.add(big, 0);
    let job = JobId { tracker: 1, number: 1 };
    let id = |index| {
        let task = TaskId { job, kind: hfs_protocol::ids::TaskKind::Map, index };
        AttemptId { task, number: 0 }
    };
    let room = |workers: &Workers, vcores, memory_mb| {
        workers.get(key).map(|worker| worker.room(Ask { vcores, memory_mb }))
    };
    assert_eq!(room(&workers, 4, Some(4000)), Some(Room::Now));
    assert_eq!(room(&workers, 5, None), Some(Room::Never));
    assert_eq!(room(&workers, 1, Some(4001)), Some(Room::Never));
    workers.set_liveness(key, Liveness::Live);
    let ask = Ask { vcores: 2, memory_mb: None };
    assert!(workers.occupy(key, id(0), ask) && !workers.occupy(key, id(0), ask));
    let used = workers.get(key).map(|worker| worker.used);
    assert_eq!(used, Some(Held { vcores: 2, memory_mb: 1333 }), "a slot's share of memory");
    assert_eq!(room(&workers, 3, None), Some(Room::Later));
    assert_eq!(room(&workers, 2, Some(2700)), Some(Room::Later));
    assert_eq!(room(&workers, 2, Some(2600)), Some(Room::Now));
    assert_eq!(first(&workers), Some((1, key)));
    assert_eq!(workers.free_after(Some((1, key)), Ask::default().least()), None);
    workers.set_drained("h", true);
    assert_eq!(first(&workers), None);
    workers.set_drained("h", false);
    assert_eq!(workers.release(key, id(0)), Some(ask));
    assert_eq!(first(&workers), Some((0, key)));
    let black = Blacklisted { until_ms: 1, reason: String::new() };
    workers.set_blacklisted(key, Some(black));
    assert_eq!((first(&workers), workers.blacklisted_count()), (None, 1));
    assert_eq!(workers.validate(), Ok(()));
}
