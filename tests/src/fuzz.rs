//! What must hold for any bytes at all. The fuzzer (`tests/fuzz`) calls these, and tests with what it has found.

mod http;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use gateway::{
    reference::{self, Outcome, Policy, Transport},
    view::Views,
    wanted,
    wire::{self, Question, UDP_PAYLOAD, UDP_PAYLOAD_WITHOUT_EDNS},
    zone::Zones,
};
use hickory_proto::op::{Message, MessageType};
use hyper::HeaderMap;
use k8s::{
    config::{self, Config},
    source::{self, Kinds, Object, manifest},
    status::{Condition, Desired, ListenerStatus, Status},
    translate::{names, translate},
};
use router::table::{Request, RouteTable};

pub use self::http::{http1, http2};
use crate::home::{classes, ingress, ingress_of};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Zones in a zone, a view, and a record of every type that there is.
const CONFIG: &str = "
zones: [{name: home.example, ttl: 30, acmeChallenge: acme.example}, lab.home.example, b.example]
entryPoints:
  lan: {addresses: [192.168.8.21, 'fd00::21', 'fd00::22'], http: 80, https: 443}
  tunnel: {addresses: [192.168.8.23], http: 80}
ingress: {classes: {internal: lan, external: tunnel}}
gatewayApi: {address: 192.168.8.24}
dns:
  addresses: [192.168.8.22, 'fd00::53']
  httpsRecords: true
  reverse: true
  forwarders: [127.0.0.0/8]
  allowedAddresses: [192.168.0.0/16]
  views: [{name: guests, sources: [192.168.5.0/24, 'fd05::/64'], entryPoints: [tunnel]}]
  records:
  - {name: many.home.example, type: A, targets: [192.168.9.1, 192.168.9.2, 192.168.9.3, 192.168.9.4]}
  - {name: many.home.example, type: TXT, targets: ['one', 'two and three']}
  - {name: '*.wild.home.example', type: AAAA, targets: ['fd00::1', 'fd00::2']}
  - {name: alias.home.example, type: CNAME, targets: [many.home.example]}
  - {name: away.home.example, type: CNAME, targets: [example.org]}
  - {name: mail.home.example, type: MX, targets: [10 app.home.example]}
  - {name: _sip._tcp.home.example, type: SRV, targets: [1 2 5060 many.home.example]}
  - {name: b.example, type: TXT, targets: ['v=spf1 -all']}
";

fn objects() -> String {
    let app = ingress("app", "app.home.example", "web");
    let tls = ingress("secure", "secure.home.example", "web")
        .replace("  rules:", "  tls: [{hosts: [secure.home.example], secretName: secure}]\n  rules:");
    let more = [
        ingress("any", "*.apps.home.example", "web"),
        ingress("deep", "a.b.deep.home.example", "web"),
        ingress("nested", "app.lab.home.example", "web"),
        ingress_of("external", "outside", "outside.home.example", "web"),
    ];
    [classes(), app, tls, more.concat()].concat()
}

/// # Panics
/// Never: what is above is right.
fn views() -> &'static Views {
    static VIEWS: LazyLock<Views> = LazyLock::new(|| {
        let kinds = gateway::KINDS;
        let snapshot = source::snapshot(manifest::read(&objects()).expect("right manifests"), kinds);
        let (claims, problems) = wanted(&snapshot, config());
        assert!(claims.len() > 10, "{claims:#?} {problems:#?}");
        Views::build(claims, config(), 1)
    });
    &VIEWS
}

/// # Panics
/// Never: what is above is right.
pub fn config() -> &'static Config {
    static CONFIG_READ: LazyLock<Config> = LazyLock::new(|| config::parse(CONFIG).expect("a right configuration"));
    &CONFIG_READ
}

/// The common path says what the reference says, where it says anything. Returns whether it did.
///
/// # Panics
/// When it says something else.
pub fn dns_wire(query: &[u8]) -> bool {
    let mut out = [0; UDP_PAYLOAD];
    let Some(answered) = wire::answer(views().default_zones(), query, &mut out) else { return false };
    let common = out.get(..answered.length).expect("no more than there is");
    // What an upstream may be asked is nothing for the common path.
    let policy = Policy { forward_to: Some([192, 168, 8, 1].into()), ..Policy::default() };
    let outcome = reference::respond(Some(views()), &policy, query, CLIENT, Transport::Udp);
    let Outcome::Answer(reference) = outcome else { panic!("the reference has {outcome:?}") };
    let read = |bytes: &[u8]| Message::from_vec(bytes).expect("a response that can be read");
    assert_eq!(read(common), read(&reference.bytes));
    assert_eq!(common.first_chunk::<4>(), reference.bytes.first_chunk::<4>(), "id and flags");
    let end = Question::read(query).expect("what has an answer has a question").end;
    assert_eq!(common.get(12..end), query.get(12..end), "the question as it was asked");
    assert_eq!((answered.kind, answered.zone), (reference.about.kind, reference.about.zone));
    assert_eq!(u16::from(answered.is_name_error) * 3, reference.rcode);
    true
}

/// Whatever is asked, however, and of whom: an answer that can be read and is not too long, or none to what is no query.
///
/// # Panics
/// When it is anything else.
pub fn dns_reference(query: &[u8]) {
    let open = Policy {
        forwarders: config().dns.forwarders.clone(),
        forward_to: Some([192, 168, 8, 1].into()),
        identity: Some("gateway".to_owned()),
    };
    let is_query = query.len() >= 12 && query.get(2).is_some_and(|flags| flags & 0x80 == 0);
    for policy in [Policy { forward_to: None, ..open.clone() }, open, Policy::default()] {
        for (views, transport) in
            [(Some(views()), Transport::Udp), (Some(views()), Transport::Tcp), (None, Transport::Udp)]
        {
            match reference::respond(views, &policy, query, CLIENT, transport) {
                Outcome::Answer(answer) => {
                    assert!(is_query, "an answer to what is no query");
                    check(query, &answer.bytes, transport);
                }
                Outcome::Dropped => assert!(!is_query, "no answer to a query"),
                Outcome::Forward(_) => {
                    assert!(policy.forward_to.is_some() && views.is_some(), "nobody is there to be asked");
                    check(query, &reference::server_failure(query), Transport::Udp);
                }
            }
        }
    }
    if let Outcome::Answer(answer) = reference::refuse(query) {
        check(query, &answer.bytes, Transport::Udp);
    }
}

fn check(query: &[u8], answer: &[u8], transport: Transport) {
    let message = Message::from_vec(answer).expect("a response that can be read");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(answer.first_chunk::<2>(), query.first_chunk::<2>(), "the id");
    let opcode = |bytes: &[u8]| bytes.get(2).map(|flags| flags & 0x78);
    assert_eq!(opcode(answer), opcode(query));
    let taken = || Message::from_vec(query).ok()?.edns.map(|edns| usize::from(edns.max_payload()));
    let limit = match (transport, &message.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => UDP_PAYLOAD_WITHOUT_EDNS,
        (Transport::Udp, Some(_)) => taken().unwrap_or(UDP_PAYLOAD).clamp(UDP_PAYLOAD_WITHOUT_EDNS, UDP_PAYLOAD),
    };
    assert!(answer.len() <= limit, "{} bytes", answer.len());
}

/// The whole way of a file of manifests: to routes and zones.
///
/// # Panics
/// When anything on that way does.
pub fn manifests(text: &str) {
    let whole = manifest::read(text);
    let documents = manifest::documents(text).unwrap_or_default();
    let n_right = documents.iter().filter(|document| document.error.is_none()).count();
    assert!(whole.is_err() || n_right == documents.len(), "a whole file has no wrong part");
    follow(documents.into_iter().flat_map(|document| document.objects), config());
}

/// The way of objects, however odd.
///
/// # Panics
/// When anything on that way does.
pub fn follow(objects: impl IntoIterator<Item = Object>, config: &Config) {
    let kinds = Kinds { tls: true, endpoints: true, dns_endpoints: true };
    let snapshot = source::snapshot(objects, kinds);
    let translation = translate(&snapshot, config);
    let names = names(&snapshot, &translation, config);
    for claim in &names.claims {
        assert!(!claim.name.to_string().is_empty());
    }
    for problem in translation.problems.iter().chain(&names.problems) {
        assert!(!problem.to_string().is_empty());
    }
    check_statuses(&translation.statuses);
    let zones = Zones::build(&names.claims, config, None, 1);
    assert_eq!(zones.serial(), 1);
    Views::build(names.claims, config, 1);
    for entry_point in &translation.model.entry_points {
        let listeners: Vec<_> = entry_point.listeners.iter().collect();
        let table = RouteTable::compile(&listeners, |_, rule| rule);
        for path in ["/", "/photos.Albums/List", "/a//b/", "/%zz"] {
            let (query, headers) = (Some("q=1&q"), &HeaderMap::new());
            table.find(&Request { host: "app.home.example", path, method: "POST", query, headers });
        }
    }
}

/// That an API server would take them: one for each object, and of each list one of each name, with its reasons.
fn check_statuses(all: &[Desired]) {
    let mut objects = BTreeSet::new();
    for Desired { object, status, .. } in all {
        assert!(objects.insert(object), "{object} has two");
        let listeners: &[ListenerStatus] = match status {
            Status::Gateway { listeners, .. } | Status::ListenerSet { listeners, .. } => listeners,
            _ => &[],
        };
        for ListenerStatus { name, supported_kinds, attached_routes, conditions } in listeners {
            let is = |kind| conditions.iter().any(|it| it.kind == kind && it.is_true);
            assert!(!is("Accepted") || !is("Conflicted"), "{object} {name}");
            assert!(is("Accepted") || !is("Programmed"), "{object} {name}");
            assert!(*attached_routes == 0 || (is("Accepted") && !supported_kinds.is_empty()), "{object} {name}");
            let kinds: BTreeSet<_> = supported_kinds.iter().collect();
            assert_eq!(kinds.len(), supported_kinds.len(), "{object} {name}");
        }
        let of_listeners = listeners.iter().map(|it| &it.conditions);
        let lists: Vec<&Vec<Condition>> = match status {
            Status::GatewayClass { conditions, .. }
            | Status::Gateway { conditions, .. }
            | Status::ListenerSet { conditions, .. } => of_listeners.chain([conditions]).collect(),
            Status::Route { parents } | Status::Policy { ancestors: parents } => {
                parents.iter().map(|it| &it.conditions).collect()
            }
            Status::Ingress { .. } => Vec::new(),
        };
        for conditions in lists {
            let kinds: BTreeSet<_> = conditions.iter().map(|it| it.kind).collect();
            assert_eq!(kinds.len(), conditions.len(), "{object} {conditions:?}");
            for Condition { is_true, reason, message, .. } in conditions {
                assert!(
                    !reason.is_empty() && (*is_true || *reason == "NoConflicts" || !message.is_empty()),
                    "{object} {reason}"
                );
            }
        }
    }
}
