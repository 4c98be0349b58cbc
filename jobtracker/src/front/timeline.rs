//! A picture of what a job's tasks did when: a row for every slot that a worker used, a bar for every attempt.
//!
//! The picture is one SVG document with no script and nothing to load, readable on light and on dark pages. Several
//! jobs that ran one after the other share one picture.

mod axis;
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use hfs_protocol::ids::{AttemptId, TaskKind};
use hfs_protocol::proto::job::{JobState, JobStatus, TaskTiming};

use super::escape::escape;
use crate::job::ATTEMPTS_LISTED;

/// Width of the picture and of its parts, in the picture's own units, about pixels.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 24.0;
/// From the top to the first lane: a title, the jobs' names, the axis.
const TOP: f64 = 74.0;
/// A lane, and the bar in it.
const LANE: f64 = 18.0;
const BAR: f64 = 14.0;
/// Between the lanes of two workers.
const GAP: f64 = 8.0;
/// Below the last lane: the legend.
const BOTTOM: f64 = 44.0;
/// A bar that lasted less is drawn this wide where there is room.
const LEAST_BAR: f64 = 1.0;
/// About the width of a letter of the small text.
const LETTER: f64 = 6.2;
/// The most marks of the time axis.
const MARKS: u64 = 10;
/// The stripe below a map that was not on its input's node.
const STRIPE: f64 = 3.0;

/// Colours, for light pages and, where they differ, for dark ones. Text stands on a ground of the picture's own, so it is
/// readable whatever the page around it is.
const STYLE: &str = "\
.hfs-timeline{font:11px system-ui,sans-serif}\
.hfs-timeline .ground{fill:#ffffff}.hfs-timeline .lane{fill:#f3f5f8}\
.hfs-timeline text{fill:#1c2430}.hfs-timeline .dim{fill:#566173}.hfs-timeline .head{font-size:14px;font-weight:600}\
.hfs-timeline .grid{stroke:#d5dae1}.hfs-timeline .mark{stroke:#566173;stroke-dasharray:4 3}\
.hfs-timeline .job{fill:none;stroke:#aab3c0}\
.hfs-timeline .map{fill:#2f74c0;stroke:#2f74c0}.hfs-timeline .reduce{fill:#1f8a5c;stroke:#1f8a5c}\
.hfs-timeline .other{fill:#6b7685;stroke:#6b7685}\
.hfs-timeline .bar{stroke-width:0}.hfs-timeline .running{fill-opacity:.45}\
.hfs-timeline .failed{fill:#c93a3a;stroke-width:1.5}.hfs-timeline .killed{fill:#8b939e;stroke-width:1.5}\
.hfs-timeline .lost{fill:#7d4fb3;stroke-width:1.5}\
.hfs-timeline .rack{fill:#e3b01c}.hfs-timeline .any{fill:#ef7a1a}\
.hfs-timeline text.on{fill:#ffffff}.hfs-timeline .b{pointer-events:none}\
.hfs-timeline .shuffle{fill:#ffffff;fill-opacity:.45}.hfs-timeline .merge{fill:#ffffff;fill-opacity:.25}\
@media (prefers-color-scheme:dark){\
.hfs-timeline .ground{fill:#14181f}.hfs-timeline .lane{fill:#1c222b}\
.hfs-timeline text{fill:#e4e8ee}.hfs-timeline .dim{fill:#a3adba}\
.hfs-timeline .grid{stroke:#323b47}.hfs-timeline .mark{stroke:#a3adba}.hfs-timeline .job{stroke:#55606e}\
.hfs-timeline text.on{fill:#ffffff}}";

/// An attempt as it is drawn.
struct Bar<'a> {
    job: &'a JobStatus,
    attempt: &'a TaskTiming,
    id: Option<AttemptId>,
    time: Range<u64>,
    row: usize,
}

/// What the names of an attempt's ends mean for the eye. A word that is not known here is drawn as it ended well.
const ENDS: [(&str, &str); 5] = [
    ("succeeded", "succeeded"),
    ("running", "still running"),
    ("failed", "failed"),
    ("killed", "killed"),
    ("lost", "lost with its worker"),
];

/// Draws jobs, in any state, with all of their attempts that the statuses list (a status of
/// [`Detail::Full`](crate::job::Detail::Full)). `now_ms`, milliseconds since the epoch, is where the bars of attempts end
/// that still run.
#[must_use]
pub fn timeline(jobs: &[JobStatus], now_ms: u64) -> String {
    let bars = bars(jobs, now_ms);
    let origin = origin(jobs, &bars);
    let last =
        bars.iter().map(|bar| bar.time.end).chain(jobs.iter().map(|job| job.finish_ms)).max();
    let span = last.unwrap_or(origin).saturating_sub(origin).max(1);
    let mut drawing = Drawing { origin, span, body: String::new() };
    drawing.draw(jobs, bars)
}

/// The attempts of all jobs, each in its row once [`Drawing::draw`] has given it one.
fn bars(jobs: &[JobStatus], now_ms: u64) -> Vec<Bar<'_>> {
    let of_job = |job: &'_ JobStatus| {
        let open_end = if job.finish_ms > 0 { job.finish_ms } else { now_ms };
        move |attempt: &TaskTiming| {
            let end = if attempt.end_ms > 0 { attempt.end_ms } else { open_end };
            attempt.start_ms..end.max(attempt.start_ms)
        }
    };
    let mut bars = Vec::new();
    for job in jobs {
        let time_of = of_job(job);
        bars.extend(job.attempts.iter().map(|attempt| Bar {
            job,
            attempt,
            id: attempt.attempt_id.parse().ok(),
            time: time_of(attempt),
            row: 0,
        }));
    }
    bars
}

/// When the picture begins: when the first job was submitted.
fn origin(jobs: &[JobStatus], bars: &[Bar<'_>]) -> u64 {
    let submitted = jobs.iter().map(|job| job.submit_ms).filter(|&ms| ms > 0);
    submitted.chain(bars.iter().map(|bar| bar.time.start)).min().unwrap_or(0)
}

impl Bar<'_> {
    fn kind(&self) -> &'static str {
        match self.id.map(|id| id.task.kind) {
            Some(TaskKind::Map) => "map",
            Some(TaskKind::Reduce) => "reduce",
            None => "other",
        }
    }

    fn end_class(&self) -> &'static str {
        ENDS.iter()
            .find(|(word, _)| *word == self.attempt.state)
            .map_or("succeeded", |(word, _)| word)
    }

    /// A reduce's phases before its reducer began, as far as it told of them.
    fn phases(&self) -> impl Iterator<Item = (&'static str, Range<u64>)> {
        let TaskTiming { shuffle_finish_ms, merge_finish_ms, .. } = *self.attempt;
        let Range { start, end } = self.time;
        let until = |ms: u64| ms.clamp(start, end);
        let shuffle = (shuffle_finish_ms > 0).then(|| ("shuffle", start..until(shuffle_finish_ms)));
        let merge = (shuffle_finish_ms > 0 && merge_finish_ms > 0)
            .then(|| ("merge", until(shuffle_finish_ms)..until(merge_finish_ms)));
        shuffle.into_iter().chain(merge).filter(|(_, time)| time.start < time.end)
    }

    /// The few letters that fit on a bar: `m3`, and `m3.1` for the second try.
    fn short(&self) -> String {
        let Some(id) = self.id else { return String::new() };
        let kind = match id.task.kind {
            TaskKind::Map => 'm',
            TaskKind::Reduce => 'r',
        };
        match id.number {
            0 => format!("{kind}{}", id.task.index),
            number => format!("{kind}{}.{number}", id.task.index),
        }
    }

    /// What a pointer on the bar tells.
    fn told(&self, origin: u64) -> String {
        let Range { start, end } = self.time;
        let near = match self.attempt.locality.as_str() {
            "node" => ", its input on its node",
            "rack" => ", its input in its rack",
            "any" => ", its input elsewhere",
            _ => "",
        };
        let phases: String = self
            .phases()
            .map(|(phase, time)| format!("\n{phase} for {} ms", time.end - time.start))
            .collect();
        format!(
            "{}\n{}: {} {}, {}\non {}{near}\nfrom {} to {}, {} ms{phases}",
            self.attempt.attempt_id,
            self.job.name,
            self.kind(),
            self.id.map(|id| id.task.index.to_string()).unwrap_or_default(),
            self.attempt.state,
            self.attempt.worker,
            axis::label(start.saturating_sub(origin), 1),
            axis::label(end.saturating_sub(origin), 1),
            end - start,
        )
    }
}

/// The picture while it is made.
struct Drawing {
    origin: u64,
    span: u64,
    body: String,
}

impl Drawing {
    /// Where a time is, from the left.
    fn x(&self, ms: u64) -> f64 {
        let share = ms.saturating_sub(self.origin) as f64 / self.span as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.body.write_fmt(text);
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(text)
        ));
    }

    fn draw(&mut self, jobs: &[JobStatus], mut bars: Vec<Bar<'_>>) -> String {
        let stretches: Vec<(&str, Range<u64>)> =
            bars.iter().map(|bar| (bar.attempt.worker.as_str(), bar.time.clone())).collect();
        let (rows, workers) = lanes::rows(&stretches);
        bars.iter_mut().zip(rows).for_each(|(bar, row)| bar.row = row);
        let tops = self.draw_workers(&workers);
        let bottom = tops.last().map_or(TOP + LANE, |top| top + LANE);
        let height = bottom + BOTTOM;
        let title = title(jobs);
        self.text("head", 12.0, 22.0, &title);
        self.draw_axis(bottom);
        jobs.iter().for_each(|job| self.draw_job(job, jobs.len() > 1, bottom));
        self.draw_bars(&bars, &tops);
        if bars.is_empty() {
            self.text("dim", LEFT, TOP + 13.0, "No attempt has begun.");
        }
        self.draw_legend(
            bottom + 20.0,
            jobs.iter().any(|job| job.attempts.len() >= ATTEMPTS_LISTED),
        );
        let (title, body) = (escape(&title), &self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"hfs-timeline\" role=\"img\" \
             viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\
             <title>{title}</title><style>{STYLE}</style>\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>{body}</svg>\n"
        )
    }

    /// The lanes and the names of those they belong to; gives the top of each lane.
    fn draw_workers(&mut self, workers: &BTreeMap<&str, (usize, usize)>) -> Vec<f64> {
        let mut tops = Vec::new();
        let mut y = TOP;
        for (name, (_, count)) in workers {
            let name = if name.is_empty() { "unknown worker" } else { name };
            let shown = cut(name, LEFT - 20.0);
            self.put(format_args!(
                "<g><title>{}</title><text class=\"dim\" x=\"12\" y=\"{:.1}\">{}</text></g>",
                escape(name),
                y + 13.0,
                escape(&shown),
            ));
            for _ in 0..*count {
                self.put(format_args!(
                    "<rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{}\" height=\"{BAR}\"/>",
                    WIDTH - LEFT - RIGHT
                ));
                tops.push(y);
                y += LANE;
            }
            y += GAP;
        }
        tops
    }

    fn draw_axis(&mut self, bottom: f64) {
        let step = axis::step(self.span, MARKS);
        for ms in (0..=self.span).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let x = self.x(self.origin.saturating_add(ms));
            self.put(format_args!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom:.1}\"/>",
                TOP - 8.0
            ));
            self.text("dim", x + 2.0, TOP - 12.0, &axis::label(ms, step));
        }
    }

    /// When a job was there, and when its last map was done.
    fn draw_job(&mut self, job: &JobStatus, is_one_of_many: bool, bottom: f64) {
        let from = self.x(job.submit_ms.max(self.origin));
        let to = self.x(if job.finish_ms > 0 { job.finish_ms } else { self.origin + self.span });
        let told = title(std::slice::from_ref(job));
        self.put(format_args!(
            "<g><title>{}</title><rect class=\"job\" x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{:.1}\"/></g>",
            escape(&told),
            TOP - 8.0,
            (to - from).max(LEAST_BAR),
            bottom - TOP + 8.0,
        ));
        if is_one_of_many {
            let name = cut(&job.name, to - from);
            self.text("dim", from + 2.0, TOP - 28.0, &name);
        }
        if let Some(done) = maps_done(job) {
            let x = self.x(done);
            let told = format!(
                "all maps done after {}",
                axis::label(done.saturating_sub(job.submit_ms), 1)
            );
            self.put(format_args!(
                "<g><title>{told}</title><line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" \
                 y2=\"{bottom:.1}\"/></g>",
                TOP - 8.0
            ));
        }
    }

    fn draw_bars(&mut self, bars: &[Bar<'_>], tops: &[f64]) {
        let mut in_order: Vec<&Bar<'_>> = bars.iter().collect();
        in_order.sort_by_key(|bar| (bar.row, bar.time.start));
        for (i, bar) in in_order.iter().enumerate() {
            let x = self.x(bar.time.start);
            let next = in_order.get(i + 1).filter(|next| next.row == bar.row);
            let room = next.map_or(f64::MAX, |next| self.x(next.time.start) - x);
            let width = (self.x(bar.time.end) - x).max(LEAST_BAR.min(room));
            let y = tops[bar.row];
            self.put(format_args!(
                "<g><title>{}</title><rect class=\"bar {} {}\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" \
                 height=\"{BAR}\"/>",
                escape(&bar.told(self.origin)),
                bar.kind(),
                bar.end_class(),
            ));
            for (phase, time) in bar.phases() {
                let from = self.x(time.start);
                let wide = (self.x(time.end) - from).min(x + width - from);
                if wide > 0.0 {
                    self.put(format_args!(
                        "<rect class=\"b {phase}\" x=\"{from:.2}\" y=\"{y:.1}\" width=\"{wide:.2}\" \
                         height=\"{BAR}\"/>"
                    ));
                }
            }
            if matches!(bar.attempt.locality.as_str(), "rack" | "any") {
                self.put(format_args!(
                    "<rect class=\"b {}\" x=\"{x:.2}\" y=\"{:.1}\" width=\"{width:.2}\" height=\"{STRIPE}\"/>",
                    bar.attempt.locality,
                    y + BAR - STRIPE,
                ));
            }
            let short = bar.short();
            if !short.is_empty() && width > short.len() as f64 * LETTER + 5.0 {
                self.text("on b", x + 3.0, y + 10.5, &short);
            }
            self.body += "</g>";
        }
    }

    fn draw_legend(&mut self, y: f64, is_cut: bool) {
        let swatches = [
            ("map succeeded", "map"),
            ("reduce succeeded", "reduce"),
            ("its shuffle", "shuffle"),
            ("its merge", "merge"),
            ("running", "map running"),
            ("failed", "other failed"),
            ("killed", "other killed"),
            ("lost with its worker", "other lost"),
            ("input in the rack", "rack"),
            ("input elsewhere", "any"),
        ];
        let mut x = 12.0;
        for (word, class) in swatches {
            let (height, top) = match class {
                "rack" | "any" => (STRIPE, y + 4.0),
                _ => (9.0, y),
            };
            if matches!(class, "shuffle" | "merge") {
                self.put(format_args!(
                    "<rect class=\"reduce\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"14\" height=\"{height}\"/>"
                ));
            }
            self.put(format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"14\" height=\"{height}\"/>"
            ));
            self.text("dim", x + 19.0, y + 9.0, word);
            x += 34.0 + word.len() as f64 * LETTER;
        }
        self.put(format_args!(
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            y - 3.0,
            y + 12.0
        ));
        self.text("dim", x + 6.0, y + 9.0, "all maps done");
        if is_cut {
            let told = format!("Only the first {ATTEMPTS_LISTED} attempts of a job are shown.");
            self.text("dim", 12.0, TOP - 28.0, &told);
        }
    }
}

/// What is told of the jobs in one line.
fn title(jobs: &[JobStatus]) -> String {
    let begun = jobs.iter().map(|job| job.submit_ms).min().unwrap_or(0);
    let ended = jobs.iter().map(|job| job.finish_ms).max().unwrap_or(0);
    let took = match jobs.iter().all(|job| job.finish_ms > 0) {
        true => axis::label(ended.saturating_sub(begun), 1),
        false => "not ended".to_owned(),
    };
    match jobs {
        [job] => {
            let total = |counts: &Option<_>| -> u32 {
                counts.map_or(0, |counts: hfs_protocol::proto::job::TaskCounts| counts.total)
            };
            let (id, name, state) = (&job.job_id, &job.name, job.state().as_str_name());
            let (maps, reduces) = (total(&job.maps), total(&job.reduces));
            format!("{id} {name}: {state}, {took}, {maps} maps, {reduces} reduces")
        }
        _ => format!("{} jobs, {took}", jobs.len()),
    }
}

/// When the last map of a job with reduces was done, if all are.
fn maps_done(job: &JobStatus) -> Option<u64> {
    let (maps, reduces) = (job.maps.as_ref()?, job.reduces.as_ref()?);
    let is_sure = job.attempts.len() < ATTEMPTS_LISTED && job.state() != JobState::Killed;
    if reduces.total == 0 || maps.total == 0 || maps.succeeded < maps.total || !is_sure {
        return None;
    }
    let is_map = |attempt: &&TaskTiming| {
        let id: Option<AttemptId> = attempt.attempt_id.parse().ok();
        id.is_some_and(|id| id.task.kind == TaskKind::Map) && attempt.state == "succeeded"
    };
    job.attempts.iter().filter(is_map).map(|attempt| attempt.end_ms).max()
}

/// The front of a text, as much as fits into `width`.
fn cut(text: &str, width: f64) -> String {
    let fits = (width / LETTER).max(0.0) as usize;
    match text.chars().count() <= fits {
        true => text.to_owned(),
        false if fits < 2 => String::new(),
        false => text.chars().take(fits - 1).chain(['…']).collect(),
    }
}
