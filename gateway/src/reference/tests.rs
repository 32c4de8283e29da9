//! Text of a query to text of its response: rcode, flags, sections and TTLs.

use hickory_proto::rr::DNSClass;

use super::*;
use crate::fixture;

/// Zones with a name for each kind of answer, and a zone with a TTL below its negative TTL.
fn zones() -> Zones {
    let config = fixture::config(
        "zones: [{name: home.example, ttl: 30, negativeTtl: 5}, a.b.home.example, {name: slow.example, ttl: 10, negativeTtl: 60}]
dns: {addresses: [192.168.8.22, 'fd00::22']}",
    );
    let served = [
        ("192.168.8.21", "grafana.home.example"),
        ("192.168.8.21 192.168.8.20 fd00::21", "both.home.example"),
        ("fd00::21", "six.home.example"),
        ("192.168.8.21", "*.apps.home.example"),
        ("192.168.8.21", "app.a.b.home.example"),
    ];
    Zones::build(&fixture::model(&served), &config, 7)
}

/// Each query's text, and lines of its response.
fn check(cases: &[(&str, &[&str])]) {
    let zones = zones();
    for (query, expected) in cases {
        assert_eq!(said(Some(&zones), query), *expected, "{query}");
    }
}

/// The response to a [`query`], a line for each record; and what holds of every response.
fn said(zones: Option<&Zones>, text: &str) -> Vec<String> {
    let query = query(text);
    let Some(response) = answer(zones, &query) else { return vec!["nothing".to_owned()] };
    let metadata = &response.metadata;
    assert_eq!((metadata.id, metadata.op_code), (query.metadata.id, query.metadata.op_code), "{text}");
    assert_eq!(metadata.message_type, MessageType::Response, "{text}");
    assert!(!metadata.recursion_available && !metadata.authentic_data && !metadata.truncation, "{text}");
    let echoed = response.queries.iter().map(ToString::to_string).eq(query.queries.iter().map(ToString::to_string));

    let mut first = format!("{:?}", metadata.response_code).to_uppercase();
    for (is_set, word) in [
        (metadata.authoritative, " aa"),
        (metadata.recursion_desired, " rd"),
        (metadata.checking_disabled, " cd"),
        (!echoed, " without the question"),
    ] {
        first.push_str(if is_set { word } else { "" });
    }
    let edns = response.edns.iter().map(|edns| {
        assert_eq!(edns.version(), 0, "{text}");
        let dnssec_ok = if edns.flags().dnssec_ok { " do" } else { "" };
        let options: String = edns
            .options()
            .as_ref()
            .iter()
            .map(|(_, option)| match option {
                EdnsOption::Unknown(15, error) => {
                    format!(" ede {}", error.iter().fold(0, |sum, byte| sum * 256 + u32::from(*byte)))
                }
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
fn query(text: &str) -> Message {
    let mut words = text.split(' ');
    let mut next = || words.next().expect("name and type");
    let name = Name::from_ascii(format!("{}.", next().trim_end_matches('.'))).expect("a name");
    let kind = next();
    let number = || kind.trim_start_matches("TYPE").parse::<u16>().expect("a type, or TYPE and its number").into();
    let mut question = Query::query(name, kind.parse().unwrap_or_else(|_| number()));
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
                    "+cookie" => edns.options_mut().insert(EdnsOption::Unknown(10, vec![1; 8])),
                    other => panic!("no such word: {other}"),
                }
            }
        }
    }
    message.add_queries(std::iter::repeat_n(question, n_questions));
    // As it comes from the wire.
    Message::from_vec(&message.to_vec().expect("a query")).expect("a query")
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
            &["NOERROR aa", "both.home.example. 30 IN A 192.168.8.21", "both.home.example. 30 IN A 192.168.8.20"],
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
            &["NOERROR aa", "both.home.example. 30 IN A 192.168.8.21", "both.home.example. 30 IN A 192.168.8.20"],
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
    let root = "authority . 60 IN SOA . hostmaster. 7 7200 1800 86400 60";
    check(&[
        ("nas A", &["NXDOMAIN aa", root]),
        ("NAS AAAA +edns=1232", &["NXDOMAIN aa", root, "edns 1232"]),
        // A top-level domain's, and not ours to deny.
        ("com DS +edns=1232", &["REFUSED", "edns 1232 ede 20"]),
    ]);
    for (name, apex) in [
        ("9.8.168.192.in-addr.arpa", "168.192.in-addr.arpa"),
        ("9.8.168.192.IN-ADDR.ARPA", "168.192.in-addr.arpa"),
        ("1.2.3.10.in-addr.arpa", "10.in-addr.arpa"),
        ("4.3.16.172.in-addr.arpa", "16.172.in-addr.arpa"),
        ("4.3.31.172.in-addr.arpa", "31.172.in-addr.arpa"),
        ("1.0.0.0.d.f.ip6.arpa", "d.f.ip6.arpa"),
    ] {
        let soa = format!("authority {apex}. 60 IN SOA {apex}. hostmaster.{apex}. 7 7200 1800 86400 60");
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
        ("grafana.home.example A +edns=700", &["NOERROR aa", address, "edns 700"]),
        ("grafana.home.example A +edns=100", &["NOERROR aa", address, "edns 512"]),
        ("grafana.home.example A +edns=1232 +do", &["NOERROR aa", address, "edns 1232 do"]),
        ("grafana.home.example A +edns=1232 +cookie", &["NOERROR aa", address, "edns 1232"]),
        ("grafana.home.example A +edns=1232 +version=1", &["BADVERS", "edns 1232"]),
        ("nothing.home.example A +edns=1232", &["NXDOMAIN aa", DENIED, "edns 1232"]),
    ]);
}

#[test]
fn what_is_not_one_question_is_an_error_and_a_response_is_nothing() {
    check(&[
        ("grafana.home.example A +none", &["FORMERR"]),
        ("grafana.home.example A +twice +edns=1232", &["FORMERR without the question", "edns 1232"]),
        ("grafana.home.example A +twice +edns=1232 +version=1", &["BADVERS without the question", "edns 1232"]),
        ("grafana.home.example A +opcode=4", &["NOTIMP"]),
        ("grafana.home.example A +twice +opcode=5", &["NOTIMP without the question"]),
        ("home.example SOA +opcode=5 +edns=1232", &["NOTIMP", "edns 1232"]),
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
    assert_eq!(said(None, "grafana.home.example A +opcode=4"), ["NOTIMP"]);
}
