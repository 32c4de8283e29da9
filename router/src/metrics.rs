//! What requests count, by handles that are made when a dataplane is compiled.
//!
//! No label comes from a request: hosts that scanners make up never become series.

use std::time::Duration;

use k8s::model::ServiceName;
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

/// Answers by entry point, route and status class.
pub const REQUESTS: &str = "doorward_http_requests_total";
/// From a request's head to the end of its response; streams and WebSockets count in full.
pub const DURATION: &str = "doorward_http_request_duration_seconds";
/// Tries at an endpoint that failed, by entry point and route.
pub const UPSTREAM_FAILURES: &str = "doorward_http_upstream_failures_total";
/// How often an endpoint was left alone because it failed, by Service.
pub const UPSTREAM_EJECTIONS: &str = "doorward_upstream_ejections_total";
/// Access log lines that nobody took in time.
pub const LOG_LINES_LOST: &str = "doorward_access_log_lines_lost_total";

/// The series of one route at one entry point, or of requests that found none.
pub struct RouteMetrics {
    classes: [Counter; 5],
    duration: Histogram,
    pub upstream_failures: Counter,
}

/// Once, at start.
pub fn describe() {
    describe_counter!(REQUESTS, "HTTP answers by entry point, route and status class");
    describe_histogram!(DURATION, "Seconds from a request's head to the end of its response");
    describe_counter!(UPSTREAM_FAILURES, "Tries at an endpoint that failed");
    describe_counter!(UPSTREAM_EJECTIONS, "Times that an endpoint was left alone because it failed");
    describe_counter!(LOG_LINES_LOST, "Access log lines dropped because the reader of standard output is slow");
}

pub fn upstream_ejections(service: &ServiceName) -> Counter {
    counter!(UPSTREAM_EJECTIONS, "service" => service.to_string())
}

impl RouteMetrics {
    /// `route` is `namespace/name`, or empty for requests without one.
    pub fn new(entry_point: &str, route: &str) -> Self {
        let labels = [("entry_point", entry_point.to_owned()), ("route", route.to_owned())];
        let class = |class: &'static str| counter!(REQUESTS, "entry_point" => entry_point.to_owned(), "route" => route.to_owned(), "status" => class);
        Self {
            classes: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx")],
            duration: histogram!(DURATION, &labels),
            upstream_failures: counter!(UPSTREAM_FAILURES, &labels),
        }
    }

    /// A status of 0 (the client was gone before an answer) counts nowhere.
    pub fn answered(&self, status: u16, took: Duration) {
        if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|class| self.classes.get(class)) {
            class.increment(1);
            self.duration.record(took.as_secs_f64());
        }
    }
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteMetrics")
    }
}
