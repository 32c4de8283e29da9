//! Text of a query to text of its response: rcode, flags, sections and TTLs. What the common path answers
//! too must be the same.

use hickory_proto::{
    op::{MessageType, Query as HickoryQuery},
    rr::rdata::opt::ClientSubnet,
};
use k8s::model::RecordData;

use super::*;
use crate::{
    fixture,
    wire::{self, Question},
};

/// Zones with a name for each kind of answer, and a zone with a TTL below its negative TTL.
fn views() -> Views {
    let config = fixture::config(
        "zones: [{name: home.example, ttl: 30, negativeTtl: 5, acmeChallenge: acme.example.net}, a.b.home.example, {name: slow.example, ttl: 10, negativeTtl: 60}]
dns: {addresses: [192.168.8.22, 'fd00::22'], httpsRecords: true, reverse: true, views: [{name: vpn, sources: [10.8.0.0/24], entryPoints: [default/vpn]}]}",
    );
    let mut claims = fixture::claims(&[
        ("192.168.8.21", "grafana.home.example"),
        ("192.168.8.21 192.168.8.20 fd00::21", "both.home.example"),
        ("fd00::21", "six.home.example"),
        ("192.168.8.21", "*.apps.home.example"),
        ("192.168.8.21", "app.a.b.home.example"),
        ("192.168.8.21 fd00::21", "+tls.home.example"),
        ("192.168.8.21", "twice.home.example"),
        ("default/vpn=192.168.8.23", "twice.home.example"),
    ]);
    let host = |name: &str| name.parse().expect("a name");
    claims.extend([
        fixture::alias("alias.home.example", "grafana.home.example"),
        fixture::alias("chain.home.example", "alias.home.example"),
        fixture::alias("across.home.example", "app.a.b.home.example"),
        fixture::alias("away.home.example", "www.example.org"),
        fixture::alias("dangling.home.example", "nothing.home.example"),
        fixture::alias("empty.home.example", "apps.home.example"),
        fixture::alias("loop.home.example", "pool.home.example"),
        fixture::alias("pool.home.example", "loop.home.example"),
        fixture::alias("*.to.home.example", "grafana.home.example"),
        fixture::records("text.home.example", [fixture::text(&["v=spf1", "say \"hi\""])]),
        fixture::records("home.example", [RecordData::Mx { preference: 10, exchange: host("six.home.example") }]),
        fixture::records(
            "_ldap._tcp.home.example",
            [RecordData::Srv { priority: 0, weight: 5, port: 389, target: host("both.home.example") }],
        ),
        fixture::records("many.home.example", (0..40).map(|last| RecordData::A([192, 168, 9, last].into()))),
        fixture::records("crowd.home.example", (0..100).map(|last| RecordData::A([192, 168, 9, last].into()))),
    ]);
    Views::build(claims, &config, 7)
}

fn policy() -> Policy {
    Policy {
        forwarders: vec!["192.168.8.5/32".parse().expect("a network")],
        forward_to: None,
        identity: Some("gateway-0".to_owned()),
    }
}

const CLIENT: &str = "192.168.8.7";
const UDP: Transport = Transport::Udp;

/// Each query's text, and lines of its response.
fn check(cases: &[(&str, &[&str])]) {
    let views = views();
    for (query, expected) in cases {
        assert_eq!(said(Some(&views), query), *expected, "{query}");
    }
}

fn said(views: Option<&Views>, text: &str) -> Vec<String> {
    said_to(views, text, CLIENT, UDP)
}

/// The response to a [`query`], a line for each record; and what holds of every response.
fn said_to(views: Option<&Views>, text: &str, client: &str, transport: Transport) -> Vec<String> {
    let query = query(text);
    let client = client.parse().expect("an address");
    let answer = match respond(views, &policy(), &query, client, transport) {
        Outcome::Answer(answer) => answer,
        Outcome::Dropped => return vec!["nothing".to_owned()],
        Outcome::Forward(_) => return vec!["forwarded".to_owned()],
    };
    let response = decode(&query, &answer.bytes);
    let mut out = [0; UDP_PAYLOAD];
    let zones = views.map(|views| &views.of(client).1.zones);
    if let Some(common) = zones.filter(|_| transport == UDP).and_then(|zones| wire::answer(zones, &query, &mut out)) {
        assert_eq!(decode(&query, &out[..common.length]), response, "{text}: the common path");
        let said = (common.kind, common.zone, u16::from(common.is_name_error) * 3);
        assert_eq!(said, (answer.about.kind, answer.about.zone, answer.rcode), "{text}");
    }
    response
}

fn decode(query: &[u8], bytes: &[u8]) -> Vec<String> {
    let response = Message::from_vec(bytes).expect("a response that can be read");
    let metadata = &response.metadata;
    assert_eq!(bytes[..2], query[..2], "the id");
    assert_eq!(metadata.message_type, MessageType::Response);
    assert!(!metadata.recursion_available && !metadata.authentic_data && !metadata.checking_disabled);
    let echoed = response.queries.len() == 1
        && bytes[12..].starts_with(&query[12..Question::read(query).map_or(12, |it| it.end)]);

    let mut first = match metadata.response_code {
        // 16 is both.
        ResponseCode::BADSIG => "BADVERS".to_owned(),
        code => format!("{code:?}").to_uppercase(),
    };
    for (is_set, word) in [
        (metadata.authoritative, " aa"),
        (metadata.truncation, " tc"),
        (metadata.recursion_desired, " rd"),
        (!echoed, " without the question"),
    ] {
        first.push_str(if is_set { word } else { "" });
    }
    let edns = response.edns.iter().map(|edns| {
        assert_eq!(edns.version(), 0);
        let dnssec_ok = if edns.flags().dnssec_ok { " do" } else { "" };
        let options: String = edns
            .options()
            .as_ref()
            .iter()
            .map(|(_, option)| match option {
                EdnsOption::Unknown(15, error) => {
                    format!(" ede {}", error.iter().fold(0, |sum, byte| sum * 256 + u32::from(*byte)))
                }
                EdnsOption::Unknown(11, idle) => format!(" keep-alive {idle:?}"),
                EdnsOption::NSID(id) => format!(" nsid {}", String::from_utf8_lossy(id.as_ref())),
                EdnsOption::Subnet(it) => format!(" {}/{}/{}", it.addr(), it.source_prefix(), it.scope_prefix()),
                other => format!(" {other:?}"),
            })
            .collect();
        format!("edns {}{dnssec_ok}{options}", edns.max_payload())
    });
    let records =
        [("", &response.answers), ("authority ", &response.authorities), ("additional ", &response.additionals)];
    let records = records
        .into_iter()
        .flat_map(|(section, records)| records.iter().map(move |record| format!("{section}{record}")));
    std::iter::once(first).chain(records).chain(edns).collect()
}

/// `name type` and what dig would say: class `CH`, `+rd`, `+cd`, `+edns=SIZE`, `+version=1`, `+do`,
/// `+cookie`, `+opcode=UPDATE`; `+qr` is a response, `+twice` asks two questions, and `+none` none.
fn query(text: &str) -> Vec<u8> {
    let mut words = text.split(' ');
    let mut next = || words.next().expect("name and type");
    let name = Name::from_ascii(format!("{}.", next().trim_end_matches('.'))).expect("a name");
    let kind = next();
    let number = || kind.trim_start_matches("TYPE").parse::<u16>().expect("a type, or TYPE and its number").into();
    let mut question = HickoryQuery::query(name, kind.parse().unwrap_or_else(|_| number()));
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    let mut n_questions = 1;
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, "0"));
        match word {
            "CH" => {
                question.set_query_class(DNSClass::CH);
            }
            "ANY" => {
                question.set_query_class(DNSClass::ANY);
            }
            "+rd" => message.metadata.recursion_desired = true,
            "+cd" => message.metadata.checking_disabled = true,
            "+qr" => message.metadata.message_type = MessageType::Response,
            "+opcode" => message.metadata.op_code = OpCode::from_u8(value.parse().expect("an opcode")),
            "+none" => n_questions = 0,
            "+twice" => n_questions = 2,
            _ => {
                let edns = message.edns.get_or_insert_with(Edns::new);
                match word {
                    "+edns" => {
                        edns.set_max_payload(value.parse().expect("a size"));
                    }
                    "+version" => {
                        edns.set_version(value.parse().expect("a version"));
                    }
                    "+do" => {
                        edns.set_dnssec_ok(true);
                    }
                    "+nsid" => edns.options_mut().insert(EdnsOption::Unknown(3, Vec::new())),
                    "+keepalive" => edns.options_mut().insert(EdnsOption::Unknown(11, Vec::new())),
                    "+subnet" => {
                        let subnet = ClientSubnet::new(value.parse().expect("an address"), 24, 0);
                        edns.options_mut().insert(EdnsOption::Subnet(subnet));
                    }
                    "+cookie" => edns.options_mut().insert(EdnsOption::Unknown(10, vec![1; 8])),
                    other => panic!("no such word: {other}"),
                }
            }
        }
    }
    message.add_queries(std::iter::repeat_n(question, n_questions));
    message.to_vec().expect("a query")
}

/// What a denial of home.example carries.
const DENIED: &str = "authority home.example. 5 IN SOA ns.home.example. hostmaster.home.example. 7 7200 1800 86400 5";

#[test]
fn addresses_are_answered_in_the_case_they_are_asked_for_with_the_zones_ttl() {
    check(&[
        ("grafana.home.example A", &["NOERROR aa", "grafana.home.example. 30 IN A 192.168.8.21"]),
        ("GraFana.HOME.example A", &["NOERROR aa", "GraFana.HOME.example. 30 IN A 192.168.8.21"]),
        (
            "both.home.example A",
            // Which comes first goes by the query's id.
            &["NOERROR aa", "both.home.example. 30 IN A 192.168.8.20", "both.home.example. 30 IN A 192.168.8.21"],
        ),
        ("both.home.example AAAA", &["NOERROR aa", "both.home.example. 30 IN AAAA fd00::21"]),
        ("ns.home.example AAAA", &["NOERROR aa", "ns.home.example. 30 IN AAAA fd00::22"]),
        ("x.apps.home.example A", &["NOERROR aa", "x.apps.home.example. 30 IN A 192.168.8.21"]),
        ("z.y.x.apps.home.example A", &["NOERROR aa", "z.y.x.apps.home.example. 30 IN A 192.168.8.21"]),
        ("*.apps.home.example A", &["NOERROR aa", "*.apps.home.example. 30 IN A 192.168.8.21"]),
        ("app.a.b.home.example A", &["NOERROR aa", "app.a.b.home.example. 30 IN A 192.168.8.21"]),
    ]);
}

#[test]
fn a_name_that_exists_without_the_type_is_no_data() {
    for query in [
        "grafana.home.example AAAA",
        "grafana.home.example TXT",
        "grafana.home.example HTTPS",
        "grafana.home.example DS",
        "grafana.home.example TYPE65280",
        "grafana.home.example SOA",
        "grafana.home.example NS",
        "six.home.example A",
        "x.apps.home.example AAAA",
        "home.example A",
        "home.example DS",
        "home.example CAA",
        // The zone above it would have it.
        "a.b.home.example DS",
        // Empty non-terminals: of a wildcard, and of a zone inside this one.
        "apps.home.example A",
        "b.home.example A",
    ] {
        check(&[(query, &["NOERROR aa", DENIED])]);
    }
}

#[test]
fn a_name_that_does_not_exist_is_denied_in_the_zone_that_would_hold_it() {
    for query in ["nothing.home.example A", "x.grafana.home.example A", "c.b.home.example A", "nothing.home.example DS"]
    {
        check(&[(query, &["NXDOMAIN aa", DENIED])]);
    }
    let inner =
        "authority a.b.home.example. 5 IN SOA ns.a.b.home.example. hostmaster.a.b.home.example. 7 7200 1800 86400 5";
    check(&[("x.a.b.home.example A", &["NXDOMAIN aa", inner]), ("a.b.home.example A", &["NOERROR aa", inner])]);
    let slow = "authority slow.example. 60 IN SOA ns.slow.example. hostmaster.slow.example. 7 7200 1800 86400 60";
    check(&[("x.slow.example A", &["NXDOMAIN aa", slow]), ("slow.example A", &["NOERROR aa", slow])]);
}

#[test]
fn the_apex_has_a_start_of_authority_and_a_name_server_with_its_addresses() {
    check(&[
        (
            "home.example SOA",
            &["NOERROR aa", "home.example. 5 IN SOA ns.home.example. hostmaster.home.example. 7 7200 1800 86400 5"],
        ),
        (
            "slow.example SOA",
            &["NOERROR aa", "slow.example. 60 IN SOA ns.slow.example. hostmaster.slow.example. 7 7200 1800 86400 60"],
        ),
        (
            "HOME.example NS",
            &[
                "NOERROR aa",
                "HOME.example. 30 IN NS ns.home.example.",
                "additional ns.home.example. 30 IN A 192.168.8.22",
                "additional ns.home.example. 30 IN AAAA fd00::22",
            ],
        ),
    ]);
}

#[test]
fn any_is_answered_with_one_set() {
    check(&[
        (
            "home.example ANY",
            &["NOERROR aa", "home.example. 5 IN SOA ns.home.example. hostmaster.home.example. 7 7200 1800 86400 5"],
        ),
        (
            "both.home.example ANY",
            &["NOERROR aa", "both.home.example. 30 IN A 192.168.8.20", "both.home.example. 30 IN A 192.168.8.21"],
        ),
        ("six.home.example ANY", &["NOERROR aa", "six.home.example. 30 IN AAAA fd00::21"]),
        ("apps.home.example ANY", &["NOERROR aa", DENIED]),
        ("nothing.home.example ANY", &["NXDOMAIN aa", DENIED]),
    ]);
}

#[test]
fn what_is_no_question_of_ours_is_refused_and_why_is_said_to_those_who_speak_edns() {
    check(&[
        ("example.org A", &["REFUSED"]),
        ("example.org A +edns=1232", &["REFUSED", "edns 1232 ede 20"]),
        ("a.example A +rd +edns=1232", &["REFUSED rd", "edns 1232 ede 20"]),
        (". NS +edns=1232", &["REFUSED", "edns 1232 ede 20"]),
        ("grafana.home.example A CH +edns=1232", &["REFUSED", "edns 1232"]),
        ("grafana.home.example A ANY", &["REFUSED"]),
        ("home.example AXFR", &["REFUSED"]),
        // IXFR.
        ("home.example TYPE251", &["REFUSED"]),
    ]);
}

#[test]
fn single_labels_and_reverse_names_of_private_addresses_are_denied() {
    let root = "authority . 60 IN SOA . . 7 7200 1800 86400 60";
    check(&[
        ("nas A", &["NXDOMAIN aa", root]),
        ("NAS AAAA +edns=1232", &["NXDOMAIN aa", root, "edns 1232"]),
        // A top-level domain's, and not ours to deny.
        ("com DS +edns=1232", &["REFUSED", "edns 1232 ede 20"]),
        ("com DNSKEY +edns=1232", &["REFUSED", "edns 1232 ede 20"]),
    ]);
    for (name, apex) in [
        ("9.7.168.192.in-addr.arpa", "168.192.in-addr.arpa"),
        ("9.7.168.192.IN-ADDR.ARPA", "168.192.in-addr.arpa"),
        ("1.2.3.10.in-addr.arpa", "10.in-addr.arpa"),
        ("4.3.16.172.in-addr.arpa", "16.172.in-addr.arpa"),
        ("4.3.31.172.in-addr.arpa", "31.172.in-addr.arpa"),
        ("1.0.1.0.d.f.ip6.arpa", "d.f.ip6.arpa"),
    ] {
        let soa = format!("authority {apex}. 60 IN SOA {apex}. {apex}. 7 7200 1800 86400 60");
        check(&[(&format!("{name} PTR"), &["NXDOMAIN aa", &soa])]);
    }
    for name in [
        "4.3.32.172.in-addr.arpa",
        "4.3.x.172.in-addr.arpa",
        "9.8.169.192.in-addr.arpa",
        "8.8.8.8.in-addr.arpa",
        "1.c.f.ip6.arpa",
    ] {
        check(&[(&format!("{name} PTR"), &["REFUSED"])]);
    }
}

#[test]
fn edns_is_answered_with_a_size_that_both_can_take() {
    let address = "grafana.home.example. 30 IN A 192.168.8.21";
    check(&[
        ("grafana.home.example A +rd +cd", &["NOERROR aa rd", address]),
        ("grafana.home.example A +edns=4096", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=1232", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=700", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=100", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=1232 +do", &["NOERROR aa", address, "edns 1232 do"]),
        ("grafana.home.example A +edns=1232 +cookie", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=1232 +version=1", &["BADVERS", "edns 1232"]),
        // Whose options nobody knows.
        ("grafana.home.example A +edns=1232 +version=1 +subnet=10.8.0.0", &["BADVERS", "edns 1232"]),
        ("nothing.home.example A +edns=1232", &["NXDOMAIN aa", DENIED, "edns 1232"]),
    ]);
}

#[test]
fn what_is_not_one_question_is_an_error_and_a_response_is_nothing() {
    check(&[
        ("grafana.home.example A +none", &["FORMERR without the question"]),
        ("grafana.home.example A +twice +edns=1232", &["FORMERR without the question"]),
        ("grafana.home.example A +rd +opcode=4", &["NOTIMP rd without the question"]),
        ("grafana.home.example A +twice +opcode=5", &["NOTIMP without the question"]),
        ("home.example SOA +opcode=5 +edns=1232", &["NOTIMP without the question"]),
        ("grafana.home.example A +qr", &["nothing"]),
    ]);
}

#[test]
fn before_the_first_list_of_objects_every_question_is_refused_as_not_ready() {
    for name in ["grafana.home.example", "nas", "example.org"] {
        assert_eq!(said(None, &format!("{name} A")), ["REFUSED"]);
        assert_eq!(said(None, &format!("{name} A +edns=1232")), ["REFUSED", "edns 1232 ede 14"]);
    }
    assert_eq!(said(None, "grafana.home.example A +twice"), ["FORMERR without the question"]);
    assert_eq!(said(None, "grafana.home.example A +opcode=4"), ["NOTIMP without the question"]);
}

#[test]
fn an_alias_is_followed_through_what_is_ours_and_the_code_is_the_last_names() {
    let alias = "alias.home.example. 30 IN CNAME grafana.home.example.";
    let address = "grafana.home.example. 30 IN A 192.168.8.21";
    check(&[
        ("alias.home.example A", &["NOERROR aa", alias, address]),
        ("ALIAS.home.example A", &["NOERROR aa", "ALIAS.home.example. 30 IN CNAME grafana.home.example.", address]),
        ("alias.home.example AAAA", &["NOERROR aa", alias, DENIED]),
        ("alias.home.example CNAME", &["NOERROR aa", alias]),
        ("alias.home.example ANY", &["NOERROR aa", alias]),
        (
            "chain.home.example A",
            &["NOERROR aa", "chain.home.example. 30 IN CNAME alias.home.example.", alias, address],
        ),
        (
            "across.home.example A",
            &[
                "NOERROR aa",
                "across.home.example. 30 IN CNAME app.a.b.home.example.",
                "app.a.b.home.example. 30 IN A 192.168.8.21",
            ],
        ),
        ("away.home.example A", &["NOERROR aa", "away.home.example. 30 IN CNAME www.example.org."]),
        (
            "dangling.home.example A",
            &["NXDOMAIN aa", "dangling.home.example. 30 IN CNAME nothing.home.example.", DENIED],
        ),
        ("empty.home.example A", &["NOERROR aa", "empty.home.example. 30 IN CNAME apps.home.example.", DENIED]),
        (
            "loop.home.example A",
            &[
                "NOERROR aa",
                "loop.home.example. 30 IN CNAME pool.home.example.",
                "pool.home.example. 30 IN CNAME loop.home.example.",
            ],
        ),
        ("x.to.home.example A", &["NOERROR aa", "x.to.home.example. 30 IN CNAME grafana.home.example.", address]),
    ]);
}

#[test]
fn records_of_other_types_bring_the_addresses_of_the_names_in_them() {
    check(&[
        ("text.home.example TXT", &["NOERROR aa", "text.home.example. 30 IN TXT v=spf1say \"hi\""]),
        (
            "home.example MX",
            &[
                "NOERROR aa",
                "home.example. 30 IN MX 10 six.home.example.",
                "additional six.home.example. 30 IN AAAA fd00::21",
            ],
        ),
        (
            "_ldap._tcp.home.example SRV",
            &[
                "NOERROR aa",
                "_ldap._tcp.home.example. 30 IN SRV 0 5 389 both.home.example.",
                "additional both.home.example. 30 IN A 192.168.8.21",
                "additional both.home.example. 30 IN A 192.168.8.20",
                "additional both.home.example. 30 IN AAAA fd00::21",
            ],
        ),
        ("_tcp.home.example SRV", &["NOERROR aa", DENIED]),
    ]);
}

#[test]
fn names_with_tls_have_a_service_binding_where_that_is_wanted_and_others_never() {
    check(&[
        (
            "tls.home.example HTTPS",
            &[
                "NOERROR aa",
                "tls.home.example. 30 IN HTTPS 1 . alpn=h2,http/1.1, ipv4hint=192.168.8.21, ipv6hint=fd00::21,",
            ],
        ),
        ("tls.home.example SVCB", &["NOERROR aa", DENIED]),
        ("grafana.home.example HTTPS", &["NOERROR aa", DENIED]),
    ]);
}

#[test]
fn challenges_of_acme_lead_to_the_domain_that_answers_them() {
    let below = |name: &str, target: &str| format!("{name}. 5 IN CNAME {target}.");
    for (name, target) in [
        ("_acme-challenge.grafana.home.example", "grafana.acme.example.net"),
        // For the certificate of the wildcard, which covers no challenge.
        ("_acme-challenge.apps.home.example", "apps.acme.example.net"),
        ("_ACME-Challenge.x.apps.home.example", "x.apps.acme.example.net"),
        ("_acme-challenge.not.yet.home.example", "not.yet.acme.example.net"),
        ("_acme-challenge.home.example", "acme.example.net"),
    ] {
        check(&[
            (&format!("{name} TXT"), &["NOERROR aa", &below(name, target)]),
            (&format!("{name} CNAME"), &["NOERROR aa", &below(name, target)]),
        ]);
    }
    check(&[
        ("x._acme-challenge.home.example TXT", &["NXDOMAIN aa", DENIED]),
        ("acme-challenge.apps.home.example TXT", &["NOERROR aa", DENIED]),
    ]);
}

#[test]
fn addresses_that_are_answered_have_names() {
    check(&[
        ("21.8.168.192.in-addr.arpa PTR", &["NOERROR aa", "21.8.168.192.in-addr.arpa. 30 IN PTR lan.home.example."]),
        ("22.8.168.192.in-addr.arpa PTR", &["NOERROR aa", "22.8.168.192.in-addr.arpa. 30 IN PTR ns.home.example."]),
        ("7.9.168.192.in-addr.arpa PTR", &["NOERROR aa", "7.9.168.192.in-addr.arpa. 30 IN PTR many.home.example."]),
        ("lan.home.example A", &["NOERROR aa", "lan.home.example. 30 IN A 192.168.8.21"]),
        (
            "9.8.168.192.in-addr.arpa PTR",
            &[
                "NXDOMAIN aa",
                "authority 8.168.192.in-addr.arpa. 5 IN SOA ns.home.example. hostmaster.home.example. 7 7200 1800 86400 5",
            ],
        ),
        (
            "8.168.192.in-addr.arpa NS",
            &[
                "NOERROR aa",
                "8.168.192.in-addr.arpa. 30 IN NS ns.home.example.",
                "additional ns.home.example. 30 IN A 192.168.8.22",
                "additional ns.home.example. 30 IN AAAA fd00::22",
            ],
        ),
    ]);
    let v6 = format!("2.2.{}0.0.d.f.ip6.arpa", "0.".repeat(26));
    let expected = format!("{v6}. 30 IN PTR ns.home.example.");
    check(&[(&format!("{v6} PTR"), &["NOERROR aa", &expected])]);
}

#[test]
fn what_does_not_fit_is_cut_off_and_says_so_only_where_an_answer_is_missing() {
    let views = views();
    let n_answers = |lines: &[String]| lines.iter().filter(|line| line.contains(" IN A ")).count();
    for (query, transport, expected, records) in [
        ("many.home.example A", UDP, "NOERROR aa tc", 0),
        ("many.home.example A +edns=600", UDP, "NOERROR aa tc", 0),
        ("many.home.example A +edns=1232", UDP, "NOERROR aa", 40),
        ("crowd.home.example A +edns=4096", UDP, "NOERROR aa tc", 0),
        ("crowd.home.example A", Transport::Tcp, "NOERROR aa", 100),
    ] {
        let said = said_to(Some(&views), query, CLIENT, transport);
        assert_eq!((said[0].as_str(), n_answers(&said)), (expected, records), "{query}");
        assert_eq!(said.iter().any(|line| line.starts_with("edns")), query.contains("+edns"), "{query}");
    }
}

#[test]
fn who_answers_is_told_to_those_who_ask() {
    check(&[
        ("grafana.home.example SOA +edns=1232 +nsid", &["NOERROR aa", DENIED, "edns 1232 nsid gateway-0"]),
        ("id.server TXT CH", &["NOERROR aa", "id.server. 0 CH TXT gateway-0"]),
        ("ID.Server TXT CH", &["NOERROR aa", "ID.Server. 0 CH TXT gateway-0"]),
        (
            "version.bind TXT CH",
            &["NOERROR aa", concat!("version.bind. 0 CH TXT doorward ", env!("CARGO_PKG_VERSION"))],
        ),
        ("version.bind A CH", &["REFUSED"]),
        ("authors.bind TXT CH", &["REFUSED"]),
    ]);
    let nobody = Policy::default();
    for text in ["id.server TXT CH", "version.bind TXT CH", "grafana.home.example A +nsid"] {
        let Outcome::Answer(answer) = respond(Some(&views()), &nobody, &query(text), [127, 0, 0, 1].into(), UDP) else {
            panic!("{text}: an answer");
        };
        let response = Message::from_vec(&answer.bytes).expect("a response");
        let options = response.edns.map_or(0, |edns| edns.options().as_ref().len());
        assert_eq!(response.answers.iter().filter(|record| record.dns_class == DNSClass::CH).count() + options, 0);
    }
}

#[test]
fn a_view_is_told_its_own_entry_point_and_a_forwarder_is_believed_for_whom_it_asks() {
    let views = views();
    let twice = |last: u8| format!("twice.home.example. 30 IN A 192.168.8.{last}");
    for (query, client, expected) in [
        ("twice.home.example A", "192.168.8.7", vec![twice(21)]),
        ("twice.home.example A", "10.8.0.9", vec![twice(23)]),
        ("twice.home.example A +subnet=10.8.0.0", "192.168.8.5", vec![twice(23), "edns 1232 10.8.0.0/24/24".into()]),
        // The 16th bit tells it from the view's network.
        ("twice.home.example A +subnet=10.9.0.0", "192.168.8.5", vec![twice(21), "edns 1232 10.9.0.0/24/16".into()]),
        (
            "twice.home.example A +subnet=192.168.9.0",
            "192.168.8.5",
            vec![twice(21), "edns 1232 192.168.9.0/24/1".into()],
        ),
        // Not from a forwarder.
        ("twice.home.example A +subnet=10.8.0.0", "192.168.8.6", vec![twice(21), "edns 1232 10.8.0.0/24/0".into()]),
        // A name that only the other door serves.
        ("grafana.home.example A", "10.8.0.9", vec!["grafana.home.example. 30 IN A 192.168.8.21".into()]),
    ] {
        assert_eq!(said_to(Some(&views), query, client, UDP)[1..], expected, "{query} from {client}");
    }
}

#[test]
fn idle_time_is_told_to_those_who_ask_by_tcp_and_nobody_else() {
    let views = views();
    let query = "grafana.home.example A +keepalive";
    let edns = |transport| said_to(Some(&views), query, CLIENT, transport).pop().expect("an OPT record");
    assert_eq!((edns(Transport::Tcp), edns(UDP)), ("edns 1232 keep-alive [0, 100]".into(), "edns 1232".into()));
}

#[test]
fn only_what_no_zone_holds_goes_to_the_upstream_and_never_its_own_questions() {
    let views = views();
    let policy = Policy { forward_to: Some([192, 168, 8, 1].into()), ..Policy::default() };
    let is_forwarded = |text: &str, client: [u8; 4]| {
        let query = query(text);
        let common = wire::answer(views.default_zones(), &query, &mut [0; UDP_PAYLOAD]);
        let is_forwarded = matches!(respond(Some(&views), &policy, &query, client.into(), UDP), Outcome::Forward(_));
        assert!(!is_forwarded || common.is_none(), "{text}: the common path");
        is_forwarded
    };
    for (text, client, expected) in [
        ("example.org A", [192, 168, 8, 7], true),
        ("nas A", [192, 168, 8, 7], true),
        ("1.2.3.10.in-addr.arpa PTR", [192, 168, 8, 7], true),
        // In a network of which other addresses have names.
        ("99.8.168.192.in-addr.arpa PTR", [192, 168, 8, 7], true),
        ("21.8.168.192.in-addr.arpa PTR", [192, 168, 8, 7], false),
        ("example.org A", [192, 168, 8, 1], false),
        ("nothing.home.example A", [192, 168, 8, 7], false),
        ("grafana.home.example TXT", [192, 168, 8, 7], false),
        ("example.org AXFR", [192, 168, 8, 7], false),
        ("example.org A CH", [192, 168, 8, 7], false),
    ] {
        assert_eq!(is_forwarded(text, client), expected, "{text} from {client:?}");
    }
    assert!(!matches!(
        respond(None, &policy, &query("example.org A"), [192, 168, 8, 7].into(), UDP),
        Outcome::Forward(_)
    ));
}

#[test]
fn bytes_that_are_no_query_are_an_error_or_nothing() {
    let views = views();
    let good = query("grafana.home.example A +edns=1232");
    let end = Question::read(&good).expect("a question").end;
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        bytes
    };
    let opt = good[end..].to_vec();
    let with_subnet = |option: &[u8]| {
        let length = u8::try_from(option.len()).expect("short");
        with(&|bytes| {
            let at = bytes.len() - 1;
            bytes[at] = length + 4;
            bytes.extend([0, 8, 0, length]);
            bytes.extend(option);
        })
    };
    // RFC 1995 section 3.
    let with_version = |kind: u8| {
        let mut bytes = query("home.example SOA");
        let end = bytes.len();
        bytes[end - 3] = kind;
        bytes[9] = 1;
        bytes.extend([0xC0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0].into_iter().chain([7; 20]));
        bytes
    };
    assert_eq!(rcode(&views, &with_version(251)), Some(5), "a transfer is refused and not misread");
    for (what, bytes, expected) in [
        ("nothing", Vec::new(), None),
        ("less than a header", good[..11].to_vec(), None),
        ("a header alone", good[..12].to_vec(), Some(1)),
        ("half a question", good[..end - 3].to_vec(), Some(1)),
        ("half an OPT record", good[..good.len() - 1].to_vec(), Some(1)),
        (
            "more additional records than anybody sends",
            with(&|bytes| {
                bytes[11] = 3;
                bytes.extend([0, 0, 99, 0, 1, 0, 0, 0, 0, 0, 0].repeat(2));
            }),
            Some(1),
        ),
        ("a subnet with more bytes than its prefix", with_subnet(&[0, 1, 8, 0, 10, 8]), Some(1)),
        ("a subnet with bits beyond its prefix", with_subnet(&[0, 1, 15, 0, 10, 1]), Some(1)),
        ("a subnet with a scope", with_subnet(&[0, 1, 8, 8, 10]), Some(1)),
        ("a subnet of no family", with_subnet(&[0, 3, 8, 0, 10]), Some(1)),
        ("trailing bytes", with(&|bytes| bytes.push(0)), Some(1)),
        ("a long label", with(&|bytes| bytes[12] = 64), Some(1)),
        ("a name that points at itself", with(&|bytes| bytes[12..14].copy_from_slice(&[0xC0, 12])), Some(1)),
        ("a name that points at the header", with(&|bytes| bytes[12..14].copy_from_slice(&[0xC0, 4])), Some(1)),
        ("answers", with(&|bytes| bytes[7] = 1), Some(1)),
        ("authority", with(&|bytes| bytes[9] = 1), Some(1)),
        ("the version that a client has, with no IXFR", with_version(6), Some(1)),
        ("an additional record that is not there", with(&|bytes| bytes[11] = 2), Some(1)),
        (
            "two OPT records",
            with(&|bytes| {
                bytes[11] = 2;
                bytes.extend(&opt);
            }),
            Some(1),
        ),
        (
            "an OPT record with an owner",
            with(&|bytes| {
                bytes.splice(end..=end, [1, b'a', 0]);
            }),
            Some(1),
        ),
        ("a response", with(&|bytes| bytes[2] |= 0x80), None),
    ] {
        assert_eq!(rcode(&views, &bytes), expected, "{what}");
        if let Outcome::Answer(answer) = respond(Some(&views), &policy(), &bytes, [127, 0, 0, 1].into(), UDP) {
            assert_eq!((answer.bytes.len(), &answer.bytes[..2]), (12, &good[..2]), "{what}: a bare header");
        }
        let mut out = [0; UDP_PAYLOAD];
        assert_eq!(wire::answer(&views.of([127, 0, 0, 1].into()).1.zones, &bytes, &mut out), None, "{what}");
    }
}

fn rcode(views: &Views, bytes: &[u8]) -> Option<u16> {
    match respond(Some(views), &policy(), bytes, [127, 0, 0, 1].into(), UDP) {
        Outcome::Answer(answer) => Some(answer.rcode),
        Outcome::Dropped | Outcome::Forward(_) => None,
    }
}

#[test]
fn the_upstream_is_asked_the_question_alone_and_its_answer_comes_back_in_the_clients_words() {
    let asked = query("WWW.Example.Org A +rd +cd +edns=4096 +do +cookie +subnet=10.8.0.0");
    let forwarded = upstream_query(&asked).expect("a query");
    let read = Message::from_vec(&forwarded).expect("a query that can be read");
    assert_eq!(read.queries[0].to_string(), "www.example.org. IN A");
    assert!(read.metadata.recursion_desired && read.metadata.checking_disabled);
    let edns = read.edns.expect("an OPT record");
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok, edns.options().as_ref().len()), (1232, true, 0));

    let mut answer = [&[9, 9, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], &forwarded[12..33]].concat();
    answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7]);
    let relayed = relay(&asked, &answer, UDP);
    assert_eq!(
        (&relayed[..2], &relayed[12..33]),
        (&asked[..2], &asked[12..33]),
        "the id, and the question as it was asked"
    );
    let read = Message::from_vec(&relayed).expect("an answer that can be read");
    assert_eq!(read.answers[0].to_string(), "WWW.Example.Org. 60 IN A 203.0.113.7");

    // Longer than the client takes.
    answer.resize(1300, 0);
    let cut = Message::from_vec(&relay(&asked, &answer, UDP)).expect("an answer that can be read");
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.queries.len() == 1);
    assert_eq!(cut.edns.map(|edns| edns.max_payload()), Some(1232), "who speaks EDNS is spoken to in it");
    assert_eq!(relay(&asked, &answer, Transport::Tcp).len(), 1300);
    // An error without its question.
    let refused = Message::from_vec(&relay(&asked, &[9, 9, 0x81, 5, 0, 0, 0, 0, 0, 0, 0, 0], UDP)).expect("an answer");
    assert_eq!((refused.metadata.response_code, refused.queries.len()), (ResponseCode::Refused, 1));
}
