//! What a benchmark tells: a table for people, an object for programs.

use std::fmt::{self, Display};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::measure::Row;

/// Lines of a name and a value, the names flush to the right, as Hadoop's benchmarks print them.
#[derive(Debug, Clone, Default)]
pub struct Table {
    title: String,
    lines: Vec<(String, String)>,
}

impl Table {
    /// A table with a title.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), lines: Vec::new() }
    }

    /// The table with one line more.
    #[must_use]
    pub fn line(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.lines.push((name.into(), value.to_string()));
        self
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        writeln!(f, "----- {} -----", self.title)?;
        self.lines.iter().try_for_each(|(name, value)| writeln!(f, "{name:>width$}: {value}"))
    }
}

/// One result of a benchmark.
#[derive(Debug, Clone)]
pub struct Report {
    /// For people: whole lines.
    pub text: String,
    /// For programs.
    pub json: Value,
}

impl Report {
    /// The same figures both ways.
    ///
    /// # Errors
    /// Figures that have no JSON form.
    pub fn new(table: &Table, figures: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_value(figures).context("the figures have no JSON form")?;
        Ok(Self { text: table.to_string(), json })
    }

    /// A row against a peer.
    ///
    /// # Errors
    /// As [`Report::new`].
    pub fn of_row(row: &Row) -> Result<Self> {
        let json = serde_json::to_value(row).context("the row has no JSON form")?;
        Ok(Self { text: row.line() + "\n", json })
    }
}

/// Who is shown the reports of a benchmark, each as soon as it is there.
pub type Show<'a> = &'a mut dyn FnMut(Report) -> Result<()>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_one_column() {
        let table = Table::new("x : write").line("Number of files", 4).line("MBytes", 1.5);
        assert_eq!(
            table.to_string(),
            "----- x : write -----\nNumber of files: 4\n         MBytes: 1.5\n"
        );
    }
}
