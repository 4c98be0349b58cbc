//! The time axis: where its marks are and what they say.

/// Steps between two marks, milliseconds: numbers that people count in.
const STEPS_MS: [u64; 28] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
];

/// The step in which `span_ms` has at most `most` marks after the one at 0.
#[must_use]
pub fn step(span_ms: u64, most: u64) -> u64 {
    let most = most.max(1);
    let fits = |step: &u64| span_ms / step <= most;
    STEPS_MS.into_iter().find(fits).unwrap_or_else(|| {
        let days = span_ms.div_ceil(86_400_000).div_ceil(most);
        days.next_power_of_two() * 86_400_000
    })
}

/// A time since the beginning as people say it, no finer than marks of `step_ms` need.
#[must_use]
pub fn label(ms: u64, step_ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    if step_ms < 1000 {
        let text = match step_ms {
            100.. => format!("{seconds}.{}", rest / 100),
            10.. => format!("{seconds}.{:02}", rest / 10),
            _ => format!("{seconds}.{rest:03}"),
        };
        return text + " s";
    }
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=3599 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_few_and_on_numbers_that_people_count_in() {
        for span in [1, 9, 10, 99, 850, 1_234, 59_000, 3_600_000, 86_400_000 * 9, u64::MAX / 4] {
            let step = step(span, 10);
            assert!(span / step <= 10, "{span}: {step}");
        }
        assert_eq!(
            (step(1_234, 10), step(59_000, 10), step(3_600_000, 10)),
            (200, 10_000, 600_000)
        );
    }

    #[test]
    fn labels_are_as_fine_as_the_marks() {
        let said = [(1_200, 200), (1_230, 10), (7, 1), (90_000, 15_000), (150_000, 30_000)];
        let labels = said.map(|(ms, step)| label(ms, step));
        assert_eq!(labels, ["1.2 s", "1.23 s", "0.007 s", "90 s", "2:30 min"]);
        assert_eq!(label(3_723_000, 60_000), "1:02:03 h");
    }
}
