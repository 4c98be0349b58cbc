//! Statuses as JSON, the same for the web API and for `hfs job --json`.

use hfs_protocol::proto::job::{JobStatus, QueueStatus, TaskCounts, WorkerStatus};
use serde_json::{Value, json};

/// A job.
#[must_use]
pub fn job(status: &JobStatus) -> Value {
    let locality = status.locality.unwrap_or_default();
    let failures: Vec<Value> = status
        .failures
        .iter()
        .map(|f| {
            json!({
                "attempt": f.attempt_id, "worker": f.worker,
                "message": f.message, "logTail": f.log_tail,
            })
        })
        .collect();
    let attempts: Vec<Value> = status
        .attempts
        .iter()
        .map(|a| {
            json!({
                "attempt": a.attempt_id, "worker": a.worker, "startMs": a.start_ms,
                "endMs": a.end_ms, "state": a.state, "locality": a.locality,
                "speculative": a.speculative, "shuffleFinishMs": a.shuffle_finish_ms,
                "mergeFinishMs": a.merge_finish_ms,
            })
        })
        .collect();
    json!({
        "id": status.job_id,
        "name": status.name,
        "user": status.user,
        "queue": status.queue,
        "priority": status.priority,
        "state": status.state().as_str_name(),
        "maps": counts(status.maps.as_ref()),
        "reduces": counts(status.reduces.as_ref()),
        "locality": {"node": locality.node, "rack": locality.rack, "any": locality.any},
        "speculativeAttempts": status.speculative_attempts,
        "speculativeRunning": status.speculative_running,
        "submitMs": status.submit_ms,
        "startMs": status.start_ms,
        "finishMs": status.finish_ms,
        "message": status.message,
        "outputDir": status.output_dir,
        "failures": failures,
        "counters": counters(status),
        "attempts": attempts,
    })
}

/// A job's counters: by group, then by name.
#[must_use]
pub fn counters(status: &JobStatus) -> Value {
    let mut groups = serde_json::Map::new();
    for counter in &status.counters {
        let group = groups.entry(counter.group.clone()).or_insert_with(|| json!({}));
        if let Value::Object(group) = group {
            group.insert(counter.name.clone(), counter.value.into());
        }
    }
    Value::Object(groups)
}

/// A worker.
#[must_use]
pub fn worker(worker: &WorkerStatus) -> Value {
    json!({
        "id": worker.worker_id, "host": worker.host, "live": worker.live,
        "slots": worker.slots, "running": worker.running,
        "lastHeardMsAgo": worker.last_heard_ms_ago,
        "rack": worker.rack, "state": worker.state, "reason": worker.reason,
        "vcores": worker.vcores, "usedVcores": worker.used_vcores,
        "memoryMb": worker.memory_mb, "usedMemoryMb": worker.used_memory_mb,
    })
}

/// A queue.
#[must_use]
pub fn queue(queue: &QueueStatus) -> Value {
    json!({
        "name": queue.name, "policy": queue.policy, "weight": queue.weight,
        "minShare": queue.min_share, "maxRunningJobs": queue.max_running_jobs,
        "runningJobs": queue.running_jobs, "waitingJobs": queue.waiting_jobs,
        "heldVcores": queue.held_vcores,
    })
}

fn counts(counts: Option<&TaskCounts>) -> Value {
    let counts = counts.copied().unwrap_or_default();
    json!({
        "total": counts.total, "running": counts.running, "succeeded": counts.succeeded,
        "failedAttempts": counts.failed_attempts, "killedAttempts": counts.killed_attempts,
        "progress": counts.progress,
    })
}
