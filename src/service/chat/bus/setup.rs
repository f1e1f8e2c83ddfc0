//! What JetStream is asked for at the beginning: a stream for what is said, a bucket for names, a consumer.

use std::time::Duration;

use serde_json::{Value, json};

use super::subjects::Subjects;
use crate::service;

/// How many bytes a message of a bus has at most: the same for all servers, whatever their limits are.
pub(in super::super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What a message may have besides: its headers.
const HEADERS_BYTES_MAX: usize = 4 * 1024;

/// How much of one command is read.
pub(super) const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + HEADERS_BYTES_MAX;

/// Ids of messages are known for so long.
const IDS: Duration = Duration::from_secs(120);

/// The consumer says so often that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many messages the stream keeps of a room at least: what servers catch up with that were away for a while.
const HISTORY_MIN: u32 = 4096;

/// How long it keeps them.
const HISTORY_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How large it is at most.
const STREAM_BYTES_MAX: i64 = 128 * 1024 * 1024;

/// What JetStream is asked for, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// To make the stream.
    Stream,
    /// What the stream is like: it was there, with other options.
    FoundStream,
    /// To make the bucket.
    Bucket,
    /// What the bucket is like: it was there, with other options.
    FoundBucket,
    /// To make a consumer.
    Consumer,
}

/// A request to JetStream.
pub(super) struct Asked {
    pub(super) subject: String,
    pub(super) body: Value,
}

/// Makes the stream, which keeps `history` messages of each room at least.
pub(super) fn stream(subjects: &Subjects, settings: &service::Bus, history: u32) -> Asked {
    let stream = subjects.stream();
    Asked {
        subject: format!("$JS.API.STREAM.CREATE.{stream}"),
        body: json!({
            "name": stream,
            "subjects": subjects.kept(),
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "num_replicas": settings.replicas,
            "max_msgs_per_subject": i64::from(history.max(HISTORY_MIN)),
            "max_age": nanos(HISTORY_AGE),
            "max_bytes": STREAM_BYTES_MAX,
            "max_msg_size": FRAME_BYTES_MAX,
            "duplicate_window": nanos(IDS),
        }),
    }
}

/// Asks for a stream as it is; a bucket is one.
pub(super) fn found(stream: &str) -> Asked {
    Asked {
        subject: format!("$JS.API.STREAM.INFO.{stream}"),
        body: json!({}),
    }
}

/// Makes the bucket, whose keys are gone when their lease is over.
pub(super) fn bucket(subjects: &Subjects, settings: &service::Bus) -> Asked {
    let bucket = subjects.bucket();
    let lease = nanos(settings.lease);
    Asked {
        subject: format!("$JS.API.STREAM.CREATE.{bucket}"),
        body: json!({
            "name": bucket,
            "subjects": [subjects.keys()],
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "num_replicas": settings.replicas,
            "max_msgs_per_subject": 1,
            "max_age": lease,
            "duplicate_window": lease.min(nanos(IDS)),
            "allow_rollup_hdrs": true,
        }),
    }
}

/// Makes a consumer, which delivers all that is behind this place of the stream, in order.
pub(super) fn consumer(subjects: &Subjects, delivery: &str, last: u64) -> Asked {
    let stream = subjects.stream();
    let mut consumer = json!({
        "deliver_subject": delivery,
        "deliver_policy": "all",
        "ack_policy": "none",
        "replay_policy": "instant",
        "flow_control": true,
        "idle_heartbeat": nanos(HEARTBEAT),
        "mem_storage": true,
        "num_replicas": 1,
    });
    if last > 0 {
        consumer["deliver_policy"] = "by_start_sequence".into();
        consumer["opt_start_seq"] = last.saturating_add(1).into();
    }
    Asked {
        subject: format!("$JS.API.CONSUMER.CREATE.{stream}"),
        body: json!({ "stream_name": stream, "config": consumer }),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
