//! What sockets are opened, and that what is used again is as good as new.

use http::HeaderMap;
use k8s::model::{
    Addressing, Asked, Attachment, Backend, Endpoints, ExternalAuth, Filter, Match, Mirror, ObjectName, PathMatch,
    Protocol, Rule, ServiceName, Share, Target, Trust, WeightedBackend,
};
use proptest::prelude::*;

use super::*;
use crate::{
    dataplane::CellTarget,
    fixture::{attach, pattern},
    listen::Kind,
    table::Request,
    upstream::BackendCell,
};

fn listener(protocol: ListenerProtocol, port: u16) -> Listener {
    Listener {
        name: port.to_string().as_str().into(),
        port,
        sockets: vec![SocketAddr::from(([192, 168, 8, 24], port))],
        protocol,
        hostname: None,
        certificates: Vec::new(),
        default_certificate: None,
        client_validation: None,
        authorizers: Ok(Vec::new()),
        routes: Vec::new(),
    }
}

#[test]
fn listeners_open_sockets_of_their_kinds_and_those_with_tls_share_theirs() {
    let listeners = [
        (ListenerProtocol::TlsPassthrough, 443),
        (ListenerProtocol::Https, 443),
        (ListenerProtocol::TlsTerminate, 8443),
        (ListenerProtocol::Http { redirect_to_https: None }, 80),
        (ListenerProtocol::Tcp, 53),
        (ListenerProtocol::Udp, 53),
    ];
    let listeners = listeners.map(|(protocol, port)| listener(protocol, port)).into();
    let entry_point = EntryPoint {
        name: "network/home".into(),
        addresses: Vec::new(),
        trust: Trust::default(),
        client_certificate: None,
        listeners,
    };
    let model = Model { entry_points: vec![entry_point], ..Model::default() };
    let compiled = compile(&model, &Arc::default(), &Keys::default(), &Series::default(), &Actions::default()).0;
    let mut wanted: Vec<_> = compiled.wanted().iter().map(|it| (it.address.port(), it.kind)).collect();
    wanted.sort();
    let expected = [(53, Kind::Tcp), (53, Kind::Udp), (80, Kind::Http), (443, Kind::Tls), (8443, Kind::Tls)];
    assert_eq!(wanted, expected);
    let tls = |port: u16| compiled.sockets[&SocketAddr::from(([192, 168, 8, 24], port))].tls.is_some();
    assert!(tls(443) && !tls(8443), "HTTP in TLS only where a listener wants it");
}

#[test]
fn a_route_on_two_sockets_is_made_once() {
    let (mut http, mut https) =
        (listener(ListenerProtocol::Http { redirect_to_https: None }, 80), listener(ListenerProtocol::Https, 443));
    attach(&mut http, 1, &["a.home.example"], &[]);
    https.routes.clone_from(&http.routes);
    let entry_point = EntryPoint {
        name: "lan".into(),
        addresses: Vec::new(),
        trust: Trust::default(),
        client_certificate: None,
        listeners: vec![http, https],
    };
    let model = Model { entry_points: vec![entry_point], ..Model::default() };
    let compiled = compile(&model, &Arc::default(), &Keys::default(), &Series::default(), &Actions::default()).0;
    let actions: Vec<_> = compiled.sockets.values().flat_map(|socket| socket.table.values()).collect();
    assert!(matches!(&actions[..], [one, other] if Arc::ptr_eq(one, other)), "{actions:?}");
}

const HOSTS: [&str; 3] = ["a.example", "*.example", "b.example"];
const N_VARIANTS: usize = 3;

fn id(number: usize) -> BackendId {
    BackendId { service: ServiceName::new("default", &format!("s{number}")), port: 80, spoken: None }
}

fn cell(number: usize) -> Arc<BackendCell> {
    let backend = Backend {
        id: id(number),
        protocol: Protocol::Http,
        validation: None,
        addressing: Addressing::EndpointSlices { port_name: "".into() },
        uid: "".into(),
        health_check: None,
    };
    Arc::new(BackendCell::new(backend, &Endpoints::default(), None))
}

/// Each leads to one backend in a way of its own.
fn route(number: usize, variant: usize) -> Arc<Route> {
    let path = match number {
        0 => PathMatch::Prefix("/".into()),
        1 => PathMatch::Regex("/[a-c]".into()),
        _ => PathMatch::Exact("/a".into()),
    };
    let backend = id((number + variant) % 3);
    let method = (variant == 1).then(|| "POST".into());
    let weighted = |target, filters| vec![WeightedBackend { weight: 1, target, filters }];
    let mirror = Filter::Mirror(Mirror { backend: backend.clone(), share: Share { numerator: 1, denominator: 1 } });
    let asked = Asked::Grpc { request_headers: Vec::new() };
    let auth = ExternalAuth { backend: backend.clone(), asked, body: 0 };
    let invalid = || Target::Invalid("it is gone".into());
    let (filters, backends) = match number {
        0 => (vec![Filter::ExternalAuth(auth)], weighted(invalid(), Vec::new())),
        1 => (Vec::new(), weighted(invalid(), vec![mirror])),
        _ => (Vec::new(), weighted(Target::Backend(backend), Vec::new())),
    };
    let it = Match { path, method, headers: Vec::new(), query: Vec::new() };
    let rule = Rule { matches: vec![it], filters, backends, ..Rule::default() };
    let source = ObjectName::new("HTTPRoute", "default", &format!("r{number}"));
    Arc::new(Route { source, created: variant as i64, rules: vec![rule], falls_through: number != 2 })
}

/// What requests come to: at each address the actions, and the cells that these lead to.
fn shown(dataplane: &Dataplane) -> Vec<String> {
    let mut shown = Vec::new();
    let mut sockets: Vec<_> = dataplane.sockets.iter().collect();
    sockets.sort_by_key(|(address, _)| **address);
    for (address, socket) in sockets {
        for (host, path, method) in ["a.example", "b.example", "c.example", "other"].into_iter().flat_map(|host| {
            ["/", "/a", "/b"].into_iter().flat_map(move |path| ["GET", "POST"].map(|method| (host, path, method)))
        }) {
            let request = Request { host, path, method, query: None, headers: &HeaderMap::new() };
            let Some(found) = socket.table.find(&request) else { continue };
            let action = found.value;
            let cells: Vec<_> = action
                .backends
                .iter()
                .map(|it| {
                    let mirrors: Vec<_> = it.mirrors.iter().map(|it| Arc::as_ptr(&it.cell)).collect();
                    match &it.target {
                        CellTarget::Cell(cell) => (format!("{:p}", Arc::as_ptr(cell)), mirrors),
                        CellTarget::Invalid(why) => (why.to_string(), mirrors),
                    }
                })
                .collect();
            let asked = action.authorizer.as_ref().map(|it| it.cell.as_ref().map(Arc::as_ptr));
            let authorizer = format!("{:?} {asked:?}", action.authorizer);
            let metrics = Arc::as_ptr(&action.metrics);
            shown.push(format!(
                "{address} {host} {path} {method}: {action} {cells:?} {authorizer} {metrics:?} {:?}",
                found.prefix
            ));
        }
    }
    shown
}

proptest! {
    #[test]
    fn after_every_change_a_dataplane_does_what_one_does_that_is_all_new(
        changes in prop::collection::vec((any::<bool>(), 0..3_usize, 0..=N_VARIANTS, 0..HOSTS.len()), 1..24),
    ) {
        let routes: Vec<Vec<Arc<Route>>> =
            (0..3).map(|number| (0..N_VARIANTS).map(|variant| route(number, variant)).collect()).collect();
        let all_cells: Vec<Vec<_>> = (0..3).map(|number| (0..N_VARIANTS).map(|_| cell(number)).collect()).collect();
        // What there is of each, and at which host; none where there is no such variant.
        let (mut attached, mut there) = ([(0, 0); 3], [0; 3]);
        let (keys, series) = (Keys::default(), Series::default());
        let mut last = Actions::default();
        for (is_route, number, variant, host) in changes {
            if is_route {
                attached[number] = (variant, host);
            } else {
                there[number] = variant;
            }
            let mut http = listener(ListenerProtocol::Http { redirect_to_https: None }, 80);
            for (variants, (variant, host)) in routes.iter().zip(attached) {
                let hostnames = Arc::from([pattern(HOSTS[host])]);
                http.routes.extend(variants.get(variant).map(|route| Attachment { hostnames, route: Arc::clone(route) }));
            }
            let mut https = listener(ListenerProtocol::Https, 443);
            https.routes = http.routes.iter().take(2).cloned().collect();
            let other = Listener { port: 81, sockets: vec![([192, 168, 8, 24], 81).into()], ..http.clone() };
            let entry_point = EntryPoint {
                name: "lan".into(),
                addresses: Vec::new(),
                trust: Trust::default(),
                client_certificate: None,
                listeners: vec![http, https, other],
            };
            let model = Model { entry_points: vec![entry_point], ..Model::default() };
            let cells = all_cells.iter().zip(there).enumerate();
            let cells: Cells =
                cells.filter_map(|(number, (all, variant))| Some((id(number), Arc::clone(all.get(variant)?)))).collect();
            let cells = Arc::new(cells);
            let (after, made) = compile(&model, &cells, &keys, &series, &last);
            let (new, _) = compile(&model, &cells, &keys, &series, &Actions::default());
            prop_assert_eq!(shown(&after), shown(&new));
            last = made;
        }
    }
}

#[test]
fn a_route_that_stays_keeps_its_action_for_as_long_as_its_backend_does() {
    let (keys, series) = (Keys::default(), Series::default());
    let model = |variants: [usize; 2]| {
        let mut http = listener(ListenerProtocol::Http { redirect_to_https: None }, 80);
        http.routes = [2, 1]
            .into_iter()
            .zip(variants)
            .map(|(number, variant)| Attachment {
                hostnames: Arc::from([pattern(HOSTS[number])]),
                route: route(number, variant),
            })
            .collect();
        let entry_point = EntryPoint {
            name: "lan".into(),
            addresses: Vec::new(),
            trust: Trust::default(),
            client_certificate: None,
            listeners: vec![http],
        };
        Model { entry_points: vec![entry_point], ..Model::default() }
    };
    let first = model([0, 0]);
    let mut second = model([0, 1]);
    second.entry_points[0].listeners[0].routes[0] = first.entry_points[0].listeners[0].routes[0].clone();
    let cells = |other: usize| Arc::new(Cells::from([(id(2), cell(2)), (id(other), cell(other))]));
    let (same, replaced) = (cells(0), cells(1));
    let action = |(dataplane, _): &(Dataplane, Actions)| {
        let socket = dataplane.sockets.values().next().expect("a socket");
        let found = socket.table.values().find(|it| &*it.route.name == "r2");
        Arc::clone(found.expect("the route"))
    };
    let before = compile(&first, &same, &keys, &series, &Actions::default());
    let after = compile(&second, &same, &keys, &series, &before.1);
    assert!(Arc::ptr_eq(&action(&before), &action(&after)));
    let later = compile(&second, &replaced, &keys, &series, &after.1);
    assert!(!Arc::ptr_eq(&action(&after), &action(&later)));
}
