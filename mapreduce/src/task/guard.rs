//! User code that panics fails its attempt, not the process.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use anyhow::{Result, anyhow};

thread_local! {
    /// Where the last panic of this thread happened.
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs user code; a panic becomes an error with the panic's message and place. The message also goes
/// to stderr, and so to the attempt's log, as usual.
pub(crate) fn guarded<T>(user_code: impl FnOnce() -> Result<T>) -> Result<T> {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PANIC_PLACE.with(|last| *last.borrow_mut() = place);
            usual(info);
        }));
    });
    // The user's values and the collector may be half changed after a panic. The attempt ends with the error and uses
    // neither again, but in skip mode: there the collector gets whole records only, and who allows records to be left
    // out takes the mapper as the panic has left it.
    match panic::catch_unwind(AssertUnwindSafe(user_code)) {
        Ok(result) => result,
        Err(payload) => {
            let place = PANIC_PLACE.with(|last| last.borrow_mut().take());
            let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
            Err(anyhow!("panicked{place}: {}", message(payload.as_ref())))
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a value that is not text",
    }
}
