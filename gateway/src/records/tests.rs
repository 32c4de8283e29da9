//! One small zone in every format.

use k8s::model::RecordData;

use super::*;
use crate::fixture;

fn zones() -> Zones {
    let host = |name: &str| name.parse().expect("a name");
    let mut claims = fixture::claims(&[
        ("192.168.8.21 fd00::21", "+grafana.home.example"),
        ("192.168.8.21", "*.apps.home.example"),
        ("192.168.8.21", "app.lab.example"),
    ]);
    // Before the object that gives the addresses.
    claims.insert(0, fixture::records("grafana.home.example", [fixture::text(&["d"])]));
    claims.extend([
        fixture::alias("alias.home.example", "grafana.home.example"),
        fixture::records("*.text.home.example", [fixture::text(&["c"])]),
        fixture::records("text.home.example", [fixture::text(&["a", "say \"b\""])]),
        fixture::records("home.example", [RecordData::Mx { preference: 10, exchange: host("grafana.home.example") }]),
        fixture::records(
            "_ldap._tcp.home.example",
            [RecordData::Srv { priority: 0, weight: 5, port: 389, target: host("grafana.home.example") }],
        ),
    ]);
    let config =
        fixture::config("zones: [home.example, lab.example]\ndns: {addresses: [192.168.8.22], httpsRecords: true}");
    Zones::build(&claims, &config, None, 7)
}

fn check(format: &str, expected: &str) {
    let format = Format::parse(format).expect("a format");
    let found = list(&zones(), format, Some("Home.Example.")).expect("a zone");
    assert_eq!(found.trim_end(), expected, "{format:?}\n{found}");
}

#[test]
fn a_table_for_people() {
    check(
        "table",
        "NAME                     TYPE   DATA                                                            TTL  OBJECT
*.apps.home.example      A      192.168.8.21                                                     30  Ingress default/*.apps.home.example
*.text.home.example      TXT    \"c\"                                                              30  DNSEndpoint default/*.text.home.example
_ldap._tcp.home.example  SRV    0 5 389 grafana.home.example.                                    30  DNSEndpoint default/_ldap._tcp.home.example
alias.home.example       CNAME  grafana.home.example.                                            30  DNSEndpoint default/alias.home.example
grafana.home.example     A      192.168.8.21                                                     30  Ingress default/grafana.home.example
grafana.home.example     AAAA   fd00::21                                                         30  Ingress default/grafana.home.example
grafana.home.example     HTTPS  1 . alpn=\"h2,http/1.1\" ipv4hint=192.168.8.21 ipv6hint=fd00::21   30  Ingress default/grafana.home.example
grafana.home.example     TXT    \"d\"                                                              30  DNSEndpoint default/grafana.home.example
home.example             MX     10 grafana.home.example.                                         30  DNSEndpoint default/home.example
ns.home.example          A      192.168.8.22                                                     30  Configuration dns.addresses
text.home.example        TXT    \"a\" \"say \\\"b\\\"\"                                                  30  DNSEndpoint default/text.home.example",
    );
}

#[test]
fn lines_for_hosts_and_dnsmasq() {
    check(
        "hosts",
        "# *.apps.home.example is left out: such a file has no wildcards
192.168.8.21 grafana.home.example
192.168.8.21 alias.home.example
192.168.8.22 ns.home.example
fd00::21 grafana.home.example
fd00::21 alias.home.example",
    );
    check(
        "dnsmasq",
        "# *.text.home.example TXT is left out: dnsmasq has only addresses for wildcards
address=/*.apps.home.example/192.168.8.21
cname=alias.home.example,grafana.home.example,30
dns-rr=grafana.home.example,65,0001000001000c02683208687474702f312e3100040004c0a8081500060010fd000000000000000000000000000021
host-record=grafana.home.example,192.168.8.21,30
host-record=grafana.home.example,fd00::21,30
host-record=ns.home.example,192.168.8.22,30
local=/*.apps.home.example/
local=/home.example/
mx-host=home.example,grafana.home.example,10
srv-host=_ldap._tcp.home.example,grafana.home.example,389,0,5
txt-record=grafana.home.example,\"d\"
txt-record=text.home.example,\"a\",\"say \\\"b\\\"\"",
    );
}

/// Of claims in home.example, what `format` says of names that are no name server's.
fn of_claims(format: Format, claims: &[k8s::model::NameClaim]) -> Vec<String> {
    let zones = Zones::build(claims, &fixture::config("zones: [home.example]"), None, 7);
    list(&zones, format, None).expect("all zones").lines().map(str::to_owned).collect()
}

#[test]
fn what_dnsmasq_could_not_read_is_left_out_or_written_in_bytes() {
    let texts = |strings: &[&str]| [fixture::records("t.home.example", [fixture::text(strings)])];
    let x = "x".repeat(250);
    let least = "txt-record=t.home.example,".len() + "\n".len();
    // Each string has two quotes, and a comma between it and the next.
    let rest = |line: usize| "x".repeat(line - least - 3 * (250 + 3) - 2);
    let left_out = "# t.home.example TXT is left out: dnsmasq reads no line of more than 1024 bytes";
    for (strings, expected) in [
        (&["say \"hi\", a\\b; c", " ", "", "b#"][..], r#"txt-record=t.home.example,"say \"hi\", a\\b; c"," ","","b#""#),
        (&["é", "b"], "dns-rr=t.home.example,16,02c3a90162"),
        (&["a\nb"], "dns-rr=t.home.example,16,03610a62"),
        (&[&x, &x, &x, &rest(1025)], left_out),
        (&[&"é".repeat(120), &"é".repeat(120), &"é".repeat(50)], left_out),
    ] {
        let found = of_claims(Format::Dnsmasq, &texts(strings));
        assert!(found.contains(&expected.to_owned()), "{expected}\n{found:#?}");
        assert!(found.iter().all(|line| line.len() < 1024));
    }
    let found = of_claims(Format::Dnsmasq, &texts(&[&x, &x, &x, &rest(1024)]));
    assert!(found.iter().any(|line| line.len() == 1023), "{found:#?}");
}

/// Aliases that lead to an address after so many.
fn chain(n_aliases: usize) -> Vec<k8s::model::NameClaim> {
    let mut claims = fixture::claims(&[("192.168.8.21", "n0.home.example")]);
    claims.extend(
        (1..=n_aliases).map(|n| fixture::alias(&format!("n{n}.home.example"), &format!("n{}.home.example", n - 1))),
    );
    claims
}

#[test]
fn aliases_are_written_where_they_lead_to_something_and_told_of_where_they_do_not() {
    let mut claims = chain(8);
    claims.extend(fixture::claims(&[
        ("192.168.8.23", "*.apps.home.example"),
        ("192.168.8.24 fd00::24", "*.home.example"),
    ]));
    claims.extend([
        fixture::alias("here.home.example", "there.home.example"),
        fixture::alias("there.home.example", "here.home.example"),
        fixture::alias("to.home.example", "here.home.example"),
        fixture::alias("away.home.example", "www.example.net"),
        fixture::alias("nowhere.home.example", "x.n0.home.example"),
        fixture::alias("wild.home.example", "x.apps.home.example"),
        fixture::alias("*.alias.home.example", "n0.home.example"),
        fixture::alias("*.circle.home.example", "x.circle.home.example"),
    ]);
    let circle = "is left out: its aliases lead in a circle";
    let hosts = of_claims(Format::Hosts, &claims);
    let dnsmasq = of_claims(Format::Dnsmasq, &claims);
    for expected in [
        &format!("# here.home.example {circle}"),
        &format!("# there.home.example {circle}"),
        &format!("# to.home.example {circle}"),
        &format!("# *.circle.home.example {circle}"),
        "# away.home.example is left out: it is an alias of www.example.net, which lies in no zone",
        "# nowhere.home.example is left out: it is an alias of x.n0.home.example, which has no address",
        "# n8.home.example is left out: it leads through 8 aliases or more, and no answer follows so many",
        "192.168.8.21 n7.home.example",
        "192.168.8.23 wild.home.example",
        "# *.alias.home.example is left out: such a file has no wildcards",
    ] {
        assert!(hosts.iter().any(|line| line == expected), "{expected}\n{hosts:#?}");
    }
    for expected in [
        &format!("# here.home.example CNAME {circle}"),
        &format!("# to.home.example CNAME {circle}"),
        &format!("# *.circle.home.example CNAME {circle}"),
        "# n8.home.example CNAME is left out: it leads through 8 aliases or more, and no answer follows so many",
        "cname=n7.home.example,n6.home.example,30",
        "cname=away.home.example,www.example.net,30",
        "cname=nowhere.home.example,x.n0.home.example,30",
        "host-record=wild.home.example,192.168.8.23,30",
        "address=/*.alias.home.example/192.168.8.21",
        "local=/*.alias.home.example/",
        // What exists is not covered by *.home.example, nor what is below it.
        "local=/here.home.example/",
        "local=/apps.home.example/",
        "local=/n0.home.example/",
    ] {
        assert!(dnsmasq.iter().any(|line| line == expected), "{expected}\n{dnsmasq:#?}");
    }
    assert!(!dnsmasq.iter().any(|line| line.starts_with("local=/*.circle")), "{dnsmasq:#?}");
}

#[test]
fn where_aliases_lead_is_where_clients_are_led() {
    for n_aliases in 0..12 {
        let claims = chain(n_aliases);
        let config = fixture::config("zones: [home.example]");
        let views = crate::view::Views::build(claims.clone(), &config, 1);
        let name = format!("n{n_aliases}.home.example");
        let question = crate::explain::Question::parse(&name, Some("A"), None).expect("a right question");
        let policy = crate::reference::Policy::default();
        let known = crate::explain::Known {
            views: Some(&views),
            config: &config,
            policy: &policy,
            problems: &[],
            objects: None,
        };
        let answer = crate::explain::explain(&known, &question).records.concat();
        let is_listed = of_claims(Format::Hosts, &claims).contains(&format!("192.168.8.21 {name}"));
        assert_eq!(is_listed, answer.contains("192.168.8.21"), "{n_aliases} aliases: {answer}");
    }
}

#[test]
fn a_zone_file_for_other_servers() {
    check(
        "zone",
        "$ORIGIN home.example.
home.example. 5 IN SOA ns.home.example. hostmaster.home.example. 7 7200 1800 86400 5
home.example. 30 IN NS ns.home.example.
*.apps.home.example. 30 IN A 192.168.8.21
*.text.home.example. 30 IN TXT \"c\"
_ldap._tcp.home.example. 30 IN SRV 0 5 389 grafana.home.example.
alias.home.example. 30 IN CNAME grafana.home.example.
grafana.home.example. 30 IN A 192.168.8.21
grafana.home.example. 30 IN AAAA fd00::21
grafana.home.example. 30 IN HTTPS 1 . alpn=\"h2,http/1.1\" ipv4hint=192.168.8.21 ipv6hint=fd00::21
grafana.home.example. 30 IN TXT \"d\"
home.example. 30 IN MX 10 grafana.home.example.
ns.home.example. 30 IN A 192.168.8.22
text.home.example. 30 IN TXT \"a\" \"say \\\"b\\\"\"",
    );
}

#[test]
fn json_for_programs() {
    let text = list(&zones(), Format::Json, None).expect("all zones");
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(13));
    assert_eq!(
        rows[5],
        serde_json::json!({"name": "grafana.home.example", "type": "A", "data": "192.168.8.21", "ttl": 30, "object": "Ingress default/grafana.home.example"})
    );
}

#[test]
fn one_zone_is_listed_alone_and_one_that_is_none_is_told() {
    let lab = list(&zones(), Format::Hosts, Some("lab.example"));
    assert_eq!(lab.as_deref(), Ok("192.168.8.21 app.lab.example\n192.168.8.22 ns.lab.example\n"));
    let error = list(&zones(), Format::Hosts, Some("lab.exmaple")).expect_err("no zone");
    assert_eq!(error, "there is no zone lab.exmaple; the zones are home.example, lab.example");
}
