//! Owner and group names as small numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many different names there may be: the numbers have 24 bits in an inode.
pub const MAX_NAMES: usize = 1 << 24;

/// Every owner and group name that was ever used, numbered from 0. Names are few and are never forgotten.
#[derive(Debug, Clone, Default)]
pub struct Interner {
    by_number: Vec<Arc<str>>,
    by_name: BTreeMap<Arc<str>, u32>,
}

impl Interner {
    /// The name with this number, one that [`Self::intern`] gave.
    #[must_use]
    pub fn get(&self, number: u32) -> &Arc<str> {
        &self.by_number[number as usize]
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Whether a few more names can be taken in.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.by_number.len() + 4 <= MAX_NAMES
    }

    /// The number of a name, a new one when it has none; `None` when all numbers are used up.
    pub fn intern(&mut self, name: &str) -> Option<u32> {
        if let Some(&number) = self.by_name.get(name) {
            return Some(number);
        }
        if self.by_number.len() >= MAX_NAMES {
            return None;
        }
        let number = u32::try_from(self.by_number.len()).ok()?;
        let name: Arc<str> = name.into();
        self.by_number.push(Arc::clone(&name));
        self.by_name.insert(name, number);
        Some(number)
    }
}
