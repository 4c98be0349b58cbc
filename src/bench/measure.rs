//! Two things measured in turns, A B A B, and their ratio.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Samples of one side of a comparison, in seconds of wall time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// The middle sample; of an even number, the lower of the two in the middle. 0 without samples.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
    }

    /// The smallest sample. 0 without samples.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0)
    }
}

/// How a row's seconds are shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// So many bytes were moved.
    Bytes(u64),
    /// So many operations were done.
    Operations(u64),
    /// One thing was done; its time is what matters.
    Once,
    /// The samples are bytes of memory, not seconds.
    Memory,
}

/// One line of a benchmark: ours, and the peer it is held against in the same run.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was done.
    pub name: String,
    /// What a sample amounts to.
    pub work: Work,
    /// Our samples.
    pub ours: Samples,
    /// Who the peer is, and its samples; absent for a plain figure.
    pub peer: Option<(String, Samples)>,
    /// The goal for the ratio peer/ours (1.0: as fast as the peer), where one is set.
    pub goal: Option<f64>,
}

impl Row {
    /// A plain figure without a peer.
    #[must_use]
    pub fn figure(name: &str, work: Work, ours: Vec<f64>) -> Self {
        Self { name: name.to_owned(), work, ours: Samples(ours), peer: None, goal: None }
    }

    /// How fast we are as a share of the peer, by medians: 1.0 is level, above is faster.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        let ours = self.ours.median();
        (ours > 0.0).then(|| peer.median() / ours)
    }

    fn amount(&self, sample: f64) -> String {
        if sample <= 0.0 {
            return "-".to_owned();
        }
        match self.work {
            Work::Bytes(bytes) => {
                format!("{:.3} s, {:.0} MB/s", sample, bytes as f64 / sample / 1e6)
            }
            Work::Operations(count) => {
                format!("{:.3} s, {:.1} k/s", sample, count as f64 / sample / 1e3)
            }
            Work::Once if sample < 1.0 => format!("{:.1} ms", sample * 1e3),
            Work::Once => format!("{sample:.3} s"),
            Work::Memory => format!("{:.1} MB", sample / 1e6),
        }
    }

    /// The row for people.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:<44} {:<24} (min {})",
            self.name,
            self.amount(self.ours.median()),
            self.amount(self.ours.min())
        );
        if let Some((peer, samples)) = &self.peer {
            line += &format!("   {peer}: {}", self.amount(samples.median()));
        }
        if let Some(ratio) = self.ratio() {
            line += &format!("   ratio {ratio:.2}");
        }
        if let Some(goal) = self.goal {
            line += &format!(" (goal {goal:.2})");
        }
        line
    }
}

/// Measures `ours` and `peer` in turns, `runs` times each, after one unmeasured turn of both.
///
/// # Errors
/// The first error of either side.
pub fn in_turns<E>(
    runs: usize,
    mut ours: impl FnMut() -> Result<Duration, E>,
    mut peer: impl FnMut() -> Result<Duration, E>,
) -> Result<(Samples, Samples), E> {
    let (mut a, mut b) = (Samples::default(), Samples::default());
    for turn in 0..=runs {
        let (x, y) = (ours()?.as_secs_f64(), peer()?.as_secs_f64());
        if turn > 0 {
            a.0.push(x);
            b.0.push(y);
        }
    }
    Ok((a, b))
}

/// How long `work` took.
///
/// # Errors
/// What `work` fails with.
pub fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_peers_time_over_ours() {
        let row = Row {
            name: "x".into(),
            work: Work::Bytes(1_000_000),
            ours: Samples(vec![2.0, 1.0, 4.0]),
            peer: Some(("cp".into(), Samples(vec![1.0, 1.0, 1.0]))),
            goal: Some(0.8),
        };
        assert_eq!(row.ours.median(), 2.0);
        assert_eq!(row.ours.min(), 1.0);
        assert_eq!(row.ratio(), Some(0.5));
        assert!(row.line().contains("ratio 0.50 (goal 0.80)"), "{}", row.line());
    }

    #[test]
    fn turns_alternate_and_the_first_is_not_counted() {
        let order = std::cell::RefCell::new(String::new());
        let (a, b) = in_turns::<()>(
            2,
            || {
                order.borrow_mut().push('a');
                Ok(Duration::from_secs(1))
            },
            || {
                order.borrow_mut().push('b');
                Ok(Duration::from_secs(2))
            },
        )
        .unwrap_or_default();
        assert_eq!(order.into_inner(), "ababab");
        assert_eq!((a.0, b.0), (vec![1.0; 2], vec![2.0; 2]));
    }
}
