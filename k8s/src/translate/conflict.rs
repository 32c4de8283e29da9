//! Listeners of one Gateway that no connection could tell apart.

use std::{collections::HashMap, sync::Arc};

use super::listener::{Standing, protocol};
use crate::{gateway_api::Listener, model::ObjectName};

/// A condition's reason, and the listener that has what another one wants.
type Conflict = (&'static str, String);

/// The listeners that stand, of the objects that come before. A Gateway may have very many, of its ListenerSets.
#[derive(Default)]
pub(super) struct Claims<'a>(HashMap<(u16, bool), OnPort<'a>>);

/// Those on a port are all told by the same.
struct OnPort<'a> {
    told_by: ToldBy,
    first: Claim<'a>,
    by_host: HashMap<String, Claim<'a>>,
}

#[derive(Clone)]
struct Claim<'a> {
    name: &'a str,
    owner: Arc<ObjectName>,
}

impl<'a> Claims<'a> {
    /// Of one whole object. A listener that nothing can be served on is in nobody's way.
    pub(super) fn add(&mut self, listeners: &[Standing<'a>]) {
        for Standing { spec, owner, .. } in listeners.iter().filter(|it| it.listener.is_some()) {
            let claim = Claim { name: &spec.name, owner: Arc::clone(owner) };
            let on_port = self.0.entry(socket(spec)).or_insert_with(|| OnPort {
                told_by: told_by(spec),
                first: claim.clone(),
                by_host: HashMap::new(),
            });
            on_port.by_host.entry(host(spec)).or_insert(claim);
        }
    }

    fn winner(&self, spec: &Listener) -> Option<Conflict> {
        let there = self.0.get(&socket(spec))?;
        let (condition, Claim { name, owner }) = match told_by(spec) {
            told_by if told_by != there.told_by => ("ProtocolConflict", &there.first),
            ToldBy::Datagram | ToldBy::Nothing => ("ProtocolConflict", &there.first),
            ToldBy::Host | ToldBy::ServerName => ("HostnameConflict", there.by_host.get(&host(spec))?),
        };
        Some((condition, format!("listener {name} of {owner}")))
    }
}

/// What a listener loses to: first of those that come before its object, then of its `rivals` there, none of which wins.
pub(super) fn of(before: &Claims<'_>, spec: &Listener, rivals: &[Listener]) -> Option<Conflict> {
    before.winner(spec).or_else(|| {
        rivals.iter().filter(|other| !std::ptr::eq(spec, *other)).find_map(|other| {
            let alike = || (spec.name == other.name).then_some("HostnameConflict");
            // One that has lost already is in nobody's way either.
            let stands = || protocol(other).is_some() && before.winner(other).is_none();
            let condition = between(spec, other).filter(|_| stands()).or_else(alike)?;
            Some((condition, format!("listener {}", other.name)))
        })
    })
}

fn between(one: &Listener, other: &Listener) -> Option<&'static str> {
    let (a, b) = (told_by(one), told_by(other));
    match (socket(one) == socket(other), a == b) {
        (false, _) => None,
        (true, false) => Some("ProtocolConflict"),
        (true, true) if matches!(a, ToldBy::Datagram | ToldBy::Nothing) => Some("ProtocolConflict"),
        (true, true) => (host(one) == host(other)).then_some("HostnameConflict"),
    }
}

/// The port, and whether it is one of datagrams.
fn socket(listener: &Listener) -> (u16, bool) {
    (listener.port, told_by(listener) == ToldBy::Datagram)
}

fn host(listener: &Listener) -> String {
    listener.hostname.as_deref().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

/// What tells a listener's connections from those of others on its port.
#[derive(PartialEq, Eq)]
enum ToldBy {
    /// They are none, and UDP's ports are not TCP's.
    Datagram,
    Host,
    ServerName,
    Nothing,
}

fn told_by(listener: &Listener) -> ToldBy {
    match listener.protocol.as_str() {
        "HTTP" => ToldBy::Host,
        "HTTPS" | "TLS" => ToldBy::ServerName,
        "UDP" => ToldBy::Datagram,
        _ => ToldBy::Nothing,
    }
}
