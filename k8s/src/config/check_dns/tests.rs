//! What may stand under `dns`, and what is said of what may not.

use std::net::SocketAddr;

use crate::{
    config::{Config, ConfigError, DnsTlsConfig, Strangers, parse},
    model::RecordData,
};

fn with(more: &str) -> Result<Config, ConfigError> {
    parse(&format!("entryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\nzones: [home.example]\n{more}"))
}

fn refusals(more: &str) -> Vec<String> {
    with(more).err().map(|error| error.refusals).unwrap_or_default()
}

#[test]
fn a_zone_that_is_called_like_a_name_server_has_no_alias_either() {
    let file = "entryPoints: {lan: {addresses: [192.168.8.21], http: 80}}\nzones: [ns.example]\ndns: {records: [{name: ns.example, type: CNAME, targets: [a.ns.example]}]}";
    let refusals = parse(file).expect_err("an alias of a zone").refusals;
    assert!(refusals.iter().any(|refusal| refusal.contains("ns.example is a zone")), "{refusals:#?}");
}

#[test]
fn without_a_word_private_clients_are_answered_and_nothing_else_is_on() {
    let dns = with("").expect("a right file").dns;
    for (address, answered) in [
        ("192.168.9.4", true),
        ("172.31.255.255", true),
        ("100.64.0.1", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("fd00::9", true),
        ("fe80::1", true),
        ("8.8.8.8", false),
        ("172.32.0.1", false),
        ("2001:db8::1", false),
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(
            dns.clients.iter().any(|network| network.contains::<&std::net::IpAddr>(&address)),
            answered,
            "{address}"
        );
    }
    assert!(dns.identify && !dns.reverse && !dns.https_records);
    assert_eq!((dns.strangers, dns.tls, dns.forward_to), (Strangers::Drop, None, None));
}

#[test]
fn everything_that_is_set_is_read() {
    let config = with(
        "dns:
  clients: [192.168.0.0/16, 10.0.0.1]
  strangers: refuse
  forwarders: [192.168.9.2]
  entryPoints: [network/home, lan]
  views: [{name: guests, sources: [192.168.5.0/24], entryPoints: [network/guests, lan]}]
  allowedAddresses: [192.168.8.30, fd00::/64]
  filter: {ingressClasses: [internal], gatewayClasses: [home], labels: ['app=web', '!hidden']}
  records:
  - {name: nas.home.example, type: A, targets: [192.168.8.30, 192.168.8.31], ttl: 60}
  - {name: nas.home.example, type: AAAA, targets: ['fd00::30']}
  - {name: '*.nas.home.example', type: CNAME, targets: [nas.home.example]}
  - {name: home.example, type: MX, targets: [10 mail.home.example]}
  httpsRecords: true
  reverse: true
  tls: {certificate: /tls/tls.crt, key: /tls/tls.key}
  forwardTo: 192.168.8.1
  identify: false
",
    );
    let dns = config.unwrap_or_else(|error| panic!("{error}")).dns;
    assert_eq!((dns.clients.len(), dns.strangers, dns.forwarders.len()), (2, Strangers::Refuse, 1));
    assert_eq!(dns.entry_points, ["network/home".into(), "lan".into()]);
    assert_eq!(dns.views[0].entry_points, ["network/guests".into(), "lan".into()]);
    assert_eq!((dns.allowed_addresses.len(), dns.filter.selectors.len()), (2, 2));
    assert_eq!(dns.filter.ingress_classes, Some(vec!["internal".into()]));
    let records: Vec<(String, Option<u32>, Vec<String>)> = dns
        .records
        .iter()
        .map(|it| (it.name.to_string(), it.ttl, it.data.iter().map(RecordData::to_string).collect()))
        .collect();
    assert_eq!(
        records[0],
        ("nas.home.example".into(), Some(60), vec!["A 192.168.8.30".into(), "A 192.168.8.31".into()])
    );
    assert_eq!(records[2], ("*.nas.home.example".into(), None, vec!["CNAME nas.home.example.".into()]));
    let listen: Vec<SocketAddr> = ["0.0.0.0:853", "[::]:853"].map(|it| it.parse().expect("a socket")).into();
    let tls = DnsTlsConfig { listen, certificate: "/tls/tls.crt".into(), key: "/tls/tls.key".into() };
    assert_eq!((dns.tls, dns.forward_to), (Some(tls), Some(SocketAddr::from(([192, 168, 8, 1], 53)))));
    assert!(dns.https_records && dns.reverse && !dns.identify);
}

#[test]
fn every_refusal_names_its_path_and_what_was_expected() {
    for (dns, expected) in [
        ("clients: [lan]", "clients[0]: found \"lan\", expected an address or a network such as 10.69.0.0/16"),
        (
            "clients: []",
            "clients: is empty, expected who is answered, such as 192.168.0.0/16; leave it out for every private network",
        ),
        ("strangers: ignore", "strangers: found \"ignore\", expected drop or refuse"),
        ("forwarders: [pi]", "forwarders[0]: found \"pi\", expected an address or a network such as 10.69.0.0/16"),
        (
            "allowedAddresses: [192.168.8.30-40]",
            "allowedAddresses[0]: found \"192.168.8.30-40\", expected an address or a network such as 10.69.0.0/16",
        ),
        (
            "allowedAddresses: [192.168.8.31, 192.168.8.30/24]",
            "allowedAddresses[1]: found \"192.168.8.30/24\", expected the address 192.168.8.30 or the network 192.168.8.0/24",
        ),
        (
            "views: [{name: a, sources: [192.168.8.30/24], entryPoints: [lan]}]",
            "views[0].sources[0]: found \"192.168.8.30/24\", expected the address 192.168.8.30 or the network 192.168.8.0/24",
        ),
        (
            "views: [{name: 'gu\"ests', sources: [10.0.0.0/8], entryPoints: [lan]}]",
            "views[0].name: found \"gu\\\"ests\", expected letters, digits, - _ or ., such as guests",
        ),
        (
            "views: [{name: a, sources: [10.0.0.0/8], entryPoints: [tunel]}]",
            "views[0].entryPoints[0]: found \"tunel\", expected an entry point: lan, or namespace/name of a Gateway",
        ),
        (
            "views: [{name: a, sources: [10.0.0.0/8], entryPoints: [/guests]}]",
            "views[0].entryPoints[0]: found \"/guests\", expected an entry point: lan, or namespace/name of a Gateway",
        ),
        (
            "views: [{name: a, sources: [10.0.0.0/8], entryPoints: [lan]}, {name: b, sources: [10.0.0.0/8], entryPoints: [lan]}]",
            "views[1].sources: 10.0.0.0/8 is in view a already; name each network once",
        ),
        (
            "views: [{name: a, sources: [10.0.0.1], entryPoints: [lan]}, {name: a, sources: [10.0.0.2], entryPoints: [lan]}]",
            "views[1].name: a is already a view; name each view once",
        ),
        (
            "views: [{name: a, sources: [], entryPoints: [lan]}]",
            "views[0].sources: is empty, expected whose view it is, such as 192.168.1.0/24",
        ),
        (
            "views: [{name: a, sources: [10.0.0.1], entryPoints: []}]",
            "views[0].entryPoints: is empty, expected at least one entry point",
        ),
        ("entryPoints: []", "entryPoints: is empty, expected at least one entry point"),
        (
            "entryPoints: [lan, tunel]",
            "entryPoints[1]: found \"tunel\", expected an entry point: lan, or namespace/name of a Gateway",
        ),
        (
            "filter: {ingressClasses: []}",
            "filter.ingressClasses: is empty, expected the names of classes; leave it out for all of them",
        ),
        (
            "filter: {labels: [app in (web)]}",
            "filter.labels[0]: found \"app in (web)\", expected a selector such as app=web,tier!=test,visible,!hidden",
        ),
        (
            "records: [{name: nas.home.example, type: NS, targets: [a]}]",
            "records[0].type: found \"NS\", expected one of A, AAAA, CNAME, MX, PTR, SRV, TXT",
        ),
        (
            "records: [{name: nas.home.example, type: A, targets: ['fd00::1']}]",
            "records[0].targets[0]: found \"fd00::1\", expected an IPv4 address such as 192.168.8.30",
        ),
        (
            "records: [{name: nas.home.example, type: A, targets: []}]",
            "records[0].targets: is empty, expected at least one",
        ),
        (
            "records: [{name: nas.home.example, type: A, targets: [10.0.0.1, 10.0.0.1]}]",
            "records[0].targets[1]: 10.0.0.1 is there already; name each target once",
        ),
        (
            "records: [{name: nas.home.example, type: A, targets: [10.0.0.1], ttl: 86401}]",
            "records[0].ttl: found 86401, expected seconds from 0 to 86400",
        ),
        (
            "records: [{name: nas.lab.example, type: A, targets: [10.0.0.1]}]",
            "records[0].name: found \"nas.lab.example\", expected a name inside a zone: home.example",
        ),
        (
            "records: [{name: a..b, type: A, targets: [10.0.0.1]}]",
            "records[0].name: found \"a..b\", expected a name such as nas.home.example or *.nas.home.example",
        ),
        (
            "records: [{name: a.home.example, type: CNAME, targets: [b.home.example, c.home.example]}]",
            "records[0].targets: has 2, expected one: a name has one CNAME",
        ),
        (
            "records: [{name: a.home.example, type: CNAME, targets: [b.example]}, {name: A.home.example., type: CNAME, targets: [c.example]}]",
            "records[1]: a.home.example has CNAME in dns.records[0]; put all targets there",
        ),
        (
            "records: [{name: a.home.example, type: TXT, targets: [x]}, {name: a.home.example, type: CNAME, targets: [b.example]}]",
            "records[1]: a.home.example has TXT in dns.records[0], and a CNAME stands alone (RFC 1034); remove one of them",
        ),
        (
            "records: [{name: home.example, type: CNAME, targets: [b.example]}]",
            "records[0]: home.example is a zone or its name server, which can have no CNAME; give it addresses (A, AAAA)",
        ),
        (
            "records: [{name: NS.home.example, type: CNAME, targets: [b.home.example]}]",
            "records[0]: ns.home.example is a zone or its name server, which can have no CNAME; give it addresses (A, AAAA)",
        ),
        (
            "tls: {listen: ['0.0.0.0:53'], certificate: a, key: b}",
            "tls.listen[0]: 0.0.0.0:53 is taken by dns.listen[0] (0.0.0.0:53); choose another port or address",
        ),
        (
            "tls: {listen: [], certificate: a, key: b}",
            "tls.listen: is empty, expected at least one address with a port, such as 0.0.0.0:853",
        ),
        ("tls: {certificate: '', key: b}", "tls.certificate: is empty, expected the path of a PEM file"),
        (
            "forwardTo: router",
            "forwardTo: found \"router\", expected an address such as 192.168.8.1 or 192.168.8.1:5353",
        ),
        ("forwardTo: 0.0.0.0", "forwardTo: found \"0.0.0.0\", expected the address of a resolver"),
        ("forwardTo: '1.1.1.1:0'", "forwardTo: found \"1.1.1.1:0\", expected the address of a resolver"),
        (
            "{addresses: [192.168.8.22], forwardTo: '192.168.8.22:5353'}",
            "forwardTo: found \"192.168.8.22:5353\", which is `gateway` itself, expected another resolver",
        ),
        (
            "forwardTo: 127.0.0.1",
            "forwardTo: found \"127.0.0.1\", which is `gateway` itself, expected another resolver",
        ),
    ] {
        let dns = if dns.starts_with('{') { dns.to_owned() } else { format!("{{{dns}}}") };
        assert_eq!(refusals(&format!("dns: {dns}")), [format!("dns.{expected}")], "{dns}");
    }
}

#[test]
fn other_resolvers_on_this_host_are_no_loop() {
    for dns in
        ["{forwardTo: '127.0.0.1:5353'}", "{forwardTo: 1.1.1.1}", "{listen: ['192.168.8.22:53'], forwardTo: 127.0.0.1}"]
    {
        assert_eq!(refusals(&format!("dns: {dns}")), Vec::<String>::new(), "{dns}");
    }
}

#[test]
fn challenges_lead_out_of_our_zones() {
    let zone = |domain: &str| {
        let text = format!(
            "entryPoints: {{lan: {{addresses: [192.168.8.21], http: 80}}}}\nzones: [{{name: home.example, acmeChallenge: {domain}}}, lab.example]"
        );
        let parsed = parse(&text).map(|config| config.zones[0].acme_challenge.as_ref().map(ToString::to_string));
        parsed.map_err(|error| error.refusals.join("; "))
    };
    assert_eq!(zone("acme.example.org"), Ok(Some("acme.example.org".to_owned())));
    assert_eq!(
        zone("a..b"),
        Err("zones[0].acmeChallenge: found \"a..b\", expected a domain such as acme.example.org".to_owned())
    );
    for (domain, zone_around) in [("acme.lab.example", "lab.example"), ("home.example", "home.example")] {
        assert_eq!(
            zone(domain),
            Err(format!(
                "zones[0].acmeChallenge: found {domain}, expected a domain outside the zone {zone_around}, at a DNS server that the ACME client can write to"
            ))
        );
    }
}
