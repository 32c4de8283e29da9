//! What requests count.
//!
//! No label comes from a request: hosts that scanners make up never become series. What each request counts
//! lies in plain numbers that belong to its route and are gone with it; the rest goes through the registry.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use k8s::{model::ServiceName, telemetry::SECONDS_BUCKETS};
use metrics::{Counter, counter, describe_counter};

/// Answers by entry point, route and status class.
pub const REQUESTS: &str = "doorward_http_requests_total";
/// From a request's head to the end of its response; streams and WebSockets count in full.
pub const DURATION: &str = "doorward_http_request_duration_seconds";
/// Tries at an endpoint that failed, by entry point and route.
pub const UPSTREAM_FAILURES: &str = "doorward_http_upstream_failures_total";
/// Connections that are not HTTP, and clients' datagrams, that have ended, by entry point, route and whether well.
pub const STREAMS: &str = "doorward_streams_total";
/// What they carried, by entry point, route and sender.
pub const STREAM_BYTES: &str = "doorward_stream_bytes_total";
/// How often an endpoint was left alone because it failed, by Service.
pub const UPSTREAM_EJECTIONS: &str = "doorward_upstream_ejections_total";
/// Requests that a mirror should have got and did not, by Service.
pub const MIRRORS_LOST: &str = "doorward_mirrors_lost_total";
/// Access log lines that nobody took in time.
pub const LOG_LINES_LOST: &str = "doorward_access_log_lines_lost_total";

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The numbers of one route at one entry point, or of requests that found none. In an order in which what one request
/// counts lies together, as among a thousand routes none of it is near.
#[derive(Debug, Default)]
#[repr(C)]
pub struct RouteMetrics {
    microseconds: AtomicU64,
    classes: [AtomicU64; CLASSES.len()],
    /// Those that took at most so long, and longer than the bucket before; the last one has no bound.
    buckets: [AtomicU64; SECONDS_BUCKETS.len() + 1],
    upstream_failures: AtomicU64,
    streams: Streams,
}

#[derive(Debug, Default)]
struct Streams {
    ended: AtomicU64,
    failed: AtomicU64,
    bytes_of_clients: AtomicU64,
    bytes_of_backends: AtomicU64,
}

/// Entry point and route.
type Labels = (Arc<str>, String);

/// All that are in use.
#[derive(Debug, Default)]
pub struct Series(Mutex<BTreeMap<Labels, Weak<RouteMetrics>>>);

/// Once, at start.
pub fn describe() {
    describe_counter!(UPSTREAM_EJECTIONS, "Times that an endpoint was left alone because it failed");
    describe_counter!(MIRRORS_LOST, "Requests that a mirror should have got and did not");
    describe_counter!(LOG_LINES_LOST, "Access log lines dropped because the reader of standard output is slow");
}

pub fn upstream_ejections(service: &ServiceName) -> Counter {
    counter!(UPSTREAM_EJECTIONS, "service" => service.to_string())
}

pub fn mirrors_lost(service: &ServiceName) -> Counter {
    counter!(MIRRORS_LOST, "service" => service.to_string())
}

impl RouteMetrics {
    /// A status of 0 (the client was gone before an answer) counts nowhere.
    pub fn answered(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).checked_sub(1).and_then(|class| self.classes.get(class));
        let Some(class) = class else { return };
        class.fetch_add(1, Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = SECONDS_BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS_BUCKETS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn upstream_failed(&self) {
        self.upstream_failures.fetch_add(1, Relaxed);
    }

    /// It has failed where it was refused, or broke off.
    pub fn stream_ended(&self, bytes_of_client: u64, bytes_of_backend: u64, has_failed: bool) {
        let Streams { ended, failed, bytes_of_clients, bytes_of_backends } = &self.streams;
        if has_failed { failed } else { ended }.fetch_add(1, Relaxed);
        bytes_of_clients.fetch_add(bytes_of_client, Relaxed);
        bytes_of_backends.fetch_add(bytes_of_backend, Relaxed);
    }
}

impl Series {
    /// The same for as long as somebody holds it. `route` is `namespace/name`, or empty for requests without one.
    pub fn of(&self, entry_point: &Arc<str>, route: String) -> Arc<RouteMetrics> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.entry((Arc::clone(entry_point), route)).or_default();
        place.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *place = Arc::downgrade(&new);
            new
        })
    }

    /// In the text format of Prometheus. What has counted nothing is left out.
    pub fn render(&self) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, metrics| metrics.strong_count() > 0);
        let series: Vec<(String, Arc<RouteMetrics>)> = known
            .iter()
            .filter_map(|((entry_point, route), metrics)| {
                Some((format!("entry_point=\"{entry_point}\",route=\"{route}\""), metrics.upgrade()?))
            })
            .collect();
        drop(known);

        let mut out = String::new();
        // A String takes everything.
        let _ = render(&series, &mut out);
        out
    }
}

/// Label values are names of objects and of entry points, in which nothing needs to be escaped.
fn render(series: &[(String, Arc<RouteMetrics>)], out: &mut String) -> std::fmt::Result {
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
    };
    head(out, REQUESTS, "counter", "HTTP answers by entry point, route and status class")?;
    for (labels, metrics) in series {
        for (class, count) in CLASSES.iter().zip(&metrics.classes) {
            let count = count.load(Relaxed);
            if count > 0 {
                writeln!(out, "{REQUESTS}{{{labels},status=\"{class}\"}} {count}")?;
            }
        }
    }
    head(out, DURATION, "histogram", "Seconds from a request's head to the end of its response")?;
    for (labels, metrics) in series {
        let mut count = 0;
        let bounds = SECONDS_BUCKETS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let rows: Vec<_> = bounds
            .zip(&metrics.buckets)
            .map(|(bound, bucket)| {
                count += bucket.load(Relaxed);
                (bound, count)
            })
            .collect();
        if count > 0 {
            for (bound, up_to) in rows {
                writeln!(out, "{DURATION}_bucket{{{labels},le=\"{bound}\"}} {up_to}")?;
            }
            let seconds = Duration::from_micros(metrics.microseconds.load(Relaxed)).as_secs_f64();
            writeln!(out, "{DURATION}_sum{{{labels}}} {seconds}\n{DURATION}_count{{{labels}}} {count}")?;
        }
    }
    head(out, UPSTREAM_FAILURES, "counter", "Tries at an endpoint that failed")?;
    for (labels, metrics) in series {
        let count = metrics.upstream_failures.load(Relaxed);
        if count > 0 {
            writeln!(out, "{UPSTREAM_FAILURES}{{{labels}}} {count}")?;
        }
    }
    let pairs = [
        (STREAMS, "Connections that are not HTTP, and UDP sessions, that have ended", "result", ["ended", "failed"]),
        (STREAM_BYTES, "Bytes in connections that are not HTTP, and in UDP sessions", "from", ["client", "backend"]),
    ];
    for (name, help, label, values) in pairs {
        head(out, name, "counter", help)?;
        for (labels, metrics) in series {
            let Streams { ended, failed, bytes_of_clients, bytes_of_backends } = &metrics.streams;
            let counts = if name == STREAMS { [ended, failed] } else { [bytes_of_clients, bytes_of_backends] };
            for (value, count) in values.iter().zip(counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    writeln!(out, "{name}{{{labels},{label}=\"{value}\"}} {count}")?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_counts_what_it_answered_and_how_long_that_took() {
        let series = Series::default();
        let lan: Arc<str> = "lan".into();
        let app = series.of(&lan, "default/app".to_owned());
        app.answered(200, Duration::from_micros(400));
        series.of(&lan, "default/app".to_owned()).answered(204, Duration::from_millis(2));
        app.answered(502, Duration::from_secs(300));
        app.answered(0, Duration::from_secs(1));
        app.upstream_failed();
        app.stream_ended(5, 7, false);
        app.stream_ended(1, 0, true);
        let quiet = series.of(&lan, "default/quiet".to_owned());
        let text = series.render();
        let labels = "entry_point=\"lan\",route=\"default/app\"";
        for line in [
            format!("{REQUESTS}{{{labels},status=\"2xx\"}} 2"),
            format!("{REQUESTS}{{{labels},status=\"5xx\"}} 1"),
            format!("{DURATION}_bucket{{{labels},le=\"0.0005\"}} 1"),
            format!("{DURATION}_bucket{{{labels},le=\"0.0025\"}} 2"),
            format!("{DURATION}_bucket{{{labels},le=\"120\"}} 2"),
            format!("{DURATION}_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("{DURATION}_sum{{{labels}}} 300.0024"),
            format!("{DURATION}_count{{{labels}}} 3"),
            format!("{UPSTREAM_FAILURES}{{{labels}}} 1"),
            format!("{STREAMS}{{{labels},result=\"ended\"}} 1"),
            format!("{STREAMS}{{{labels},result=\"failed\"}} 1"),
            format!("{STREAM_BYTES}{{{labels},from=\"client\"}} 6"),
            format!("{STREAM_BYTES}{{{labels},from=\"backend\"}} 7"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains("quiet"), "{text}");

        drop((app, quiet));
        assert!(!series.render().contains("app"), "gone with its route");
    }
}
