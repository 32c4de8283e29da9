//! The sockets, and what every one of them does with a message.

mod not_ready;
mod tcp;
mod tls;
mod udp;

use std::{
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::Context;
use ipnet::IpNet;
use k8s::{
    config::{Config, Strangers},
    telemetry::now_and_then,
};
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::tcp::Admission;
use crate::{
    SharedViews,
    forward::Upstream,
    metrics::Metrics,
    reference::{self, Outcome, Policy, Transport},
    view::Views,
};

/// The open sockets, answering.
pub(crate) struct Listening {
    sockets: JoinSet<anyhow::Result<()>>,
    is_closing: Arc<AtomicBool>,
}

/// What all sockets answer with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answering {
    views: SharedViews,
    pub(crate) policy: Arc<Policy>,
    upstream: Option<Arc<Upstream>>,
    clients: Arc<[IpNet]>,
    strangers: Strangers,
    metrics: Arc<Metrics>,
}

impl Answering {
    pub(crate) fn new(views: SharedViews, config: &Config, metrics: Arc<Metrics>) -> Self {
        let dns = &config.dns;
        Self {
            views,
            policy: Arc::new(policy(config)),
            upstream: dns.forward_to.map(|upstream| Arc::new(Upstream::new(upstream))),
            clients: dns.clients.clone().into(),
            strangers: dns.strangers,
            metrics,
        }
    }

    fn knows(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.clients.iter().any(|network| network.contains(&client))
    }

    /// What [`reference`] makes of it; a panic there costs one answer.
    fn respond(&self, views: Option<&Views>, message: &[u8], client: IpAddr, transport: Transport) -> Outcome {
        self.unharmed(message, client, || reference::respond(views, &self.policy, message, client, transport))
            .unwrap_or(Outcome::Dropped)
    }

    /// None where `handle` has panicked, which is counted and reported: nothing that comes from the network ends the program.
    fn unharmed<T>(&self, message: &[u8], client: IpAddr, handle: impl FnOnce() -> T) -> Option<T> {
        let handled = catch_unwind(AssertUnwindSafe(handle));
        if handled.is_err() {
            let beginning = message.get(..300).unwrap_or(message);
            if self.metrics.panics.fetch_add(1, Relaxed) < REPORTS {
                error!(%client, query = ?beginning, "a query has made the program panic: please report it");
            }
        }
        handled.ok()
    }
}

pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        forwarders: config.dns.forwarders.clone(),
        forward_to: config.dns.forward_to.map(|upstream| upstream.ip()),
        identity: config.dns.identify.then(host_name),
    }
}

/// The pod's name in a cluster.
fn host_name() -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(kernel).unwrap_or_default();
    match name.trim() {
        "" => "doorward".to_owned(),
        name => name.to_owned(),
    }
}

/// Panics that are logged: after these it is known.
const REPORTS: u64 = 10;

/// UDP sockets on each address: one for each core, so that the kernel spreads clients over threads. More than a few
/// earn nothing where one resolver asks for all.
fn sockets_on_each() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// How many sockets [`open`] opens, each of which counts for itself.
pub(crate) fn n_sockets(config: &Config) -> usize {
    config.dns.listen.len() * (sockets_on_each() + 1) + config.dns.tls.iter().map(|tls| tls.listen.len()).sum::<usize>()
}

/// Opens UDP, TCP and TLS on every address that the configuration names.
pub(crate) async fn open(config: &Config, answering: &Answering) -> anyhow::Result<Listening> {
    let is_closing = Arc::new(AtomicBool::new(false));
    let mut listening = Listening { sockets: JoinSet::new(), is_closing: Arc::clone(&is_closing) };
    let admission = Arc::new(Admission::new(config.dns.forwarders.clone()));
    let speaks_ipv6 = Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok();
    let mut n_opened = 0;
    let mut shard = || {
        n_opened += 1;
        answering.metrics.shard(n_opened - 1)
    };

    for address in spoken("dns.listen", &config.dns.listen, speaks_ipv6)? {
        // TCP first: of two gateways on one address only the second is refused, whose UDP would steal queries.
        let listener = tcp::bind(address).with_context(|| cannot_listen(address))?;
        for _ in 0..sockets_on_each() {
            let socket = udp::bind(address).with_context(|| cannot_listen(address))?;
            let (answering, shard, is_closing) = (answering.clone(), shard(), Arc::clone(&is_closing));
            let runtime = tokio::runtime::Handle::current();
            listening.sockets.spawn_blocking(move || {
                udp::serve(socket, &answering, &shard, &runtime, &is_closing)
                    .with_context(|| format!("UDP {address} has died"))
            });
        }
        let serve = tcp::serve(listener, None, answering.clone(), shard(), Arc::clone(&admission));
        listening.sockets.spawn(async move { serve.await.with_context(|| format!("TCP {address} has died")) });
        info!(%address, "DNS open on UDP and TCP");
    }
    if let Some(tls) = &config.dns.tls {
        let acceptor = tls::follow(tls)?;
        for address in spoken("dns.tls.listen", &tls.listen, speaks_ipv6)? {
            let listener = tcp::bind(address).with_context(|| cannot_listen(address))?;
            let serve =
                tcp::serve(listener, Some(Arc::clone(&acceptor)), answering.clone(), shard(), Arc::clone(&admission));
            listening.sockets.spawn(async move { serve.await.with_context(|| format!("TLS {address} has died")) });
            info!(%address, "DNS open on TLS");
        }
    }
    Ok(listening)
}

fn cannot_listen(address: SocketAddr) -> String {
    format!(
        "cannot listen on {address} for DNS; is another server there, or does port {} need CAP_NET_BIND_SERVICE?",
        address.port()
    )
}

impl Listening {
    /// Ends with the first socket that has died, which nothing at run time can mend.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.sockets.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(panicked)) => anyhow::Error::new(panicked).context("a DNS socket has died"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a DNS socket was closed"),
        }
    }

    pub(crate) async fn close(mut self) {
        self.is_closing.store(true, Relaxed);
        // A thread that waits for a query looks up this often; the process ends then, with or without it.
        let _ = tokio::time::timeout(udp::LOOK_UP * 2, async {
            self.sockets.abort_all();
            while self.sockets.join_next().await.is_some() {}
        })
        .await;
    }
}

/// The addresses that this machine can open: the default has one of each kind, and a machine may be
/// without IPv6 (`ipv6.disable=1`).
fn spoken(key: &str, addresses: &[SocketAddr], speaks_ipv6: bool) -> anyhow::Result<Vec<SocketAddr>> {
    let (spoken, left_out): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() || speaks_ipv6);
    anyhow::ensure!(!spoken.is_empty(), "{key} has IPv6 addresses only, and this machine is without IPv6");
    for address in left_out {
        warn!(%address, "this machine is without IPv6: not open for DNS");
    }
    Ok(spoken)
}

fn socket(address: SocketAddr, kind: Type) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] stand beside each other in the default configuration.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// SERVFAIL where it has no whole header.
fn reply_code(reply: &[u8]) -> u16 {
    reply.get(3).map_or(2, |flags| u16::from(flags & 15))
}

#[cfg(test)]
mod tests;
