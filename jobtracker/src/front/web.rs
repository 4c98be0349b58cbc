//! Pages and JSON for people and tools.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hfs_protocol::ids::JobId;
use hfs_protocol::proto::job::{JobState, JobStatus, TaskCounts};

use super::escape::escape;
use super::json;
use super::timeline::timeline;
use crate::job::Detail;
use crate::tracker::{ClusterView, Handle, Message, Stopped};

/// Jobs that the first page shows, newest first.
const JOBS_SHOWN: usize = 200;
/// Attempts that a job's page shows, in words and as a picture.
const ATTEMPTS_SHOWN: usize = 1000;

/// The routes of the jobtracker.
pub fn router(tracker: Handle) -> Router {
    Router::new()
        .route("/", get(jobs_page))
        .route("/jobs/{id}", get(job_page))
        .route("/jobs/{id}/timeline.svg", get(job_timeline))
        .route("/api/jobs", get(jobs_json))
        .route("/api/jobs/{id}", get(job_json))
        .route("/api/cluster", get(cluster_json))
        .with_state(tracker)
}

fn stopping(_: Stopped) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the jobtracker is stopping\n").into_response()
}

async fn all(tracker: &Handle) -> Result<Vec<JobStatus>, Response> {
    tracker.ask(|reply| Message::List { running_only: false, reply }).await.map_err(stopping)
}

async fn cluster(tracker: &Handle) -> Result<ClusterView, Response> {
    tracker.ask(|reply| Message::Cluster { reply }).await.map_err(stopping)
}

async fn one(tracker: &Handle, id: &str) -> Result<JobStatus, Response> {
    let bad = |e: String| (StatusCode::BAD_REQUEST, e + "\n").into_response();
    let job: JobId = id.parse().map_err(|e| bad(format!("{e}")))?;
    let status = tracker.status(job, Detail::Full).await.map_err(stopping)?;
    let absent = || (StatusCode::NOT_FOUND, format!("there is no {job} here\n")).into_response();
    status.map(|status| *status).ok_or_else(absent)
}

async fn jobs_json(State(tracker): State<Handle>) -> Result<Response, Response> {
    let jobs = all(&tracker).await?;
    Ok(axum::Json(jobs.iter().map(json::job).collect::<Vec<_>>()).into_response())
}

async fn job_json(
    State(tracker): State<Handle>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    Ok(axum::Json(json::job(&one(&tracker, &id).await?)).into_response())
}

async fn cluster_json(State(tracker): State<Handle>) -> Result<Response, Response> {
    let view = cluster(&tracker).await?;
    let workers: Vec<_> = view.workers.iter().map(json::worker).collect();
    let queues: Vec<_> = view.queues.iter().map(json::queue).collect();
    let body = serde_json::json!({
        "workers": workers, "runningJobs": view.running_jobs, "queues": queues,
    });
    Ok(axum::Json(body).into_response())
}

async fn jobs_page(State(tracker): State<Handle>) -> Result<Html<String>, Response> {
    let (jobs, view) = (all(&tracker).await?, cluster(&tracker).await?);
    let mut body = String::from("<h1>Jobs</h1>");
    if jobs.is_empty() {
        body += "<p>No job yet. Submit one with <code>hfs job submit PROGRAM ARGS</code>.</p>";
    } else {
        body += "<table><tr><th>Job<th>Name<th>User<th>Queue<th>Priority<th>State<th>Maps<th>Reduces<th>Time<th>Message</tr>";
        for job in jobs.iter().rev().take(JOBS_SHOWN) {
            let id = escape(&job.job_id);
            let _ = write!(
                body,
                "<tr><td><a href=\"/jobs/{id}\">{id}</a><td>{}<td>{}<td>{}<td>{}<td class=\"{state}\">{state}<td>{}<td>{}<td>{}<td>{}</tr>",
                escape(&job.name),
                escape(&job.user),
                escape(&job.queue),
                escape(&job.priority),
                counts(job.maps.as_ref()),
                counts(job.reduces.as_ref()),
                took(job),
                escape(&job.message),
                state = job.state().as_str_name(),
            );
        }
        body += "</table>";
    }
    body += "<h1>Queues</h1><table><tr><th>Queue<th>Policy<th>Weight<th>Least share<th>Running jobs<th>Waiting jobs<th>Processors held</tr>";
    for queue in &view.queues {
        let most = match queue.max_running_jobs {
            0 => String::new(),
            most => format!(" of at most {most}"),
        };
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}{most}<td>{}<td>{}</tr>",
            escape(&queue.name),
            escape(&queue.policy),
            queue.weight,
            queue.min_share,
            queue.running_jobs,
            queue.waiting_jobs,
            queue.held_vcores,
        );
    }
    body += "</table><h1>Workers</h1><table><tr><th>Worker<th>Host<th>State<th>Running<th>Slots<th>Processors<th>Memory<th>Last heard</tr>";
    for worker in &view.workers {
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td>{} {}<td>{}<td>{}<td>{} of {}<td>{} of {} MiB<td>{} ms ago</tr>",
            escape(&worker.worker_id),
            escape(&worker.host),
            escape(&worker.state),
            escape(&worker.reason),
            worker.running,
            worker.slots,
            worker.used_vcores,
            worker.vcores,
            worker.used_memory_mb,
            worker.memory_mb,
            worker.last_heard_ms_ago,
        );
    }
    body += "</table>";
    Ok(page("hfs jobtracker", true, &body))
}

async fn job_page(
    State(tracker): State<Handle>,
    Path(id): Path<String>,
) -> Result<Html<String>, Response> {
    let job = one(&tracker, &id).await?;
    let locality = job.locality.unwrap_or_default();
    let mut body = format!(
        "<p><a href=\"/\">all jobs</a></p><h1>{} {}</h1><p class=\"{state}\">{state} {}</p>\
         <p>by {}, to {}, {}; queue {}, priority {}</p><p>{} speculative attempts, {} of them at work</p><p>Maps {}; on their node {}, in its rack {}, elsewhere {}</p><p>Reduces {}</p>",
        escape(&job.job_id),
        escape(&job.name),
        escape(&job.message),
        escape(&job.user),
        escape(&job.output_dir),
        took(&job),
        escape(&job.queue),
        escape(&job.priority),
        job.speculative_attempts,
        job.speculative_running,
        counts(job.maps.as_ref()),
        locality.node,
        locality.rack,
        locality.any,
        counts(job.reduces.as_ref()),
        state = job.state().as_str_name(),
    );
    if !job.failures.is_empty() {
        body += "<h2>Failures</h2>";
        for failure in &job.failures {
            let _ = write!(
                body,
                "<p>{} on {}: {}</p><pre>{}</pre>",
                escape(&failure.attempt_id),
                escape(&failure.worker),
                escape(&failure.message),
                escape(&failure.log_tail),
            );
        }
    }
    if !job.counters.is_empty() {
        body += "<h2>Counters</h2><table><tr><th>Group<th>Name<th>Value</tr>";
        for counter in &job.counters {
            let (group, name) = (escape(&counter.group), escape(&counter.name));
            let _ = write!(body, "<tr><td>{group}<td>{name}<td>{}</tr>", counter.value);
        }
        body += "</table>";
    }
    body += "<h2>Timeline</h2>";
    let picture = format!("<a href=\"/jobs/{}/timeline.svg\">", escape(&job.job_id));
    if job.attempts.len() <= ATTEMPTS_SHOWN {
        body += &timeline(std::slice::from_ref(&job), now_ms());
        let _ = write!(body, "<p>{picture}as a file</a></p>");
    } else {
        let _ = write!(body, "<p>{picture}all {} attempts</a></p>", job.attempts.len());
    }
    body += "<h2>Attempts</h2><table><tr><th>Attempt<th>Worker<th>State<th>Input<th>Started<th>Took</tr>";
    for attempt in job.attempts.iter().take(ATTEMPTS_SHOWN) {
        let started = attempt.start_ms.saturating_sub(job.submit_ms);
        let took = match attempt.end_ms {
            0 => "...".to_owned(),
            end => format!("{} ms", end.saturating_sub(attempt.start_ms)),
        };
        let _ = write!(
            body,
            "<tr><td>{}<td>{}<td class=\"{state}\">{state}{raced}<td>{}<td>+{started} ms<td>{took}</tr>",
            escape(&attempt.attempt_id),
            escape(&attempt.worker),
            escape(&attempt.locality),
            state = escape(&attempt.state),
            raced = if attempt.speculative { ", speculative" } else { "" },
        );
    }
    body += "</table>";
    if job.attempts.len() > ATTEMPTS_SHOWN {
        let _ = write!(
            body,
            "<p>The first {ATTEMPTS_SHOWN} of {}; all are in <a href=\"/api/jobs/{}\">JSON</a>.</p>",
            job.attempts.len(),
            escape(&job.job_id),
        );
    }
    Ok(page(&job.job_id, job.finish_ms == 0, &body))
}

async fn job_timeline(
    State(tracker): State<Handle>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let job = one(&tracker, &id).await?;
    let svg = timeline(std::slice::from_ref(&job), now_ms());
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

/// Milliseconds since the epoch.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn counts(counts: Option<&TaskCounts>) -> String {
    let counts = counts.copied().unwrap_or_default();
    let mut text = format!("{} of {} done", counts.succeeded, counts.total);
    for (number, word) in [
        (counts.running, "running"),
        (counts.failed_attempts, "failed"),
        (counts.killed_attempts, "killed"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {number} {word}");
        }
    }
    text
}

fn took(job: &JobStatus) -> String {
    match (job.state(), job.finish_ms) {
        (JobState::Succeeded | JobState::Failed | JobState::Killed, end) => {
            format!("{:.3} s", end.saturating_sub(job.submit_ms) as f64 / 1000.0)
        }
        _ => "not ended".to_owned(),
    }
}

fn page(title: &str, live: bool, body: &str) -> Html<String> {
    let refresh = if live { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">{refresh}<title>{}</title><style>\
         body{{font:14px/1.4 system-ui,sans-serif;margin:2em}}table{{border-collapse:collapse}}\
         td,th{{text-align:left;padding:2px 12px 2px 0;border-bottom:1px solid #ddd}}\
         pre{{background:#f4f4f4;padding:8px}}svg{{max-width:100%;height:auto}}.FAILED,.failed{{color:#b00}}.SUCCEEDED{{color:#070}}\
         </style>{body}</html>",
        escape(title)
    ))
}
