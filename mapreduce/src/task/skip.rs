//! Skip mode: records that user code can't take are left out, once attempts have failed and the job allows it
//! (Hadoop: `SkipBadRecords`).
//!
//! A record whose mapper returns an error or panics is left out at once, and what it had emitted with it; what it has
//! written to named outputs and counted stays. One that takes the process along, or never ends, costs the attempt: its
//! number is known from outside ([`RecordAtWork`]), and the next attempt leaves it out. What the engine can't keep of
//! what was emitted fails the attempt and blames no record.

use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use hfs_protocol::ids::TaskKind;
use hfs_protocol::skip::RecordAtWork;

use super::attempt::Environment;
use super::guard::guarded;
use super::run::{put_record, split_record};
use crate::conf::{self, Conf};
use crate::context::Context;
use crate::mapper::Emit;
use crate::record::{Record, Scratch};
use crate::several::SetupFailed;

/// What an attempt in skip mode leaves out from the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct SkipPlan {
    /// Numbers of records or groups in the task's input, from 0.
    pub(crate) bad: Vec<u64>,
    /// Whether there will be another attempt if this one fails.
    pub(crate) others_follow: bool,
}

impl SkipPlan {
    /// The plan of a run whose tasks have one attempt each: skip mode from the start, where the job allows it.
    pub(crate) fn of_only_attempt(conf: &Conf, kind: TaskKind) -> Result<Option<Self>> {
        let most = match kind {
            TaskKind::Map => conf::MAP_SKIP_MAX_RECORDS,
            TaskKind::Reduce => conf::REDUCE_SKIP_MAX_GROUPS,
        };
        Ok((conf.parsed_or(most, 0_u64)? > 0).then(Self::default))
    }
}

/// Numbers the records of an attempt and leaves out the bad ones.
#[derive(Debug)]
pub(crate) struct Skipping {
    bad: Vec<u64>,
    /// Who reads it; nobody where the attempt is the only one.
    at_work: Option<RecordAtWork>,
    next: u64,
    /// What a record may emit and still be left out without a new attempt, bytes.
    held_max: usize,
}

impl Skipping {
    /// `None` when the attempt is not in skip mode.
    pub(crate) fn begin(env: &Environment) -> Result<Option<Self>> {
        let Some(plan) = &env.skip else { return Ok(None) };
        let held_max = usize::try_from(env.sort_bytes / 8).unwrap_or(usize::MAX);
        let mut skipping = Self { bad: plan.bad.clone(), at_work: None, next: 0, held_max };
        if plan.others_follow {
            skipping = skipping.noting_in(&env.work_dir)?;
        }
        Ok(Some(skipping))
    }

    fn noting_in(self, dir: &Path) -> Result<Self> {
        let at_work = RecordAtWork::create(dir)
            .with_context(|| format!("the directory {} can't be written", dir.display()))?;
        Ok(Self { at_work: Some(at_work), ..self })
    }

    /// Gives the next record to user code, which emits into the [`Held`] it gets. False: the record is left out.
    ///
    /// # Errors
    /// When what was emitted could not be kept, or user code failed after it had emitted so much that some had to be
    /// passed on: the next attempt leaves the record out.
    pub(crate) fn take<K: Record, V: Record, E: Emit<K, V>>(
        &mut self,
        out: &mut E,
        what: &str,
        work: impl FnOnce(&mut Held<'_, K, V, E>) -> Result<()>,
    ) -> Result<bool> {
        let number = self.next;
        self.next += 1;
        if self.bad.contains(&number) {
            eprintln!("[hfs: left out {what} {number}, counted from 0: an attempt failed in it]");
            return Ok(false);
        }
        if let Some(at_work) = &self.at_work {
            at_work.begins(number)?;
        }
        let mut held = Held::new(out, self.held_max);
        let worked = guarded(|| work(&mut held));
        let innocent = held.refused
            || held.out.context().outputs.have_failed()
            || worked.as_ref().is_err_and(|error| error.is::<SetupFailed>());
        if worked.is_err() && held.passed_on && !innocent {
            return worked.map(|()| true);
        }
        // Whatever ends the process from here on, the record is not to blame for it.
        if let Some(at_work) = &self.at_work {
            at_work.ends()?;
        }
        match worked {
            Ok(()) => held.pass_on().map(|()| true),
            Err(error) if innocent => Err(error),
            Err(error) => {
                eprintln!("[hfs: left out {what} {number}, counted from 0: {error:#}]");
                Ok(false)
            }
        }
    }
}

/// Holds what one record emits until it is known that user code is done with it.
pub(crate) struct Held<'e, K, V, E> {
    out: &'e mut E,
    records: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    most: usize,
    /// Some of it went on because it was too much to hold.
    passed_on: bool,
    /// What was emitted could not be kept.
    refused: bool,
    types: PhantomData<fn(K, V)>,
}

impl<'e, K: Record, V: Record, E: Emit<K, V>> Held<'e, K, V, E> {
    fn new(out: &'e mut E, most: usize) -> Self {
        Self {
            out,
            records: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            most,
            passed_on: false,
            refused: false,
            types: PhantomData,
        }
    }

    fn pass_on(&mut self) -> Result<()> {
        if self.refused {
            bail!("records that were emitted before could not be kept");
        }
        let mut scratch = Scratch::default();
        let mut rest = &self.records[..];
        while let Some((key, value, more)) = split_record(rest) {
            let emitted = self.out.emit(K::decode(key, &scratch)?, V::decode(value, &scratch)?);
            self.refused = emitted.is_err();
            emitted?;
            scratch.clear();
            rest = more;
        }
        self.records.clear();
        Ok(())
    }
}

impl<K: Record, V: Record, E: Emit<K, V>> Emit<K, V> for Held<'_, K, V, E> {
    fn emit(&mut self, key: K::Ref<'_>, value: V::Ref<'_>) -> Result<()> {
        self.out.context().tick();
        self.key.clear();
        K::encode(key, &mut self.key);
        self.value.clear();
        V::encode(value, &mut self.value);
        put_record(&self.key, &self.value, &mut self.records);
        if self.records.len() > self.most {
            self.passed_on = true;
            self.pass_on()?;
        }
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.out.context()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::context::Shared;
    use crate::record::Text;

    struct Collected(Context, Vec<(String, u64)>);

    impl Emit<Text, u64> for Collected {
        fn emit(&mut self, key: &[u8], value: u64) -> Result<()> {
            anyhow::ensure!(key != b"refused", "the disk is full");
            self.1.push((String::from_utf8_lossy(key).into_owned(), value));
            Ok(())
        }

        fn context(&mut self) -> &mut Context {
            &mut self.0
        }
    }

    fn skipping(dir: &Path, bad: Vec<u64>, held_max: usize) -> Skipping {
        Skipping { bad, at_work: None, next: 0, held_max }.noting_in(dir).unwrap()
    }

    fn collected() -> Collected {
        let shared = Arc::new(Shared::default());
        Collected(Context::new(Arc::default(), String::new(), 0, 1, shared), Vec::new())
    }

    #[test]
    fn a_failed_record_leaves_nothing_and_a_bad_one_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let mut skipping = skipping(dir.path(), vec![3], 1000);
        let mut out = collected();
        let mut taken = Vec::new();
        for number in 0..5 {
            taken.push(
                skipping
                    .take(&mut out, "record", |held| {
                        assert_eq!(RecordAtWork::read(dir.path()), Some(number));
                        held.emit(b"a", number)?;
                        match number {
                            1 => anyhow::bail!("an error"),
                            2 => panic!("a panic"),
                            3 => std::process::abort(),
                            _ => held.emit(b"b", number),
                        }
                    })
                    .unwrap(),
            );
            assert_eq!(RecordAtWork::read(dir.path()), None);
        }
        assert_eq!(taken, [true, false, false, false, true]);
        let expected = [("a", 0), ("b", 0), ("a", 4), ("b", 4)];
        assert_eq!(out.1, expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn a_record_that_emitted_too_much_to_hold_fails_the_attempt_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut skipping = skipping(dir.path(), Vec::new(), 10);
        let mut out = collected();
        let failed = skipping.take(&mut out, "record", |held| {
            (0..9).try_for_each(|number| held.emit(b"key", number))?;
            anyhow::bail!("at last")
        });
        assert_eq!(failed.unwrap_err().to_string(), "at last");
        assert!(!out.1.is_empty());
        assert_eq!(RecordAtWork::read(dir.path()), Some(0));
    }

    #[test]
    fn what_can_not_be_kept_is_no_fault_of_the_record() {
        for most in [0, 1000] {
            let dir = tempfile::tempdir().unwrap();
            let mut skipping = skipping(dir.path(), Vec::new(), most);
            let failed = skipping.take(&mut collected(), "record", |held| held.emit(b"refused", 1));
            assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
            assert_eq!(RecordAtWork::read(dir.path()), None);
        }
    }

    #[test]
    fn what_can_not_be_kept_is_not_forgotten_when_user_code_forgets_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = collected();
        let failed = skipping(dir.path(), Vec::new(), 10).take(&mut out, "record", |held| {
            for word in ["many", "words", "refused", "and", "more", "words"] {
                let _ = held.emit(word.as_bytes(), 1);
            }
            Ok(())
        });
        assert!(failed.unwrap_err().to_string().contains("could not be kept"));
        let words: Vec<&str> = out.1.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["many", "words"], "nothing is passed on twice");
    }

    #[test]
    fn a_source_that_can_not_be_set_up_is_no_fault_of_its_first_record() {
        let dir = tempfile::tempdir().unwrap();
        let failed = skipping(dir.path(), Vec::new(), 10).take(
            &mut collected(),
            "record",
            |_: &mut Held<'_, Text, u64, _>| {
                Err(anyhow::anyhow!("no table").context(SetupFailed::for_test()))
            },
        );
        assert!(failed.is_err());
        assert_eq!(RecordAtWork::read(dir.path()), None);
    }
}
