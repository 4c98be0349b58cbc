//! How long things take: count, mean and deviation of a stream of values, in constant space.

/// Statistics of the values seen so far (Welford's method, which does not lose digits).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    count: u32,
    mean: f64,
    squares: f64,
}

impl Pace {
    /// Takes in one value.
    pub fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let delta = value - self.mean;
        self.mean += delta / f64::from(self.count);
        self.squares += delta * (value - self.mean);
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their mean; 0 without any.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Their standard deviation; 0 with less than two.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.count < 2 { 0.0 } else { (self.squares / f64::from(self.count)).max(0.0).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_values() {
        let mut pace = Pace::default();
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0] {
            pace.add(value);
        }
        assert_eq!(pace.count(), 8);
        assert!((pace.mean() - 5.0).abs() < 1e-9);
        assert!((pace.deviation() - 2.0).abs() < 1e-9);
    }
}
