//! Drives one replica through random events, beside a naive model: what was acked, and what is on
//! disk.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const BLOCK: BlockId = BlockId(7);

#[derive(Debug, Clone)]
enum Event {
    Write(u64),
    Ack(u64),
    Finalize,
    Append { stamp: u64, len: u64 },
    Recover { stamp: u64, min: u64, max: u64 },
    Restart,
    InitRecovery(u64),
    FinishRecovery { id: u64, len: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let small = 0u64..20;
    prop_oneof![
        (1u64..5).prop_map(Event::Write),
        small.clone().prop_map(Event::Ack),
        Just(Event::Finalize),
        (1u64..30, small.clone()).prop_map(|(stamp, len)| Event::Append { stamp, len }),
        (1u64..30, small.clone(), small.clone()).prop_map(|(stamp, min, max)| Event::Recover {
            stamp,
            min,
            max
        }),
        Just(Event::Restart),
        (1u64..30).prop_map(Event::InitRecovery),
        (1u64..30, small).prop_map(|(id, len)| Event::FinishRecovery { id, len }),
    ]
}

fn asked(stamp: u64, min: u64, max: u64) -> PipelineRecovery {
    PipelineRecovery {
        block: BLOCK,
        stamp: GenStamp(0),
        new_stamp: GenStamp(stamp),
        min_bytes: min,
        max_bytes: max,
    }
}

fn apply(replica: Replica, event: &Event) -> Replica {
    match (replica, event.clone()) {
        (Replica::Rbw(mut rbw), Event::Ack(end)) => {
            rbw.acknowledge(end);
            Replica::Rbw(rbw)
        }
        (mut replica @ (Replica::Rbw(_) | Replica::Temporary(_)), Event::Write(len)) => {
            let end = replica.on_disk() + len;
            replica.wrote(end, 0);
            replica
        }
        (Replica::Rbw(rbw), Event::Finalize) => Replica::Finalized(rbw.finalize()),
        (Replica::Finalized(whole), Event::Append { stamp, len }) => {
            match whole.check_append(&asked(stamp, len, len)) {
                Ok(()) => Replica::Rbw(whole.append(GenStamp(stamp), 0)),
                Err(_) => Replica::Finalized(whole),
            }
        }
        (Replica::Rbw(rbw), Event::Recover { stamp, min, max }) => {
            match rbw.check_recover(&asked(stamp, min, max)) {
                Ok(keep) => {
                    assert!(min <= keep && keep <= max);
                    Replica::Rbw(rbw.recover(GenStamp(stamp), 0))
                }
                Err(_) => Replica::Rbw(rbw),
            }
        }
        (Replica::Rbw(rbw), Event::Restart) => {
            Replica::WaitingToBeRecovered(WaitingToBeRecovered {
                stamp: rbw.stamp,
                len: rbw.on_disk,
            })
        }
        (replica, Event::InitRecovery(id)) => {
            match replica.check_init_recovery(BLOCK, GenStamp(0), GenStamp(id)) {
                Ok(()) => replica.init_recovery(GenStamp(id)),
                Err(_) => replica,
            }
        }
        (Replica::UnderRecovery(recovery), Event::FinishRecovery { id, len }) => {
            match recovery.check_finish(BLOCK, GenStamp(id), len) {
                Ok(()) => Replica::Finalized(recovery.finish(len)),
                Err(_) => Replica::UnderRecovery(recovery),
            }
        }
        (replica, _) => replica,
    }
}

proptest! {
    #[test]
    fn no_event_loses_acked_bytes_or_turns_a_stamp_back(events in prop::collection::vec(event(), 0..60)) {
        let mut replica = Replica::Rbw(Rbw::new(GenStamp(1)));
        for event in &events {
            let before = replica.clone();
            replica = apply(replica, event);
            prop_assert!(replica.stamp() >= before.stamp());
            if let Some(visible) = replica.visible() {
                prop_assert!(visible <= replica.on_disk());
            }
            // Only the namenode's word may shorten what readers saw.
            let told = matches!(event, Event::FinishRecovery { .. });
            if let (Some(was), Some(is), false) = (before.visible(), replica.visible(), told) {
                prop_assert!(is >= was, "{before:?} {event:?} {replica:?}");
            }
            if let Replica::UnderRecovery(recovery) = &replica {
                prop_assert!(recovery.recovery_id > replica.stamp());
                prop_assert_eq!(before.on_disk(), replica.on_disk());
            }
        }
    }
}

#[test]
fn a_copy_is_seen_by_nobody_until_it_is_whole() {
    let mut copy = Replica::Temporary(Temporary::new(GenStamp(3)));
    copy.wrote(100, 5);
    assert_eq!((copy.visible(), copy.reported()), (None, None));
    assert!(copy.check_init_recovery(BLOCK, GenStamp(3), GenStamp(4)).is_err());
    let Replica::Temporary(copy) = copy else { unreachable!("wrote keeps the state") };
    assert_eq!(copy.clone().finalize(), Finalized { stamp: GenStamp(3), len: 100 });
    assert_eq!(copy.into_rbw(), Rbw { stamp: GenStamp(3), on_disk: 100, last_crc: 5, acked: 100 });
}

#[test]
fn an_older_recovery_gives_way_to_a_newer_one() {
    let replica = Replica::Finalized(Finalized { stamp: GenStamp(3), len: 9 });
    let replica = replica.init_recovery(GenStamp(5));
    let late = replica.check_init_recovery(BLOCK, GenStamp(3), GenStamp(4)).unwrap_err();
    assert!(late.to_string().contains("too late"), "{late}");
    let Replica::UnderRecovery(recovery) = replica.init_recovery(GenStamp(6)) else {
        panic!("a newer recovery takes over")
    };
    assert!(recovery.check_finish(BLOCK, GenStamp(5), 9).is_err());
    assert!(recovery.check_finish(BLOCK, GenStamp(6), 10).is_err());
    assert_eq!(recovery.finish(9), Finalized { stamp: GenStamp(6), len: 9 });
}
