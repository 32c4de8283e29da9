//! Names and handles of what `gateway` counts. Handles are made once: looking one up costs more than answering.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use metrics::{Counter, Histogram, counter, gauge, histogram};

use crate::zone::Zones;

/// Answers, by transport and rcode. Not among them is the FORMERR that hickory-server sends to what it
/// cannot read, which never comes to us.
pub(crate) const RESPONSES: &str = "doorward_dns_responses_total";
/// From the query's arrival in the handler to its answer.
pub(crate) const DURATION: &str = "doorward_dns_request_duration_seconds";
/// Names with addresses, by zone.
pub(crate) const NAMES: &str = "doorward_dns_names";

const RCODES: &[(ResponseCode, &str)] = &[
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::Refused, "REFUSED"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::BADVERS, "BADVERS"),
    (ResponseCode::ServFail, "SERVFAIL"),
];

#[derive(Clone)]
pub(crate) struct Metrics {
    udp: Vec<Counter>,
    tcp: Vec<Counter>,
    duration: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(RESPONSES, "DNS answers by transport and rcode");
        metrics::describe_gauge!(NAMES, "Names with addresses, by zone");
        metrics::describe_histogram!(DURATION, "Seconds from a query's arrival to its answer");
        let by_rcode = |transport: &'static str| {
            RCODES.iter().map(|(_, rcode)| counter!(RESPONSES, "transport" => transport, "rcode" => *rcode)).collect()
        };
        Self { udp: by_rcode("udp"), tcp: by_rcode("tcp"), duration: histogram!(DURATION) }
    }

    pub(crate) fn answered(&self, is_udp: bool, rcode: ResponseCode, took: Duration) {
        let counters = if is_udp { &self.udp } else { &self.tcp };
        if let Some(index) = RCODES.iter().position(|(known, _)| *known == rcode) {
            counters[index].increment(1);
        }
        self.duration.record(took.as_secs_f64());
    }

    pub(crate) fn names(&self, zones: &Zones) {
        for zone in zones.iter() {
            let names = zones.names().filter(|(of, _, _)| *of == zone).count();
            gauge!(NAMES, "zone" => zone.apex.to_string()).set(names as f64);
        }
    }
}
