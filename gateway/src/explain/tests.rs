//! The reason says what there is to change, and what is explained is what is answered.

use k8s::{
    model::{NameClaim, ObjectName, RecordData},
    problem::Reason,
};

use super::*;
use crate::fixture;

fn config() -> Config {
    fixture::config(
        "zones: [{name: home.example, ttl: 10, negativeTtl: 60, acmeChallenge: acme.example}, a.lab.home.example]
dns: {clients: [192.168.0.0/16, 10.0.0.0/8], views: [{name: vpn, sources: [10.8.0.0/24], entryPoints: [default/vpn]}, {name: same, sources: [10.9.0.0/24], entryPoints: [lan]}]}",
    )
}

fn views(config: &Config) -> Views {
    let mut claims = fixture::claims(&[
        ("lan=192.168.8.21", "grafana.home.example"),
        ("default/vpn=192.168.8.23", "grafana.home.example"),
        ("lan=fd00::21", "six.home.example"),
        ("lan=192.168.8.21", "*.home.example"),
        ("lan=192.168.8.21", "a.b.home.example"),
        ("", "pending.home.example"),
    ]);
    claims.extend([
        fixture::alias("alias.home.example", "grafana.home.example"),
        fixture::alias("second.home.example", "x.b.home.example"),
        fixture::alias("gone.home.example", "www.example.net"),
        fixture::records("grafana.home.example", [fixture::text(&["hello"])]),
        fixture::records("mail.home.example", [fixture::text(&["v=spf1 -all"])]),
        fixture::records("mail.home.example", [RecordData::A(Ipv4Addr::new(192, 168, 8, 30))]),
        fixture::records("alias.home.example", [fixture::text(&["lost"])]),
        fixture::withheld("old.home.example", "its IngressClass nginx belongs to another controller"),
        fixture::withheld("y.b.home.example", "its IngressClass nginx belongs to another controller"),
        fixture::withheld("*.lab.home.example", "label doorward.dev/ignore is true"),
    ]);
    Views::build(claims, config, 1_764_000_000)
}

fn explained_to(name: &str, kind: Option<&str>, client: Option<&str>) -> Explanation {
    let config = config();
    let problem = |text: &str| {
        let error = text.parse::<k8s::model::HostName>().expect_err("no name");
        Problem::new(
            &ObjectName::new("Ingress", "default", "odd"),
            Reason::InvalidHost { text: text.to_owned(), error },
        )
    };
    let known = Known {
        views: Some(&views(&config)),
        config: &config,
        policy: &Policy::default(),
        problems: &[problem("spa ce.home.example"), problem("")],
        objects: Some(Objects::Followed { changed: UNIX_EPOCH }),
    };
    explain(&known, &Question::parse(name, kind, client).expect("a right question"))
}

fn explained(name: &str, kind: Option<&str>) -> Explanation {
    explained_to(name, kind, None)
}

#[test]
fn what_is_explained_is_what_is_answered() {
    for (name, kind, answer, seconds, records) in [
        ("grafana.home.example", None, "NOERROR", Some(10), &["grafana.home.example. 10 IN A 192.168.8.21"][..]),
        ("GRAFANA.Home.Example.", Some("a"), "NOERROR", Some(10), &["GRAFANA.Home.Example. 10 IN A 192.168.8.21"]),
        ("grafana.home.example", Some("TXT"), "NOERROR", Some(10), &["grafana.home.example. 10 IN TXT \"hello\""]),
        ("grafana.home.example", Some("HTTPS"), "NODATA", Some(60), &[]),
        ("six.home.example", None, "NOERROR", Some(10), &["six.home.example. 10 IN AAAA fd00::21"]),
        (
            "alias.home.example",
            None,
            "NOERROR",
            Some(10),
            &["alias.home.example. 10 IN CNAME grafana.home.example.", "grafana.home.example. 10 IN A 192.168.8.21"],
        ),
        (
            "alias.home.example",
            Some("CNAME"),
            "NOERROR",
            Some(10),
            &["alias.home.example. 10 IN CNAME grafana.home.example."],
        ),
        (
            "alias.home.example",
            Some("AAAA"),
            "NODATA",
            Some(10),
            &["alias.home.example. 10 IN CNAME grafana.home.example."],
        ),
        ("second.home.example", None, "NXDOMAIN", Some(10), &["second.home.example. 10 IN CNAME x.b.home.example."]),
        ("gone.home.example", None, "NOERROR", Some(10), &["gone.home.example. 10 IN CNAME www.example.net."]),
        ("free.home.example", Some("A"), "NOERROR", Some(10), &["free.home.example. 10 IN A 192.168.8.21"]),
        ("b.home.example", None, "NODATA", Some(60), &[]),
        ("x.b.home.example", None, "NXDOMAIN", Some(60), &[]),
        ("pending.home.example", None, "NODATA", Some(60), &[]),
        ("home.example", None, "NODATA", Some(60), &[]),
        ("nas", None, "NXDOMAIN", Some(60), &[]),
        ("a.example", None, "REFUSED", None, &[]),
    ] {
        let said = explained(name, kind);
        let found = (said.answer.as_str(), said.cached_seconds, said.records.iter().map(String::as_str).collect());
        assert_eq!(found, (answer, seconds, records.to_vec()), "{name} {kind:?}");
    }
}

#[test]
fn the_reason_says_what_there_is_to_change() {
    for (name, kind, because) in [
        (
            "grafana.home.example",
            None,
            &[
                "Ingress default/grafana.home.example on entry point lan gives A",
                "Ingress default/grafana.home.example on entry point default/vpn is not answered: Ingress default/grafana.home.example on entry point lan comes before it",
                "DNSEndpoint default/grafana.home.example gives TXT, and no address",
            ][..],
        ),
        (
            "pending.home.example",
            None,
            &["Ingress default/pending.home.example asks for this name, and has no address on entry point nowhere"],
        ),
        (
            "six.home.example",
            Some("A"),
            &[
                "Ingress default/six.home.example on entry point lan gives AAAA",
                "the name has AAAA, and nothing of type A",
            ],
        ),
        (
            "home.example",
            None,
            &["the name of a zone has an address only where an object asks for it: no object asks for this name"],
        ),
        (
            "second.home.example",
            None,
            &[
                "DNSEndpoint default/second.home.example gives the answer",
                "x.b.home.example: no object asks for this name, and no wildcard covers it",
            ],
        ),
        (
            "gone.home.example",
            None,
            &[
                "DNSEndpoint default/gone.home.example gives the answer",
                "www.example.net: no zone holds this name; the zones are home.example, a.lab.home.example",
            ],
        ),
        (
            "alias.home.example",
            Some("CNAME"),
            &[
                "DNSEndpoint default/alias.home.example gives the answer",
                "DNSEndpoint default/alias.home.example is not answered with TXT: an alias (CNAME) stands alone",
            ],
        ),
        ("mail.home.example", None, &["DNSEndpoint default/mail.home.example gives the answer"]),
        ("y.b.home.example", None, &["all that asks for this name is withheld, and no wildcard covers it"]),
        ("nas", None, &["a single label lies in no zone: ask for nas.home.example"]),
        (
            "192.168.8.9",
            None,
            &["dns.reverse is off; reverse names of private addresses are denied rather than refused"],
        ),
        (
            "b.home.example",
            None,
            &["no object asks for this name; it exists because names below it do, such as a.b.home.example"],
        ),
        ("x.b.home.example", None, &["no object asks for this name, and no wildcard covers it"]),
        (
            "_acme-challenge.b.b.home.example",
            Some("TXT"),
            &["acmeChallenge of the zone leads _acme-challenge names elsewhere, here to b.b.acme.example"],
        ),
        ("a.example", None, &["no zone holds this name; the zones are home.example, a.lab.home.example"]),
    ] {
        assert_eq!(explained(name, kind).because, because, "{name}");
    }
}

#[test]
fn objects_that_name_it_in_vain_are_told_with_the_reason() {
    for (name, withheld) in [
        (
            "old.home.example",
            "Ingress default/old.home.example names old.home.example: its IngressClass nginx belongs to another controller",
        ),
        (
            "x.lab.home.example",
            "Ingress default/*.lab.home.example names *.lab.home.example: label doorward.dev/ignore is true",
        ),
    ] {
        assert_eq!(explained(name, None).withheld, [withheld]);
    }
    assert!(explained("grafana.home.example", None).withheld.is_empty());
}

#[test]
fn a_wildcard_that_answers_and_one_that_does_not_are_named_however_the_name_is_written() {
    assert_eq!(explained("Free.Home.Example.", None).wildcard.as_deref(), Some("*.home.example"));
    for name in ["b.home.example", "x.b.home.example", "X.B.Home.Example."] {
        let expected = "*.home.example of Ingress default/*.home.example does not answer here, as b.home.example exists: a wildcard covers nothing that exists, nor what is below it (RFC 4592)";
        assert_eq!(explained(name, None).shadowed, [expected], "{name}");
    }
    let expected = "*.home.example of Ingress default/*.home.example does not answer here, as pending.home.example exists: a wildcard covers nothing that exists, nor what is below it (RFC 4592)";
    assert_eq!(explained("pending.home.example", None).shadowed, [expected]);
    for (name, kind) in
        [("grafana.home.example", Some("AAAA")), ("b.home.example", Some("TXT")), ("free.home.example", None)]
    {
        assert!(explained(name, kind).shadowed.is_empty(), "{name}");
    }
}

#[test]
fn mistakes_that_may_have_cost_a_name_are_shown_where_nobody_asks_for_it() {
    let all = [
        "Ingress default/odd: host \"spa ce.home.example\" has the character ' ', which no host name may have",
        "Ingress default/odd: host \"\" is empty",
    ];
    assert_eq!(explained("spa.b.home.example", None).mistakes, all);
    assert_eq!(explained("x.b.home.example", None).mistakes, all[1..]);
    for name in ["grafana.home.example", "y.b.home.example"] {
        assert!(explained(name, None).mistakes.is_empty(), "{name}");
    }
}

#[test]
fn it_says_since_when_and_for_whom() {
    let said = explained("grafana.home.example", None);
    assert_eq!((said.serial, said.changed.as_deref()), (Some(1_764_000_000), Some("2025-11-24T16:00:00.000Z")));
    assert_eq!(said.elsewhere, ["view vpn has A 192.168.8.23"]);
    let said = explained_to("grafana.home.example", None, Some("10.8.0.9"));
    assert_eq!(said.view.as_deref(), Some("vpn"));
    assert_eq!(said.elsewhere, ["the default view has A 192.168.8.21", "view same has A 192.168.8.21"]);
    assert!(explained("six.home.example", None).elsewhere.is_empty());
}

#[test]
fn a_client_that_nobody_answers_is_told_first() {
    let said = explained_to("grafana.home.example", None, Some("203.0.113.7"));
    assert_eq!((said.answer.as_str(), said.records.len()), ("DROPPED", 0));
    assert_eq!(said.because[0], "203.0.113.7 is not in dns.clients: whoever asks from there gets no answer at all");
    let said = explained_to("grafana.home.example", None, Some("::ffff:192.168.8.7"));
    assert!(said.because[0].starts_with("Ingress"), "{:?}", said.because);
}

#[test]
fn questions_that_are_none_are_refused_with_what_is_wrong() {
    for (name, kind, client, expected) in [
        ("a..b", None, None, "is no domain name"),
        ("https://a.example/b", None, None, "is no domain name, such as grafana.home.example"),
        ("a.example", Some("AAA"), None, "is no type of record"),
        ("a.example", None, Some("lan"), "is no IP address"),
    ] {
        let error = Question::parse(name, kind, client).err().expect(name);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn before_the_first_list_it_says_what_is_waited_for() {
    let question = Question::parse("grafana.home.example", None, None).expect("a right question");
    let config = config();
    let known = Known { views: None, config: &config, policy: &Policy::default(), problems: &[], objects: None };
    let said = explain(&known, &question);
    assert_eq!(said.answer, "REFUSED");
    assert!(said.because[0].contains("waiting for the first complete list"));
}

#[test]
fn people_read_it_line_by_line() {
    let text = explained("b.home.example", None).to_string();
    assert_eq!(
        text,
        "b.home.example address: NODATA, cached for 60 s
zone: home.example
because: no object asks for this name; it exists because names below it do, such as a.b.home.example
shadowed: *.home.example of Ingress default/*.home.example does not answer here, as b.home.example exists: a wildcard covers nothing that exists, nor what is below it (RFC 4592)
a mistake that may be why: Ingress default/odd: host \"\" is empty
zones: last changed 2025-11-24T16:00:00.000Z (serial 1764000000)
objects: last changed 1970-01-01T00:00:00.000Z"
    );
    let restored = Explanation {
        objects: Some(as_of(Objects::Restored { as_of: UNIX_EPOCH })),
        ..explained("grafana.home.example", None)
    };
    let expected =
        "objects: the last known state, of 1970-01-01T00:00:00.000Z: the cluster was not reached since the start";
    assert_eq!(restored.to_string().lines().last(), Some(expected));
}

/// Of these claims and zones, whatever else there is.
fn said_of(zones: &str, claims: Vec<NameClaim>, name: &str, kind: Option<&str>) -> Explanation {
    let config = fixture::config(&format!("zones: [{zones}]\ndns: {{reverse: true, forwardTo: 192.168.8.1}}"));
    let views = Views::build(claims, &config, 1);
    let unreadable = Reason::Unreadable { error: "is no YAML".to_owned() };
    let known = Known {
        views: Some(&views),
        config: &config,
        policy: &Policy { forward_to: Some(Ipv4Addr::new(192, 168, 8, 1).into()), ..Policy::default() },
        problems: &[Problem::new(&ObjectName::new("File", "", "odd.yaml"), unreadable)],
        objects: None,
    };
    explain(&known, &Question::parse(name, kind, None).expect("a right question"))
}

#[test]
fn aliases_that_lead_to_nothing_are_told_once_and_first() {
    let circle = || {
        let mut claims = fixture::claims(&[("192.168.8.21", "n0.home.example")]);
        claims.extend([
            fixture::alias("to.home.example", "here.home.example"),
            fixture::alias("here.home.example", "there.home.example"),
            fixture::alias("there.home.example", "here.home.example"),
        ]);
        claims.extend(
            (1..=9).map(|n| fixture::alias(&format!("n{n}.home.example"), &format!("n{}.home.example", n - 1))),
        );
        claims
    };
    assert_eq!(
        said_of("home.example", circle(), "to.home.example", None).to_string(),
        "to.home.example address: NODATA, cached for 30 s
  to.home.example. 30 IN CNAME here.home.example.
  here.home.example. 30 IN CNAME there.home.example.
  there.home.example. 30 IN CNAME here.home.example.
zone: home.example
because: aliases lead in a circle, back to here.home.example: clients get no address
because: DNSEndpoint default/to.home.example gives CNAME
because: here.home.example: DNSEndpoint default/here.home.example gives CNAME
because: there.home.example: DNSEndpoint default/there.home.example gives CNAME"
    );
    let said = said_of("home.example", circle(), "here.home.example", Some("TXT"));
    let expected = "aliases lead in a circle, back to here.home.example: clients get nothing of type TXT";
    assert_eq!((said.answer.as_str(), said.because[0].as_str(), said.because.len()), ("NODATA", expected, 3));
    // Whoever asks for the alias itself gets it.
    let said = said_of("home.example", circle(), "here.home.example", Some("CNAME"));
    assert_eq!(said.answer, "NOERROR");
    assert_eq!(said.because, ["DNSEndpoint default/here.home.example gives the answer"]);

    for (name, n_aliases) in [("n9.home.example", 8), ("n8.home.example", 8)] {
        let said = said_of("home.example", circle(), name, None);
        assert_eq!((said.answer.as_str(), said.records.len()), ("NODATA", n_aliases), "{name}");
        assert_eq!(said.because.len(), 1 + n_aliases, "{:#?}", said.because);
        assert!(said.because[0].starts_with("8 aliases lead on to n"), "{:#?}", said.because);
        assert!(said.because[0].ends_with(".home.example, and no answer follows more: clients get no address"));
        assert!(said.because.iter().all(|reason| !reason.contains("gives the answer")), "{:#?}", said.because);
    }
    let said = said_of("home.example", circle(), "n7.home.example", None);
    assert_eq!((said.answer.as_str(), said.because.len()), ("NOERROR", 8));
    assert_eq!(
        said.because[7],
        "n0.home.example: Ingress default/n0.home.example on entry point 192.168.8.21 gives the answer"
    );
}

#[test]
fn what_a_zone_has_of_itself_and_what_it_never_has_is_no_objects_doing() {
    let claims = || {
        let mut claims = fixture::claims(&[("192.168.8.21", "home.example"), ("192.168.8.21", "lab.home.example")]);
        claims.push(fixture::alias("alias.home.example", "home.example"));
        claims
    };
    let transfers =
        "transfers of zones (AXFR, IXFR) are refused; `gateway records --format zone` writes what a zone has";
    for (name, kind, answer, because) in [
        (
            "lab.home.example",
            "DS",
            "NODATA in home.example",
            "lab.home.example is a zone, and its DS records would stand in the zone above it: none is signed (DNSSEC)",
        ),
        (
            "home.example",
            "DS",
            "NODATA in home.example",
            "there is nothing of type DS: no zone here is signed (DNSSEC)",
        ),
        (
            "lab.home.example",
            "DNSKEY",
            "NODATA in lab.home.example",
            "there is nothing of type DNSKEY: no zone here is signed (DNSSEC)",
        ),
        ("lab.home.example", "SOA", "NOERROR in lab.home.example", "every zone has its own SOA record"),
        ("home.example", "ns", "NOERROR in home.example", "every zone has its own NS record"),
        ("home.example", "AXFR", "REFUSED", transfers),
        ("home.example", "ixfr", "REFUSED", transfers),
        (
            "home.example",
            "TYPE1",
            "NOERROR in home.example",
            "Ingress default/home.example on entry point 192.168.8.21 gives the answer",
        ),
    ] {
        let said = said_of("home.example, lab.home.example", claims(), name, Some(kind));
        let zone = said.zone.map(|zone| format!(" in {zone}")).unwrap_or_default();
        assert_eq!(format!("{}{zone}", said.answer), answer, "{name} {kind}");
        assert_eq!(said.because, [because], "{name} {kind}");
    }
}

#[test]
fn types_without_a_name_are_asked_for_by_their_number() {
    let claims = || fixture::claims(&[("192.168.8.21", "a.home.example")]);
    for (kind, name) in [("TYPE65", "HTTPS"), ("type65280", "TYPE65280"), ("TYPE0", "TYPE0")] {
        let said = said_of("home.example", claims(), "a.home.example", Some(kind));
        assert_eq!((said.kind.as_deref(), said.answer.as_str()), (Some(name), "NODATA"));
        let expected = format!("the name has A, and nothing of type {name}");
        assert_eq!(said.because.last(), Some(&expected));
    }
    for kind in ["TYPE65536", "TYPE", "TYPE+1", "TYPE1.5"] {
        assert!(Question::parse("a.home.example", Some(kind), None).is_err(), "{kind}");
    }
}

#[test]
fn records_that_fit_in_no_message_are_an_error_of_theirs() {
    let text = |number: u32| fixture::text(&[&format!("{number} {}", "x".repeat(240))]);
    let claims = vec![fixture::records("many.home.example", (0..300).map(text))];
    let said = said_of("home.example", claims, "many.home.example", Some("TXT"));
    assert_eq!(
        said.to_string(),
        "many.home.example TXT: SERVFAIL
zone: home.example
because: the TXT records do not fit in any message (64 KiB): clients get an error (SERVFAIL) until there are fewer
because: DNSEndpoint default/many.home.example gives TXT"
    );
}

#[test]
fn what_the_upstream_is_asked_for_is_nobodys_mistake_here() {
    let claims = || fixture::claims(&[("192.168.8.21", "a.home.example")]);
    for (name, because) in [
        (
            "192.168.8.99",
            "no name here is answered with this address, and 8.168.192.in-addr.arpa is no zone of the configuration: dns.forwardTo is asked",
        ),
        ("192.168.9.99", "no zone holds this name: dns.forwardTo is asked"),
        ("a.example", "no zone holds this name: dns.forwardTo is asked"),
    ] {
        let said = said_of("home.example", claims(), name, None);
        assert_eq!(said.answer, "FORWARDED", "{name}");
        assert_eq!((said.because, said.mistakes, said.zone), (vec![because.to_owned()], Vec::new(), None), "{name}");
    }
    let said = said_of("home.example, 8.168.192.in-addr.arpa", claims(), "192.168.8.99", None);
    assert_eq!((said.answer.as_str(), said.mistakes.len()), ("NXDOMAIN", 1));
}

#[test]
fn a_challenge_below_a_wildcard_is_led_elsewhere() {
    let zones = "{name: home.example, acmeChallenge: acme.example}";
    let claims = fixture::claims(&[("192.168.8.21", "*.home.example")]);
    let said = said_of(zones, claims, "_acme-challenge.a.home.example", Some("TXT"));
    let expected = "acmeChallenge of the zone leads _acme-challenge names elsewhere, here to a.acme.example";
    assert_eq!((said.because, said.wildcard), (vec![expected.to_owned()], None));
}
