//! The reason says what there is to change, and what is explained is what is answered.

use super::*;
use crate::fixture;

fn views() -> Views {
    let mut claims = fixture::claims(&[
        ("lan=192.168.8.21", "grafana.home.example"),
        ("tunnel=192.168.8.23", "grafana.home.example"),
        ("lan=fd00::21", "six.home.example"),
        ("lan=192.168.8.21", "*.home.example"),
        ("lan=192.168.8.21", "a.b.home.example"),
        ("", "pending.home.example"),
    ]);
    claims.extend([
        fixture::alias("alias.home.example", "grafana.home.example"),
        fixture::records("grafana.home.example", [fixture::text(&["hello"])]),
        fixture::withheld("old.home.example", "its IngressClass nginx belongs to another controller"),
        fixture::withheld("*.lab.home.example", "label doorward.dev/ignore is true"),
    ]);
    let config = fixture::config(
        "zones: [{name: home.example, ttl: 10, negativeTtl: 60, acmeChallenge: acme.example}, a.lab.home.example]\ndns: {views: [{name: vpn, sources: [10.8.0.0/24], entryPoints: [default/vpn]}]}",
    );
    Views::build(claims, &config, 1_764_000_000)
}

fn explained(name: &str, kind: Option<&str>) -> Explanation {
    let question = Question::parse(name, kind, None).expect("a right question");
    explain(Some(&views()), &Policy::default(), &question)
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
            Some("A"),
            "NOERROR",
            Some(10),
            &["alias.home.example. 10 IN CNAME grafana.home.example.", "grafana.home.example. 10 IN A 192.168.8.21"],
        ),
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
                "Ingress default/grafana.home.example on entry point lan gives the answer",
                "Ingress default/grafana.home.example on entry point tunnel is not answered: Ingress default/grafana.home.example comes before it",
                "DNSEndpoint default/grafana.home.example gives the answer",
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
                "Ingress default/six.home.example on entry point lan gives the answer",
                "the name has AAAA, and nothing of type A",
            ],
        ),
        ("home.example", None, &["the apex has no address: no object asks for it"]),
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
        ("a.example", None, &["no zone holds this name; the zones are a.lab.home.example, home.example"]),
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
        let expected = "*.home.example of Ingress default/*.home.example does not answer here: this name, or one above it, exists (RFC 4592)";
        assert_eq!(explained(name, None).shadowed, [expected], "{name}");
    }
}

#[test]
fn it_says_since_when_and_for_whom() {
    let said = explained("grafana.home.example", None);
    assert_eq!((said.serial, said.changed.as_deref()), (Some(1_764_000_000), Some("2025-11-24T16:00:00.000Z")));
    let question = Question::parse("grafana.home.example", None, Some("10.8.0.9")).expect("a right question");
    assert_eq!(explain(Some(&views()), &Policy::default(), &question).view.as_deref(), Some("vpn"));
}

#[test]
fn questions_that_are_none_are_refused_with_what_is_wrong() {
    for (name, kind, client, expected) in [
        ("a..b", None, None, "is no domain name"),
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
    let said = explain(None, &Policy::default(), &question);
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
shadowed: *.home.example of Ingress default/*.home.example does not answer here: this name, or one above it, exists (RFC 4592)
zones last changed 2025-11-24T16:00:00.000Z (serial 1764000000)"
    );
}
