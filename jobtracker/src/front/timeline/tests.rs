#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use hfs_protocol::proto::job::TaskCounts;
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::*;

/// One bar as it stands in the document.
#[derive(Debug, Clone)]
struct Drawn {
    class: String,
    x: f64,
    y: f64,
    width: f64,
    told: String,
}

/// Reads the document as XML, so that it fails on what no reader takes, and gives the bars and all text.
fn read(svg: &str) -> (Vec<Drawn>, Vec<String>) {
    let mut reader = Reader::from_str(svg);
    reader.config_mut().check_end_names = true;
    let (mut bars, mut texts): (Vec<Drawn>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut open, mut told, mut text) = (Vec::new(), String::new(), String::new());
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let attributes: BTreeMap<String, String> = tag
                    .attributes()
                    .map(|attribute| {
                        let attribute = attribute.unwrap();
                        (attribute.key.as_ref().to_owned(), attribute.value.into_owned())
                    })
                    .collect();
                let name = tag.name().as_ref().to_owned();
                let class = attributes.get("class").cloned().unwrap_or_default();
                if name == "rect" && class.starts_with("bar ") {
                    let number = |key: &str| attributes[key].parse().unwrap();
                    let (x, y, width) = (number("x"), number("y"), number("width"));
                    bars.push(Drawn { class, x, y, width, told: told.clone() });
                }
                if matches!(event, Event::Start(_)) {
                    open.push(name);
                    text.clear();
                }
            }
            Event::Text(part) => text += part,
            Event::GeneralRef(name) => {
                let name: &str = name;
                assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "&{name};");
                text += &format!("[{name}]");
            }
            Event::End(_) => {
                match open.pop().unwrap().as_str() {
                    "title" => told.clone_from(&text),
                    "text" => texts.push(text.clone()),
                    _ => {}
                }
                text.clear();
            }
            Event::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(open.is_empty(), "{open:?} are open at the end");
    (bars, texts)
}

fn attempt(
    kind: char,
    index: u32,
    number: u32,
    worker: &str,
    time: Range<u64>,
    state: &str,
) -> TaskTiming {
    TaskTiming {
        attempt_id: format!("attempt_1700000000000_0001_{kind}_{index:06}_{number}"),
        worker: worker.to_owned(),
        start_ms: time.start,
        end_ms: time.end,
        state: state.to_owned(),
        locality: if kind == 'm' { "node".to_owned() } else { String::new() },
        ..TaskTiming::default()
    }
}

fn job(attempts: Vec<TaskTiming>) -> JobStatus {
    let count = |kind: &str| {
        let of_kind = attempts.iter().filter(|a| a.attempt_id.contains(kind));
        let succeeded = of_kind.filter(|a| a.state == "succeeded").count() as u32;
        Some(TaskCounts { total: succeeded, succeeded, ..TaskCounts::default() })
    };
    JobStatus {
        job_id: "job_1700000000000_0001".to_owned(),
        name: "word count".to_owned(),
        state: JobState::Succeeded.into(),
        submit_ms: 1_000,
        finish_ms: attempts.iter().map(|a| a.end_ms).max().unwrap_or(1_500),
        maps: count("_m_"),
        reduces: count("_r_"),
        attempts,
        ..JobStatus::default()
    }
}

proptest! {
    /// Whatever the attempts: a whole document, a bar for each, none over another.
    #[test]
    fn every_attempt_has_a_bar_and_no_two_overlap(
        times in prop::collection::vec((0u64..100_000, 0u64..9_000, 0usize..3, 0usize..5, any::<bool>()), 0..150),
        names in prop::collection::vec("\\PC{0,12}", 3),
        now in 1_000u64..200_000,
    ) {
        let attempts: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(i, &(at, long, worker, end, is_map))| {
                let state = ENDS[end].0;
                let end = if state == "running" { 0 } else { 1_000 + at + long };
                let kind = if is_map { 'm' } else { 'r' };
                attempt(kind, i as u32, 0, &names[worker], 1_000 + at..end, state)
            })
            .collect();
        let jobs = [JobStatus { name: names[0].clone(), ..job(attempts) }];
        let (bars, _) = read(&timeline(&jobs, now));
        prop_assert_eq!(bars.len(), times.len());
        let mut lanes: BTreeMap<String, Vec<&Drawn>> = BTreeMap::new();
        for bar in &bars {
            prop_assert!(bar.x >= LEFT - 0.01 && bar.x + bar.width <= WIDTH - RIGHT + LEAST_BAR + 0.02, "{bar:?}");
            lanes.entry(bar.y.to_string()).or_default().push(bar);
        }
        for mut lane in lanes.into_values() {
            lane.sort_by(|a, b| a.x.total_cmp(&b.x));
            for pair in lane.windows(2) {
                // Coordinates are rounded to hundredths.
                prop_assert!(pair[0].x + pair[0].width <= pair[1].x + 0.011, "{pair:?}");
            }
        }
        let ids: std::collections::BTreeSet<_> =
            bars.iter().map(|bar| bar.told.lines().next().unwrap().to_owned()).collect();
        prop_assert_eq!(ids.len(), times.len());
    }
}

#[test]
fn bars_are_where_the_time_was() {
    let jobs = [job(vec![
        attempt('m', 0, 0, "a", 1_000..2_000, "succeeded"),
        attempt('m', 1, 0, "b", 1_000..1_500, "failed"),
        attempt('m', 1, 1, "b", 2_000..3_000, "succeeded"),
        attempt('r', 0, 0, "a", 3_000..5_000, "succeeded"),
    ])];
    let (bars, texts) = read(&timeline(&jobs, 0));
    let unit = (WIDTH - LEFT - RIGHT) / 4_000.0;
    let told: Vec<_> = bars.iter().map(|bar| (bar.class.as_str(), bar.x, bar.width)).collect();
    let at = |ms: f64| LEFT + ms * unit;
    let expected = [
        ("bar map succeeded", at(0.0), 1_000.0 * unit),
        ("bar reduce succeeded", at(2_000.0), 2_000.0 * unit),
        ("bar map failed", at(0.0), 500.0 * unit),
        ("bar map succeeded", at(1_000.0), 1_000.0 * unit),
    ];
    for (drawn, expected) in told.iter().zip(expected) {
        assert_eq!(drawn.0, expected.0);
        assert!(
            (drawn.1 - expected.1).abs() < 0.01 && (drawn.2 - expected.2).abs() < 0.01,
            "{drawn:?} {expected:?}"
        );
    }
    assert_eq!(bars.len(), expected.len());
    assert_eq!(
        bars[2].told,
        "attempt_1700000000000_0001_m_000001_0\nword count: map 1, failed\non b, its input on its node\n\
         from 0.000 s to 0.500 s, 500 ms"
    );
    for said in ["m0", "m1", "m1.1", "r0", "a", "b", "1.0 s", "failed", "all maps done"] {
        assert!(texts.iter().any(|text| text == said), "{said} is not in {texts:?}");
    }
    assert_eq!(
        texts[2],
        "job_1700000000000_0001 word count: SUCCEEDED, 4.000 s, 2 maps, 1 reduces"
    );
}

#[test]
fn a_reduce_shows_its_shuffle_and_merge_as_far_as_it_told() {
    let reduce = |shuffle_finish_ms, merge_finish_ms| TaskTiming {
        shuffle_finish_ms,
        merge_finish_ms,
        ..attempt('r', 0, 0, "a", 1_000..5_000, "succeeded")
    };
    let drawn = |reduce: TaskTiming| {
        let svg = timeline(&[job(vec![reduce])], 0);
        let (bars, _) = read(&svg);
        let widths = ["shuffle", "merge"].map(|phase| {
            let bar = svg.split(&format!("class=\"b {phase}\"")).nth(1)?;
            let width = bar.split("width=\"").nth(1)?.split('"').next()?;
            width.parse::<f64>().ok()
        });
        (bars[0].told.clone(), widths.map(|width| width.map(f64::round)))
    };
    let unit = (WIDTH - LEFT - RIGHT) / 4_000.0;
    let wide = |ms: f64| Some((ms * unit).round());
    let (told, widths) = drawn(reduce(2_000, 2_500));
    assert!(told.ends_with("4000 ms\nshuffle for 1000 ms\nmerge for 500 ms"), "{told}");
    assert_eq!(widths, [wide(1_000.0), wide(500.0)]);
    // It was not merged when it ended, or the clocks disagree.
    let (told, widths) = drawn(reduce(9_000, 0));
    assert!(told.ends_with("shuffle for 4000 ms"), "{told}");
    assert_eq!(widths, [wide(4_000.0), None]);
    let (told, widths) = drawn(reduce(0, 0));
    assert!(told.ends_with("4000 ms"), "{told}");
    assert_eq!(widths, [None, None]);
}

#[test]
fn an_attempt_that_runs_goes_on_until_now_and_one_of_a_dead_job_until_its_end() {
    let running = TaskTiming { end_ms: 0, ..attempt('m', 0, 0, "a", 1_000..1_000, "running") };
    let alive = JobStatus { finish_ms: 0, ..job(vec![running.clone()]) };
    let (bars, _) = read(&timeline(&[alive], 3_000));
    assert!(bars[0].told.ends_with("2000 ms"), "{bars:?}");
    assert_eq!(bars[0].class, "bar map running");
    let dead = JobStatus { finish_ms: 1_700, ..job(vec![running]) };
    let (bars, _) = read(&timeline(&[dead], 3_000));
    assert!(bars[0].told.ends_with("700 ms"), "{bars:?}");
}

#[test]
fn text_of_users_is_text() {
    let hostile = "</title><script>alert('&')</script>\u{1}";
    let one = attempt('m', 0, 0, hostile, 1_000..2_000, "<b>");
    let jobs = [JobStatus { name: hostile.to_owned(), ..job(vec![one]) }];
    let svg = timeline(&jobs, 0);
    assert!(!svg.contains("<script") && !svg.contains("<b>") && !svg.contains('\u{1}'));
    let (bars, _) = read(&svg);
    assert!(bars[0].told.contains("[lt]script[gt]"), "{bars:?}");
    assert_eq!(bars[0].class, "bar map succeeded");
}

#[test]
fn jobs_in_a_row_share_the_picture() {
    let first = job(vec![attempt('m', 0, 0, "a", 1_000..2_000, "succeeded")]);
    let mut second = job(vec![attempt('m', 0, 0, "a", 3_000..4_000, "succeeded")]);
    second.submit_ms = 2_500;
    second.name = "sort".to_owned();
    let (bars, texts) = read(&timeline(&[first, second], 0));
    assert_eq!(bars.iter().map(|bar| bar.y).collect::<Vec<_>>(), [TOP, TOP]);
    assert!(texts.contains(&"2 jobs, 3.000 s".to_owned()), "{texts:?}");
    assert!(texts.contains(&"sort".to_owned()) && texts.contains(&"word count".to_owned()));
}

#[test]
fn a_job_that_has_not_begun_says_so() {
    let (bars, texts) = read(&timeline(&[job(Vec::new())], 0));
    assert!(bars.is_empty() && texts.contains(&"No attempt has begun.".to_owned()), "{texts:?}");
    let (bars, _) = read(&timeline(&[], 0));
    assert!(bars.is_empty());
}
