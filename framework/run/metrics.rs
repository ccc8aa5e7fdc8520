//! Every metric there is: its name, kind, unit, labels and meaning. The rest of the house only counts.
//!
//! `run` calls [`install`] where there is an admin listener, and [`keep_current`] beside it. Without a
//! recorder counting costs nothing. A test holds that nothing is counted that does not stand here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use crate::connector::instance::InstanceId;
use crate::error::{Error, Kind, Result};
use crate::queue::local::Local;

/// How often what is not counted as it happens is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// The bounds of the histograms' buckets, in seconds: a sync takes from under a millisecond to seconds.
const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

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
#[rustfmt::skip]
pub const METRICS: &[Description] = &[
    ("forebay_requests_total", Shape::Counter, Unit::Count, &["instance"], "Requests that came to an instance's path"),
    ("forebay_rejected_total", Shape::Counter, Unit::Count, &["instance", "reason"], "Requests that were not accepted"),
    ("forebay_former_secret_accepted_total", Shape::Counter, Unit::Count, &["instance", "secret"], "Requests that only a former value of a secret proved, or a former public URL (`receiver.url`)"),
    ("forebay_key_fetches_total", Shape::Counter, Unit::Count, &[], "Calls for keys that vendors publish"),
    ("forebay_accept_errors_total", Shape::Counter, Unit::Count, &[], "Connections that could not be accepted"),
    ("forebay_tls_errors_total", Shape::Counter, Unit::Count, &[], "Connections that did not get through the TLS handshake"),
    ("forebay_certificate_left_seconds", Shape::Gauge, Unit::Seconds, &[], "Time until the certificate of the receiver expires; negative once it has"),
    ("forebay_proxy_header_errors_total", Shape::Counter, Unit::Count, &[], "Connections closed because a PROXY protocol header was missing or wrong, or the peer is no trusted proxy"),
    ("forebay_connections_evicted_total", Shape::Counter, Unit::Count, &[], "Connections that were closed to make room for others"),
    ("forebay_answer_seconds", Shape::Histogram, Unit::Seconds, &["instance"], "Time from the head of a request to its answer"),
    ("forebay_received_total", Shape::Counter, Unit::Count, &["instance"], "Records that verified requests brought, before they are stored"),
    ("forebay_accepted_total", Shape::Counter, Unit::Count, &["instance"], "Records taken charge of: stored, duplicates and dead letters"),
    ("forebay_duplicates_total", Shape::Counter, Unit::Count, &["instance"], "Records dropped because the same bytes under the same id are stored"),
    ("forebay_dead_letters_total", Shape::Counter, Unit::Count, &["instance", "reason"], "Records and bodies that could not be accepted or delivered, kept with their reason"),
    ("forebay_records_by_type_total", Shape::Counter, Unit::Count, &["instance", "type"], "Records by the known types of the connector; the rest are `other`"),
    ("forebay_last_accepted_timestamp_seconds", Shape::Gauge, Unit::Seconds, &["instance"], "When records were last accepted, since 1970"),
    ("forebay_last_event_age_seconds", Shape::Gauge, Unit::Seconds, &["instance"], "Time since records were last accepted"),
    ("forebay_rules_total", Shape::Counter, Unit::Count, &["instance", "rule", "outcome"], "Requests that a rule of the receiver took, by what became of them"),
    ("forebay_rule_runs_total", Shape::Counter, Unit::Count, &["instance"], "Operations that messages of the vendor asked for"),
    ("forebay_stream_left_seconds", Shape::Gauge, Unit::Seconds, &["instance"], "Time until the stream runs out, where it has a lifetime"),
    ("forebay_sync_seconds", Shape::Histogram, Unit::Seconds, &[], "Time of one commit to the store, its sync included"),
    ("forebay_queue_bytes", Shape::Gauge, Unit::Bytes, &[], "Bytes of the store"),
    ("forebay_dead_letters_held", Shape::Gauge, Unit::Count, &[], "Dead letters that the store holds"),
    ("forebay_lost_records_total", Shape::Counter, Unit::Count, &[], "Records in damaged parts of the store, which are kept aside and not delivered"),
    ("forebay_store_logs_missing_total", Shape::Counter, Unit::Count, &[], "Openings that found a store without its write-ahead log, though it was not closed cleanly"),
    ("forebay_delivered_total", Shape::Counter, Unit::Count, &["instance", "sink"], "Records that are safe in a sink"),
    ("forebay_delivered_bytes_total", Shape::Counter, Unit::Bytes, &["instance", "sink"], "Bytes of the records that a sink is done with"),
    ("forebay_sink_lag_records", Shape::Gauge, Unit::Count, &["instance", "sink"], "Stored records that a sink has not got yet"),
    ("forebay_sink_retries_total", Shape::Counter, Unit::Count, &["instance", "sink"], "Deliveries that failed and are tried again"),
    ("forebay_sink_blocked", Shape::Gauge, Unit::Count, &["instance", "sink"], "1 while a sink refuses records in a way that takes a change by an operator"),
    ("forebay_stream_status", Shape::Gauge, Unit::Count, &["instance", "status"], "1 for the status that the vendor's side has, 0 for the others"),
    ("forebay_provision_total", Shape::Counter, Unit::Count, &["instance", "resource", "what"], "What provisioning did to a resource"),
    ("forebay_provision_failures_total", Shape::Counter, Unit::Count, &["instance"], "Looks at the vendor's side that failed"),
    ("forebay_ready", Shape::Gauge, Unit::Count, &[], "1 while an instance can take events, as `/readyz` says"),
    ("forebay_condition", Shape::Gauge, Unit::Count, &["code", "severity", "instance", "sink"], "Conditions of this code that hold now; 0 once they ended"),
    ("forebay_conditions_dropped_total", Shape::Counter, Unit::Count, &[], "Conditions that were logged and not listed because the list was full"),
    ("forebay_log_lines_dropped_total", Shape::Counter, Unit::Count, &[], "Lines of the log that were dropped because standard error was not read"),
    ("forebay_instances_refused_total", Shape::Counter, Unit::Count, &["instance"], "Instances that the vendor refused for good"),
];

/// Installs the process's recorder. The handle gives the text of `/metrics`.
pub fn install() -> Result<PrometheusHandle> {
    let failed = |error| Error::new(Kind::Io, "the metrics cannot be set up").because(error);
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)
        .map_err(|error| failed(error.to_string()))?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(error.to_string()))?;
    for (name, shape, unit, _, meaning) in METRICS {
        match shape {
            Shape::Counter => describe_counter!(*name, *unit, *meaning),
            Shape::Gauge => describe_gauge!(*name, *unit, *meaning),
            Shape::Histogram => describe_histogram!(*name, *unit, *meaning),
        }
    }
    Ok(handle)
}

/// Keeps the lag of the sinks current until the signal, and has the recorder fold its samples, which it would
/// otherwise pile up until somebody asks for them.
pub async fn keep_current(
    handle: PrometheusHandle,
    store: Arc<Local>,
    instances: BTreeSet<InstanceId>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        handle.run_upkeep();
        match store.lags().await {
            Ok(lags) => lags
                .iter()
                .filter(|(id, ..)| instances.contains(id))
                .for_each(|(id, sink, n)| lag(id, sink, *n)),
            Err(error) => tracing::debug!(%error, "the lag of the sinks is not known"),
        }
        tokio::select! {
            // An error means that nobody is left to give the signal.
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn lag(instance: &InstanceId, sink: &str, behind: u64) {
    metrics::gauge!("forebay_sink_lag_records", "instance" => instance.to_string(), "sink" => sink.to_owned())
        .set(behind as f64);
}
