//! The suite that every [`Journal`] passes. Whoever writes another one runs it.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use hfs_protocol::ids::TxId;

use super::{Durable, Journal, JournalError};

/// Runs the suite; `open` gives a fresh journal, whose first entry is 1, each time.
///
/// # Errors
/// What the journal said where it should have said nothing.
///
/// # Panics
/// When the journal breaks its contract; the message says where.
pub fn check<J: Journal + 'static>(mut open: impl FnMut() -> J) -> Result<(), JournalError> {
    numbers_have_no_gaps(&open())?;
    what_was_waited_for_is_durable(&open())?;
    many_wait_at_once(&Arc::new(open()))?;
    a_closed_journal_refuses(&open())
}

/// Runs a future on this thread, which sleeps while it waits.
fn block_on(mut future: Durable) -> Result<(), JournalError> {
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn numbers_have_no_gaps(journal: &impl Journal) -> Result<(), JournalError> {
    assert_eq!(journal.appended(), TxId(0), "a fresh journal is empty");
    for number in 1..=100 {
        assert_eq!(journal.append(b"entry")?, TxId(number), "numbers follow each other");
        if number % 30 == 0 {
            assert_eq!(journal.roll()?, TxId(number + 1), "a roll begins with the next entry");
        }
    }
    assert_eq!(journal.appended(), TxId(100));
    let long = vec![0; super::segment::MAX_PAYLOAD_BYTES + 1];
    assert!(matches!(journal.append(&long), Err(JournalError::TooLong { .. })));
    Ok(())
}

fn what_was_waited_for_is_durable(journal: &impl Journal) -> Result<(), JournalError> {
    for _ in 0..10 {
        let txid = journal.append(b"one of many")?;
        journal.wait_durable(txid)?;
        assert!(journal.durable() >= txid, "durable is what was waited for");
    }
    let txid = journal.append(b"asynchronously")?;
    block_on(journal.when_durable(txid))?;
    assert!(journal.durable() >= txid);
    assert!(journal.durable() <= journal.appended(), "nothing is durable before it is appended");
    assert_eq!(journal.poisoned(), None);
    Ok(())
}

fn many_wait_at_once<J: Journal + 'static>(journal: &Arc<J>) -> Result<(), JournalError> {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let journal = Arc::clone(journal);
            std::thread::spawn(move || {
                (0..50).try_for_each(|_| {
                    let txid = journal.append(b"from a thread")?;
                    block_on(journal.when_durable(txid))?;
                    assert!(journal.durable() >= txid);
                    Ok(())
                })
            })
        })
        .collect();
    for thread in threads {
        match thread.join() {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    assert_eq!(journal.durable(), TxId(400));
    Ok(())
}

fn a_closed_journal_refuses(journal: &impl Journal) -> Result<(), JournalError> {
    let txid = journal.append(b"the last")?;
    journal.close();
    journal.wait_durable(txid)?;
    assert_eq!(journal.durable(), txid, "closing makes everything durable");
    assert_eq!(journal.append(b"late"), Err(JournalError::Closed));
    assert_eq!(journal.wait_durable(txid.next()), Err(JournalError::Closed));
    journal.close();
    Ok(())
}
