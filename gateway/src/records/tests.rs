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
    check("hosts", "192.168.8.21 grafana.home.example\n192.168.8.22 ns.home.example\nfd00::21 grafana.home.example");
    check(
        "dnsmasq",
        "# *.text.home.example TXT \"c\": dnsmasq has only addresses for wildcards
address=/*.apps.home.example/192.168.8.21
cname=alias.home.example,grafana.home.example,30
host-record=grafana.home.example,192.168.8.21,30
host-record=grafana.home.example,fd00::21,30
host-record=ns.home.example,192.168.8.22,30
local=/home.example/
mx-host=home.example,grafana.home.example,10
srv-host=_ldap._tcp.home.example,grafana.home.example,389,0,5
txt-record=grafana.home.example,\"d\"
txt-record=text.home.example,\"a\",\"say \\\"b\\\"\"",
    );
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
