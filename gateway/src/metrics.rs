//! What `gateway` counts. The names and labels of queries are CoreDNS', so that its dashboards go on working.
//!
//! The hot path counts in plain numbers that belong to one socket each; they are added up when
//! somebody asks. The rest goes through the registry.

use std::{
    fmt::Write,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use k8s::config::Config;
use metrics::gauge;

use crate::{
    reference::{About, Transport},
    view::Views,
    zone::Part,
};

/// Names with records, by zone.
pub(crate) const NAMES: &str = "doorward_dns_names";
/// Empty non-terminals that keep a wildcard from answering, by zone.
pub(crate) const SHADOWED: &str = "doorward_dns_shadowed_wildcards";
/// Claims that another one on the same name comes before, by zone.
pub(crate) const OUTRANKED: &str = "doorward_dns_outranked_claims";
/// When the zones were last replaced, in seconds since 1970.
pub(crate) const CHANGED: &str = "doorward_dns_zones_changed_timestamp_seconds";

const REQUESTS: &str = "coredns_dns_requests_total";
const RESPONSES: &str = "coredns_dns_responses_total";
const DURATION: &str = "coredns_dns_request_duration_seconds";
const REQUEST_SIZE: &str = "coredns_dns_request_size_bytes";
const RESPONSE_SIZE: &str = "coredns_dns_response_size_bytes";
const PANICS: &str = "coredns_panics_total";
const BUILD_INFO: &str = "coredns_build_info";
const DROPPED: &str = "doorward_dns_dropped_total";
const TCP_OPEN: &str = "doorward_dns_tcp_connections";
const TCP_REFUSED: &str = "doorward_dns_tcp_refused_total";
const FORWARDED: &str = "doorward_dns_forwarded_total";

/// The types that are told apart, as CoreDNS tells them.
const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (28, "AAAA"),
    (5, "CNAME"),
    (48, "DNSKEY"),
    (43, "DS"),
    (65, "HTTPS"),
    (15, "MX"),
    (35, "NAPTR"),
    (2, "NS"),
    (12, "PTR"),
    (6, "SOA"),
    (33, "SRV"),
    (64, "SVCB"),
    (16, "TXT"),
    (255, "ANY"),
];
const N_TYPES: usize = TYPES.len() + 1;

const RCODES: &[(u16, &str)] =
    &[(0, "NOERROR"), (1, "FORMERR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (4, "NOTIMP"), (5, "REFUSED"), (16, "BADVERS")];
const N_RCODES: usize = RCODES.len() + 1;

/// Upper bounds in nanoseconds: an answer takes some microseconds, one from the upstream milliseconds.
const NANOSECONDS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    2_500_000_000,
];
/// CoreDNS' own.
const BYTES: &[u64] = &[0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// A response, or too short for a header.
    NoQuery,
    /// From outside `dns.clients`.
    Stranger,
    /// The same question again and again while there is nothing to answer with.
    NotReady,
}

const DROPS: &[(Dropped, &str)] =
    &[(Dropped::NoQuery, "no query"), (Dropped::Stranger, "stranger"), (Dropped::NotReady, "not ready")];

/// All that is counted outside the registry.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// The apex of each configured zone, and `.` for everything else.
    zones: Vec<String>,
    /// The name of each view, the default one's empty.
    views: Vec<String>,
    shards: Vec<Arc<Shard>>,
    pub(crate) panics: AtomicU64,
    pub(crate) tcp_open: AtomicU64,
    pub(crate) tcp_refused: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) forward_failures: AtomicU64,
}

/// The numbers of one socket.
#[derive(Debug)]
pub(crate) struct Shard {
    /// By view, then zone.
    cells: Vec<Cell>,
    n_zones: usize,
    dropped: [AtomicU64; DROPS.len()],
}

#[derive(Debug, Default)]
struct Cell {
    /// By transport and address family, then type.
    requests: [[AtomicU64; N_TYPES]; 4],
    responses: [AtomicU64; N_RCODES],
    duration: Histogram<{ NANOSECONDS.len() + 1 }>,
    request_size: [Histogram<{ BYTES.len() + 1 }>; 2],
    response_size: [Histogram<{ BYTES.len() + 1 }>; 2],
}

#[derive(Debug)]
struct Histogram<const N: usize> {
    /// Not cumulative.
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

/// One answered query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) about: About,
    pub(crate) rcode: u16,
    pub(crate) transport: Transport,
    pub(crate) client: IpAddr,
    /// Of the request and the response, in bytes.
    pub(crate) sizes: (usize, usize),
}

impl Sample {
    pub(crate) fn new(about: About, rcode: u16, transport: Transport, client: IpAddr, sizes: (usize, usize)) -> Self {
        Self { about, rcode, transport, client, sizes }
    }
}

impl Metrics {
    /// `n_shards` sockets will count.
    pub(crate) fn new(config: &Config, n_shards: usize) -> Self {
        metrics::describe_gauge!(NAMES, "Names with records, by zone");
        metrics::describe_gauge!(SHADOWED, "Empty non-terminals that keep a wildcard from answering, by zone");
        metrics::describe_gauge!(OUTRANKED, "Claims that another one on the same name comes before, by zone");
        metrics::describe_gauge!(CHANGED, "When the zones were last replaced");
        let zones = config.zones.iter().map(|zone| format!("{}.", zone.name)).chain([".".to_owned()]).collect();
        let views: Vec<String> =
            std::iter::once(String::new()).chain(config.dns.views.iter().map(|view| view.name.to_string())).collect();
        let n_zones = config.zones.len() + 1;
        let shard = || Shard {
            cells: (0..views.len() * n_zones).map(|_| Cell::default()).collect(),
            n_zones,
            dropped: Default::default(),
        };
        let shards = (0..n_shards).map(|_| Arc::new(shard())).collect();
        Self { zones, views, shards, ..Self::default() }
    }

    pub(crate) fn shard(&self, index: usize) -> Arc<Shard> {
        Arc::clone(&self.shards[index % self.shards.len()])
    }

    /// After the zones were replaced. Reverse zones come and go, and gauges stay: only configured ones have some.
    pub(crate) fn changed(&self, views: &Views, now: SystemTime) {
        for zone in views.default_zones().iter().filter(|zone| zone.configured.is_some()) {
            let names = zone.nodes().filter(|(_, node)| !node.rrsets.is_empty()).count();
            gauge!(NAMES, "zone" => zone.apex.to_string()).set(names as f64);
            gauge!(SHADOWED, "zone" => zone.apex.to_string()).set(zone.shadowed().len() as f64);
            let claims = zone.nodes().flat_map(|(_, node)| &node.claims);
            let outranked = claims.filter(|claim| claim.part == Part::Outranked).count();
            gauge!(OUTRANKED, "zone" => zone.apex.to_string()).set(outranked as f64);
        }
        gauge!(CHANGED).set(now.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64()));
    }

    /// In the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        self.render_queries(&mut out);
        let mut single = |name: &str, kind: &str, help: &str, value: u64| {
            family(&mut out, name, kind, help);
            line(&mut out, name, "", value);
        };
        single(PANICS, "counter", "Queries whose handling has panicked", self.panics.load(Relaxed));
        single(TCP_OPEN, "gauge", "Open DNS connections", self.tcp_open.load(Relaxed));
        single(TCP_REFUSED, "counter", "DNS connections closed at once: too many", self.tcp_refused.load(Relaxed));
        family(&mut out, FORWARDED, "counter", "Questions handed to the upstream, by result");
        line(&mut out, FORWARDED, "result=\"answered\"", self.forwarded.load(Relaxed));
        line(&mut out, FORWARDED, "result=\"failed\"", self.forward_failures.load(Relaxed));
        family(&mut out, DROPPED, "counter", "Messages without an answer, by reason");
        for (index, (_, reason)) in DROPS.iter().enumerate() {
            let sum = self.shards.iter().map(|shard| shard.dropped[index].load(Relaxed)).sum();
            line(&mut out, DROPPED, &format!("reason=\"{reason}\""), sum);
        }
        family(&mut out, BUILD_INFO, "gauge", "What stands in for CoreDNS here");
        line(&mut out, BUILD_INFO, concat!("version=\"doorward-", env!("CARGO_PKG_VERSION"), "\""), 1);
        out
    }

    fn render_queries(&self, out: &mut String) {
        family(out, REQUESTS, "counter", "DNS requests by server, zone, view, transport, family and type");
        self.each_cell(|cells, labels| {
            for (index, (transport, family)) in [("udp", 1), ("udp", 2), ("tcp", 1), ("tcp", 2)].iter().enumerate() {
                let names = TYPES.iter().map(|(_, name)| *name).chain(["other"]);
                for (number, name) in names.enumerate() {
                    let sum: u64 = cells.iter().map(|cell| cell.requests[index][number].load(Relaxed)).sum();
                    if sum > 0 {
                        let labels = format!("{labels},proto=\"{transport}\",family=\"{family}\",type=\"{name}\"");
                        line(out, REQUESTS, &labels, sum);
                    }
                }
            }
        });
        family(out, RESPONSES, "counter", "DNS responses by server, zone, view, rcode and plugin");
        self.each_cell(|cells, labels| {
            for (number, name) in RCODES.iter().map(|(_, name)| *name).chain(["other"]).enumerate() {
                let sum: u64 = cells.iter().map(|cell| cell.responses[number].load(Relaxed)).sum();
                if sum > 0 {
                    line(out, RESPONSES, &format!("{labels},rcode=\"{name}\",plugin=\"doorward\""), sum);
                }
            }
        });
        family(out, DURATION, "histogram", "Seconds from a query's arrival to its answer");
        self.each_cell(|cells, labels| {
            histogram(out, DURATION, labels, cells.iter().map(|cell| &cell.duration), NANOSECONDS, 1e9);
        });
        family(out, REQUEST_SIZE, "histogram", "Bytes of requests");
        self.each_cell(|cells, labels| {
            for (index, transport) in ["udp", "tcp"].iter().enumerate() {
                let labels = format!("{labels},proto=\"{transport}\"");
                histogram(out, REQUEST_SIZE, &labels, cells.iter().map(|cell| &cell.request_size[index]), BYTES, 1.0);
            }
        });
        family(out, RESPONSE_SIZE, "histogram", "Bytes of responses");
        self.each_cell(|cells, labels| {
            for (index, transport) in ["udp", "tcp"].iter().enumerate() {
                let labels = format!("{labels},proto=\"{transport}\"");
                histogram(out, RESPONSE_SIZE, &labels, cells.iter().map(|cell| &cell.response_size[index]), BYTES, 1.0);
            }
        });
    }

    /// The cells of all sockets for each zone of each view, with their labels.
    fn each_cell(&self, mut each: impl FnMut(&[&Cell], &str)) {
        for (place, view) in self.views.iter().enumerate() {
            for (number, zone) in self.zones.iter().enumerate() {
                let index = place * self.zones.len() + number;
                let cells: Vec<&Cell> = self.shards.iter().filter_map(|shard| shard.cells.get(index)).collect();
                each(&cells, &format!("server=\"dns://:53\",zone=\"{zone}\",view=\"{view}\""));
            }
        }
    }
}

impl Shard {
    pub(crate) fn answered(&self, sample: &Sample, took: Duration) {
        let Sample { about, rcode, transport, client, sizes: (request_size, response_size) } = *sample;
        let zone = about.zone.map_or(self.n_zones - 1, |zone| zone.min(self.n_zones - 1));
        let Some(cell) = self.cells.get(about.view * self.n_zones + zone) else { return };
        let number = TYPES.iter().position(|(kind, _)| *kind == about.kind).unwrap_or(TYPES.len());
        let by_transport = usize::from(transport == Transport::Tcp);
        let row = by_transport * 2 + usize::from(client.is_ipv6());
        cell.requests[row][number].fetch_add(1, Relaxed);
        let number = RCODES.iter().position(|(code, _)| *code == rcode).unwrap_or(RCODES.len());
        cell.responses[number].fetch_add(1, Relaxed);
        cell.duration.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), NANOSECONDS);
        cell.request_size[by_transport].record(request_size as u64, BYTES);
        cell.response_size[by_transport].record(response_size as u64, BYTES);
    }

    pub(crate) fn dropped(&self, why: Dropped) {
        if let Some(index) = DROPS.iter().position(|(known, _)| *known == why) {
            self.dropped[index].fetch_add(1, Relaxed);
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn record(&self, value: u64, bounds: &[u64]) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(N - 1);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        _ => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

/// Nothing for what has never happened. `scale` of the recorded values are one of the metric's unit.
fn histogram<'a, const N: usize>(
    out: &mut String,
    name: &str,
    labels: &str,
    parts: impl Iterator<Item = &'a Histogram<N>>,
    bounds: &[u64],
    scale: f64,
) {
    let (mut buckets, mut sum) = ([0; N], 0);
    for part in parts {
        buckets.iter_mut().zip(&part.buckets).for_each(|(total, part)| *total += part.load(Relaxed));
        sum += part.sum.load(Relaxed);
    }
    let count: u64 = buckets.iter().sum();
    if count == 0 {
        return;
    }
    let mut cumulative = 0;
    for (bound, bucket) in bounds.iter().zip(&buckets) {
        cumulative += bucket;
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{}\"}} {cumulative}", *bound as f64 / scale);
    }
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", sum as f64 / scale);
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}
