//! One listener of a Gateway or a ListenerSet: what it carries, and what is wrong with it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::{
    Work,
    attachment::Door,
    certificate::{self, Role},
    client_validation, condition, conflict,
    filter::invalid,
    infrastructure::Transport,
    listener_filter,
    reference_grant::{From, To, granted},
};
use crate::{
    config,
    gateway_api::{self, GROUP},
    model::{Certificate, HostPattern, Labels, Listener, ListenerProtocol, ObjectName},
    problem::Reason,
    status::{Condition, ListenerStatus},
};

/// A listener, whether it stands or not, with the spec it comes from.
pub(super) struct Standing<'a> {
    pub(super) spec: &'a gateway_api::Listener,
    /// The Gateway or the ListenerSet that it is of.
    pub(super) owner: Arc<ObjectName>,
    /// The kinds of routes that it takes.
    pub(super) kinds: Vec<&'static str>,
    pub(super) verdict: Verdict,
    /// None for one that nothing can be served on.
    pub(super) listener: Option<Listener>,
    /// How many routes it has accepted.
    pub(super) attached: usize,
    /// Whether a connection that was opened for it is good for hosts of another one, too.
    pub(super) overlaps: bool,
}

/// What speaks against a listener.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) accepted: Option<Fault>,
    pub(super) conflicted: Option<Fault>,
    pub(super) resolved_refs: Option<Fault>,
    /// Beside what follows from the others.
    pub(super) programmed: Option<Fault>,
}

/// A condition's reason, and its message.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Standing<'_> {
    pub(super) fn is_accepted(&self) -> bool {
        self.verdict.accepted.is_none() && self.verdict.conflicted.is_none()
    }

    /// Whether everything that it says takes effect.
    pub(super) fn is_valid(&self) -> bool {
        self.is_accepted() && self.verdict.resolved_refs.is_none()
    }

    pub(super) fn is_programmed(&self) -> bool {
        self.not_programmed().is_none()
    }

    fn not_programmed(&self) -> Option<Fault> {
        let Verdict { accepted, conflicted, resolved_refs, programmed } = &self.verdict;
        // A reference that is wrong leaves what the others give.
        let unusable = resolved_refs.as_ref().filter(|_| programmed.is_none() && self.kinds.is_empty());
        let follows = accepted.as_ref().or(unusable).map(|fault| Fault::new("Invalid", fault.message.clone()));
        conflicted.clone().or(follows).or_else(|| programmed.clone())
    }

    pub(super) fn status(&self) -> ListenerStatus {
        let Verdict { accepted, conflicted, resolved_refs, .. } = &self.verdict;
        let holds_unless = |kind, fault: Option<&Fault>| match fault {
            Some(fault) => Condition::fails(kind, fault.reason, &fault.message),
            None => Condition::holds(kind),
        };
        let is_conflicted = match conflicted {
            Some(Fault { reason, message }) => {
                Condition { kind: "Conflicted", is_true: true, reason, message: message.clone() }
            }
            None => Condition::fails("Conflicted", "NoConflicts", ""),
        };
        // Never said to be false.
        let overlaps = self.overlaps.then(|| Condition {
            kind: "OverlappingTLSConfig",
            is_true: true,
            reason: "OverlappingHostnames",
            message: "its hosts meet those of another listener on its port; requests that come on the other one's \
                      connections get 421"
                .to_owned(),
        });
        ListenerStatus {
            name: self.spec.name.clone(),
            supported_kinds: self.kinds.clone(),
            attached_routes: self.attached,
            conditions: [
                Condition { kind: "Accepted", ..holds_unless("Accepted", accepted.as_ref().or(conflicted.as_ref())) },
                is_conflicted,
                holds_unless("Programmed", self.not_programmed().as_ref()),
                holds_unless("ResolvedRefs", resolved_refs.as_ref()),
            ]
            .into_iter()
            .chain(overlaps)
            .collect(),
        }
    }
}

/// Sockets that are taken, and by whom; those of datagrams are others than those of connections.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) connections: BTreeMap<SocketAddr, String>,
    pub(super) datagrams: BTreeMap<SocketAddr, String>,
}

/// Those of the door come before it, and win. `rivals`: those of the same object, all of which lose.
pub(super) fn judge<'a>(
    work: &mut Work<'a>,
    door: &Door<'a>,
    owner: &Arc<ObjectName>,
    spec: &'a gateway_api::Listener,
    rivals: &'a [gateway_api::Listener],
    taken: &mut Taken,
) -> Standing<'a> {
    let mut standing = Standing {
        spec,
        owner: Arc::clone(owner),
        kinds: Vec::new(),
        verdict: Verdict::default(),
        listener: None,
        attached: 0,
        overlaps: false,
    };
    standing.listener = listener(work, door, &mut standing, rivals, taken);
    standing
}

/// None where nothing can be served, with a fault in the verdict that says why.
fn listener<'a>(
    work: &mut Work<'a>,
    door: &Door<'a>,
    standing: &mut Standing<'a>,
    rivals: &'a [gateway_api::Listener],
    taken: &mut Taken,
) -> Option<Listener> {
    let (spec, owner) = (standing.spec, Arc::clone(&standing.owner));
    let verdict = &mut standing.verdict;
    let mut refuse = |work: &mut Work<'_>, condition, reason: Reason| {
        let fault = Fault::new(condition, reason.to_string());
        work.problem(&owner, reason);
        verdict.accepted = Some(fault);
    };
    let Some(protocol) = protocol(spec) else {
        let is_known = ["HTTP", "HTTPS", "TLS", "TCP", "UDP"].contains(&&*spec.protocol);
        let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_deref()).map(|mode| format!(" with tls mode {mode}"));
        let value = format!("{}{}", spec.protocol, mode.unwrap_or_default());
        let reason = Reason::Unsupported { field: format!("listener {} protocol", spec.name), value };
        refuse(work, if is_known { "UnsupportedValue" } else { "UnsupportedProtocol" }, reason);
        return None;
    };
    let hostname = match spec.hostname.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match HostPattern::parse(text, Labels::OneOrMore) {
            Ok(hostname) => Some(hostname),
            Err(error) => {
                refuse(work, "Invalid", Reason::InvalidHost { text: text.to_owned(), error });
                return None;
            }
        },
    };
    if spec.port == 0 {
        let field = format!("listener {} port", spec.name);
        refuse(work, "PortUnavailable", invalid(&field, "0", "a port from 1 to 65535"));
        return None;
    }
    if let Some((condition, other)) = conflict::of(&door.claims, spec, rivals) {
        let field = format!("listener {}", spec.name);
        let value = format!("port {} and hostname {:?}", spec.port, spec.hostname.as_deref().unwrap_or_default());
        let reason = invalid(&field, &value, &format!("what tells it from {other}"));
        verdict.conflicted = Some(Fault::new(condition, reason.to_string()));
        work.problem(&owner, reason);
        return None;
    }
    let sockets = match sockets(door, spec, protocol, taken) {
        Ok(sockets) => sockets,
        Err(reason) => {
            refuse(work, "PortUnavailable", reason);
            return None;
        }
    };
    let before = work.problems.len();
    standing.kinds = kinds(work, &owner, spec, protocol);
    let certificates = match protocol {
        ListenerProtocol::Https | ListenerProtocol::TlsTerminate => certificates(work, &owner, spec),
        _ => Vec::new(),
    };
    let client_validation = match protocol {
        ListenerProtocol::Https => client_validation::for_port(work, &door.source, door.gateway, spec.port),
        _ => None,
    };
    if spec.tls.as_ref().is_some_and(|tls| tls.frontend_validation.is_some()) {
        let what = format!("tls.frontendValidation of listener {} is", spec.name);
        let instead = "clients are asked for a certificate only where spec.tls.frontend of the Gateway says so";
        work.problem(&owner, Reason::NotServed { what, instead });
    }
    let found = work.problems.get(before..).unwrap_or_default();
    standing.verdict.resolved_refs =
        found.iter().find_map(|problem| condition::of_listener(&problem.reason, "ResolvedRefs"));
    standing.verdict.accepted = found.iter().find_map(|problem| condition::of_listener(&problem.reason, "Accepted"));
    let needs_certificate = matches!(protocol, ListenerProtocol::Https | ListenerProtocol::TlsTerminate);
    if !door.infrastructure.accepted.is_true {
        standing.verdict.programmed = Some(Fault::new("Invalid", "its Gateway is not accepted"));
    } else if needs_certificate && certificates.is_empty() && work.certificates.are_watched() {
        standing.verdict.programmed = Some(Fault::new("Invalid", "it has no certificate"));
    } else if sockets.as_ref().is_none_or(Vec::is_empty) {
        standing.verdict.programmed = Some(Fault::new("Pending", "its Gateway has no place for it yet"));
    }
    let authorizers = listener_filter::translate(work, door, &mut standing.verdict, &owner, spec, protocol);
    let default_certificate = certificates.first().cloned();
    let name = match owner.kind {
        "Gateway" => spec.name.as_str().into(),
        // Names are unique in one object only.
        _ => format!("{}/{}/{}", owner.namespace, owner.name, spec.name).into(),
    };
    Some(Listener {
        name,
        port: spec.port,
        sockets: sockets.unwrap_or_default(),
        protocol,
        hostname: hostname.filter(|_| protocol.is_http() || protocol.is_tls()),
        certificates,
        default_certificate,
        client_validation,
        authorizers,
        routes: Vec::new(),
    })
}

pub(super) fn protocol(spec: &gateway_api::Listener) -> Option<ListenerProtocol> {
    match (spec.protocol.as_str(), tls_mode(spec)) {
        ("HTTP", _) => Some(ListenerProtocol::Http { redirect_to_https: None }),
        ("HTTPS", "Terminate") => Some(ListenerProtocol::Https),
        ("TLS", "Passthrough") => Some(ListenerProtocol::TlsPassthrough),
        ("TLS", "Terminate") => Some(ListenerProtocol::TlsTerminate),
        ("TCP", _) => Some(ListenerProtocol::Tcp),
        ("UDP", _) => Some(ListenerProtocol::Udp),
        _ => None,
    }
}

fn tls_mode(spec: &gateway_api::Listener) -> &str {
    spec.tls.as_ref().and_then(|tls| tls.mode.as_deref()).unwrap_or("Terminate")
}

/// The kinds of routes that a protocol carries.
pub(super) fn carried(protocol: ListenerProtocol) -> &'static [&'static str] {
    match protocol {
        ListenerProtocol::Http { .. } | ListenerProtocol::Https => &["HTTPRoute", "GRPCRoute"],
        ListenerProtocol::TlsPassthrough | ListenerProtocol::TlsTerminate => &["TLSRoute"],
        ListenerProtocol::Tcp => &["TCPRoute"],
        ListenerProtocol::Udp => &["UDPRoute"],
    }
}

/// Those that it carries, and of these the ones that its author wants, where he says so.
fn kinds(
    work: &mut Work<'_>,
    owner: &ObjectName,
    spec: &gateway_api::Listener,
    protocol: ListenerProtocol,
) -> Vec<&'static str> {
    let wanted = spec.allowed_routes.as_ref().map(|allowed| allowed.kinds.as_slice()).unwrap_or_default();
    if wanted.is_empty() {
        return carried(protocol).to_vec();
    }
    let mut kinds = Vec::new();
    for kind in wanted {
        let is_ours = kind.group.as_deref().unwrap_or(GROUP) == GROUP;
        match carried(protocol).iter().find(|carried| is_ours && **carried == kind.kind) {
            Some(known) if kinds.contains(known) => {}
            Some(known) => kinds.push(*known),
            None => {
                let (listener, protocol) = (spec.name.clone(), spec.protocol.clone());
                work.problem(owner, Reason::RouteKindInvalid { listener, protocol, kind: kind.kind.clone() });
            }
        }
    }
    kinds
}

/// Listeners of one Gateway share sockets; two entry points never do. None: there is no place for them yet.
fn sockets(
    door: &Door<'_>,
    spec: &gateway_api::Listener,
    protocol: ListenerProtocol,
    taken: &mut Taken,
) -> Result<Option<Vec<SocketAddr>>, Reason> {
    let (transport, taken) = match protocol {
        ListenerProtocol::Udp => (Transport::Udp, &mut taken.datagrams),
        _ => (Transport::Tcp, &mut taken.connections),
    };
    let Some(sockets) = door.infrastructure.sockets(spec.port, transport) else { return Ok(None) };
    let name = door.source.to_string();
    for socket in &sockets {
        let holder = taken.iter().find(|(other, winner)| config::clash(**other, *socket) && **winner != name);
        if let Some((_, winner)) = holder {
            return Err(Reason::SocketTaken {
                listener: format!("listener {}", spec.name),
                socket: socket.to_string(),
                winner: winner.clone(),
            });
        }
    }
    taken.extend(sockets.iter().map(|socket| (*socket, name.clone())));
    Ok(Some(sockets))
}

fn certificates(work: &mut Work<'_>, owner: &ObjectName, spec: &gateway_api::Listener) -> Vec<Arc<Certificate>> {
    let mut found = Vec::new();
    if spec.tls.as_ref().is_none_or(|tls| tls.certificate_refs.is_empty()) {
        let field = format!("listener {} tls.certificateRefs", spec.name);
        work.problem(owner, invalid(&field, "", "the Secret of a certificate"));
    }
    for reference in spec.tls.iter().flat_map(|tls| &tls.certificate_refs) {
        let what = format!("listener {} certificateRef", spec.name);
        found.extend(certificate_of(work, owner, Role::Server, reference, &what));
    }
    found
}

/// The certificate that an object refers to. Kind, grant, existence: in this order.
pub(super) fn certificate_of(
    work: &mut Work<'_>,
    owner: &ObjectName,
    role: Role,
    reference: &gateway_api::SecretObjectReference,
    what: &str,
) -> Option<Arc<Certificate>> {
    let own = owner.namespace.to_string();
    let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
    let namespace = reference.namespace.as_deref().unwrap_or(&own);
    let from = From { group: GROUP, kind: owner.kind, namespace: &own };
    let to = To { group, kind, namespace, name: &reference.name };
    if (group, kind) != ("", "Secret") {
        let (what, group, kind) = (what.to_owned(), group.to_owned(), kind.to_owned());
        work.problem(owner, Reason::KindUnsupported { what, group, kind });
        None
    } else if !granted(&work.snapshot.reference_grants, &from, &to) {
        work.problem(owner, Reason::NotGranted { target: format!("Secret {namespace}/{}", reference.name) });
        None
    } else {
        certificate::find(work, owner, role, namespace, &reference.name)
    }
}
