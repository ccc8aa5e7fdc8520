//! Every metric there is: its name, kind, unit and meaning. The rest of the house only counts.
//!
//! `run` calls [`describe`] once the recorder is installed. A test holds that no metric is counted that
//! does not stand here.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// A value now.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Name, kind, unit, labels and meaning.
pub type Description = (&'static str, Shape, Unit, &'static [&'static str], &'static str);

/// All of them, in the order of a request's life.
pub const METRICS: &[Description] = &[
    (
        "forebay_received_requests_total",
        Shape::Counter,
        Unit::Count,
        &["instance"],
        "Requests that reached an instance's path",
    ),
    (
        "forebay_rejected_requests_total",
        Shape::Counter,
        Unit::Count,
        &["instance", "reason"],
        "Requests that were turned away",
    ),
    (
        "forebay_accepted_records_total",
        Shape::Counter,
        Unit::Count,
        &["instance"],
        "New records that are safe in the store",
    ),
    (
        "forebay_duplicate_records_total",
        Shape::Counter,
        Unit::Count,
        &["instance"],
        "Records dropped because the same bytes under the same id are stored",
    ),
    (
        "forebay_dead_letters_total",
        Shape::Counter,
        Unit::Count,
        &["instance", "reason"],
        "Records and bodies that could not be accepted or delivered, kept with their reason",
    ),
    (
        "forebay_sync_seconds",
        Shape::Histogram,
        Unit::Seconds,
        &[],
        "Time of one commit to the store, its sync included",
    ),
    ("forebay_queue_bytes", Shape::Gauge, Unit::Bytes, &[], "Bytes of the store"),
    (
        "forebay_delivered_records_total",
        Shape::Counter,
        Unit::Count,
        &["instance", "sink"],
        "Records that are safe in a sink",
    ),
    (
        "forebay_delivered_bytes_total",
        Shape::Counter,
        Unit::Bytes,
        &["instance", "sink"],
        "Bytes of the records that a sink is done with",
    ),
    (
        "forebay_sink_refused_records_total",
        Shape::Counter,
        Unit::Count,
        &["instance", "sink"],
        "Records that a sink refused for good; they are dead letters",
    ),
    (
        "forebay_sink_retries_total",
        Shape::Counter,
        Unit::Count,
        &["instance", "sink"],
        "Deliveries that failed and are tried again",
    ),
    (
        "forebay_sink_held",
        Shape::Gauge,
        Unit::Count,
        &["instance", "sink"],
        "1 while a sink refuses until somebody acts",
    ),
    (
        "forebay_sink_lag_records",
        Shape::Gauge,
        Unit::Count,
        &["instance", "sink"],
        "Stored records that a sink has not got yet",
    ),
    (
        "forebay_last_event_age_seconds",
        Shape::Gauge,
        Unit::Seconds,
        &["instance"],
        "Time since the last accepted event",
    ),
    (
        "forebay_stream_status",
        Shape::Gauge,
        Unit::Count,
        &["instance", "status"],
        "1 for the status that the vendor's side has, 0 for the others",
    ),
];

/// Gives the recorder what it prints beside the values.
pub fn describe() {
    for (name, shape, unit, _, meaning) in METRICS {
        match shape {
            Shape::Counter => describe_counter!(*name, *unit, *meaning),
            Shape::Gauge => describe_gauge!(*name, *unit, *meaning),
            Shape::Histogram => describe_histogram!(*name, *unit, *meaning),
        }
    }
}
