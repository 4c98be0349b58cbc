//! Pi, by throwing darts: the share of points of a square that fall into its inscribed circle is pi / 4.
//!
//! Input: none. Output: one file with three lines, `inside<TAB>points`, `outside<TAB>points` and
//! `pi<TAB>estimate`.
//!
//! The points are not random but a Halton sequence, as in Hadoop's `QuasiMonteCarlo`: it covers the square
//! evenly, so that the error falls nearly with the number of points and not with its square root. Each map
//! takes a stretch of the sequence; a map can begin anywhere in it. The same arguments give the same estimate
//! however the points are spread over maps.
//!
//! ```text
//! cargo run --release --example pi -- 10 1000000 /pi
//! cargo run --release --example pi -- --local 10 1000000 /tmp/pi
//! ```

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use hfs_mapreduce::{Emit, Job, Mapper, RangeInput, Reducer, Result, Text, Values};

/// Estimates pi.
#[derive(Debug, Args)]
struct Arguments {
    /// Maps
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    maps: u32,
    /// Points for each map
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    points: u64,
    /// The directory to make
    output: String,
}

/// One dimension of the Halton sequence: the digits of a counter, mirrored at the point. In base 2 the numbers
/// 1, 2, 3, 4 (1, 10, 11, 100) become 0.1, 0.01, 0.11, 0.001: 1/2, 1/4, 3/4, 1/8.
#[derive(Clone)]
struct Mirrored {
    base: u64,
    digits: Vec<u64>,
    /// What a one in each digit is worth: 1/base, 1/base^2, and so on.
    worth: Vec<f64>,
    value: f64,
}

impl Mirrored {
    /// `length` digits are enough for counters below `base^length`.
    fn starting_at(mut counter: u64, base: u64, length: usize) -> Self {
        let mut worth = 1.0;
        let mut new = Self { base, digits: Vec::new(), worth: Vec::new(), value: 0.0 };
        for _ in 0..length {
            worth /= base as f64;
            let digit = counter % base;
            counter /= base;
            new.value += digit as f64 * worth;
            new.digits.push(digit);
            new.worth.push(worth);
        }
        new
    }

    /// Counts up: the last digit that is not the largest grows, those after it become 0.
    fn step(&mut self) -> f64 {
        for (digit, worth) in self.digits.iter_mut().zip(&self.worth) {
            *digit += 1;
            self.value += worth;
            if *digit < self.base {
                break;
            }
            *digit = 0;
            self.value -= worth * self.base as f64;
        }
        self.value
    }
}

/// The points of a stretch, and where they fell.
#[derive(Clone, Default)]
struct Throw {
    sequence: Option<(Mirrored, Mirrored)>,
    inside: u64,
    outside: u64,
}

impl Mapper for Throw {
    type Input = RangeInput;
    type Key = ();
    type Value = (u64, u64);

    fn map(&mut self, number: u64, _: &mut impl Emit<(), (u64, u64)>) -> Result<()> {
        // 2^63 and 3^40 are the largest powers below 2^64.
        let (x, y) = self.sequence.get_or_insert_with(|| {
            (Mirrored::starting_at(number, 2, 63), Mirrored::starting_at(number, 3, 40))
        });
        let (x, y) = (x.step() - 0.5, y.step() - 0.5);
        if x * x + y * y > 0.25 {
            self.outside += 1;
        } else {
            self.inside += 1;
        }
        Ok(())
    }

    fn cleanup(&mut self, out: &mut impl Emit<(), (u64, u64)>) -> Result<()> {
        out.emit((), (self.inside, self.outside))
    }
}

/// Adds up where the points fell and divides.
#[derive(Clone)]
struct Estimate;

impl Reducer<(), (u64, u64)> for Estimate {
    type OutKey = Text;
    type OutValue = String;

    fn reduce(
        &mut self,
        (): (),
        values: &mut Values<'_, '_, (u64, u64)>,
        out: &mut impl Emit<Text, String>,
    ) -> Result<()> {
        let (inside, outside) = values.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        out.emit(b"inside", &inside.to_string())?;
        out.emit(b"outside", &outside.to_string())?;
        out.emit(b"pi", &four_times_share(inside, inside + outside))
    }
}

/// `4 * inside / all` with twenty decimals, the rest cut off.
fn four_times_share(inside: u64, all: u64) -> String {
    const DECIMALS: usize = 20;
    let all = u128::from(all);
    let mut rest = 4 * u128::from(inside);
    let mut digits = (rest / all).to_string();
    digits.push('.');
    for _ in 0..DECIMALS {
        rest = rest % all * 10;
        digits.push(char::from(b'0' + (rest / all) as u8));
    }
    digits
}

fn main() -> ExitCode {
    hfs_mapreduce::run(|arguments: Arguments| {
        let all = arguments.points.checked_mul(u64::from(arguments.maps));
        let all = all.context("the maps' points together are more than 2^64; take fewer")?;
        Job::map(Throw::default())
            .name("pi")
            .input_format(RangeInput::new(all, arguments.maps))
            .reduce(Estimate)
            .reduces(1)
            .output(arguments.output)
            .build()
    })
}
