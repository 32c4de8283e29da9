//! Names that no zone holds, with an upstream.

use std::{
    io::Write,
    net::{Shutdown, TcpListener, TcpStream},
};

use tests::{
    Home, PATIENCE, Program,
    dns::{A, framed, query, read_framed},
    home::{DNS, classes, ingress, service},
};

use crate::{apps, ask, eventually};

/// An upstream that has example.org, and its own opinion on home.example; and a gateway that asks it.
fn homes() -> (Home, Program, Home) {
    let upstream = Home::new();
    upstream.configure_dns("home.example, example.org", "", "");
    let many: String = (0..40)
        .map(|n| format!("  - {{dnsName: long.example.org, recordType: TXT, targets: ['{n} {}']}}\n", "x".repeat(200)))
        .collect();
    let endpoint = format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: long, namespace: default}}\nspec:\n  endpoints:\n{many}---\n"
    );
    upstream.apply(
        "apps.yaml",
        &[
            classes(),
            service("web", &[]),
            ingress("www", "www.example.org", "web"),
            ingress("there", "only-there.home.example", "web"),
            endpoint,
        ]
        .concat(),
    );
    let program = upstream.start("gateway");
    let home = Home::new();
    home.configure_dns("home.example", &format!("forwardTo: \"{}\"", upstream.socket(22, DNS)), "");
    home.apply("apps.yaml", &apps());
    (upstream, program, home)
}

#[test]
fn what_no_zone_holds_is_asked_of_the_upstream_and_what_one_holds_never() {
    let (upstream, _program, home) = homes();
    let _gateway = home.start("gateway");
    let theirs = upstream.address(21);
    for transport in ["+notcp", "+tcp"] {
        for (name, expected) in [
            ("www.example.org", format!("NOERROR aa www.example.org. A {theirs}")),
            ("nothing.example.org", "NXDOMAIN aa example.org. SOA".to_owned()),
            ("grafana.home.example", format!("NOERROR aa grafana.home.example. A {}", home.address(21))),
            ("only-there.home.example", "NXDOMAIN aa home.example. SOA".to_owned()),
            // What the upstream refuses is refused.
            ("example.net", "REFUSED".to_owned()),
        ] {
            assert_eq!(ask(&home, &[transport, name]), expected, "{transport}");
        }
    }
    // A long answer comes by TCP, as the upstream says.
    let said = home.dig(&["+ignore", "+notcp", "long.example.org", "TXT"]);
    assert!(said.contains("flags: qr aa tc"), "{said}");
    let said = home.dig(&["+tcp", "+short", "long.example.org", "TXT"]);
    assert_eq!(said.lines().count(), 40, "{said}");
    let (said, _) = home.command("gateway", &["explain", "www.example.org"]);
    assert!(
        said.contains("FORWARDED") && said.contains("because: no zone holds this name: dns.forwardTo is asked"),
        "{said}"
    );
    let counted = "doorward_dns_forwarded_total{result=\"answered\"}";
    let metrics = home.admin("gateway", "/metrics");
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn an_address_without_a_name_of_ours_is_asked_of_the_upstream_over_either_transport() {
    let (upstream, _program, home) = homes();
    let forward = format!("reverse: true, forwardTo: \"{}\"", upstream.socket(22, DNS));
    home.configure_dns("home.example", &forward, "");
    let _gateway = home.start("gateway");
    let ours = home.address(21).to_string();
    for transport in ["+notcp", "+tcp"] {
        let answer = ask(&home, &[transport, "-x", &ours]);
        assert!(answer.starts_with("NOERROR aa"), "{transport} {answer}");
        // The upstream has no reverse zones.
        assert_eq!(ask(&home, &[transport, "-x", &home.address(99).to_string()]), "REFUSED", "{transport}");
    }
}

#[test]
fn a_question_of_the_upstream_itself_is_not_handed_back_to_it() {
    let (upstream, _program, home) = homes();
    let _gateway = home.start("gateway");
    let from = upstream.address(22).to_string();
    assert_eq!(ask(&home, &["-b", &from, "www.example.org"]), "REFUSED");
    let answer = ask(&home, &["-b", &from, "grafana.home.example"]);
    assert!(answer.starts_with("NOERROR aa"), "{answer}");
}

#[test]
fn a_dead_upstream_is_told_and_harms_no_name_of_ours() {
    let (_upstream, program, home) = homes();
    let _gateway = home.start("gateway");
    drop(program);
    for transport in ["+notcp", "+tcp"] {
        let said = home.dig(&[transport, "+time=10", "www.example.org"]);
        assert!(said.contains("status: SERVFAIL") && said.contains("EDE: 23"), "{said}");
        assert!(ask(&home, &[transport, "grafana.home.example"]).starts_with("NOERROR aa"));
    }
    eventually("the count", || match home.admin("gateway", "/metrics") {
        metrics if metrics.contains("doorward_dns_forwarded_total{result=\"failed\"} 2") => Ok(()),
        other => Err(other.lines().filter(|line| line.contains("forward")).collect::<Vec<_>>().join("\n")),
    });
}

#[test]
fn an_upstream_that_is_slow_holds_up_no_name_of_ours_on_the_same_connection() {
    let home = Home::new();
    let silent = TcpListener::bind(home.socket(9, DNS)).expect("a free port");
    let address = silent.local_addr().expect("bound");
    home.configure_dns("home.example", &format!("forwardTo: \"{address}\""), "");
    home.apply("apps.yaml", &apps());
    let _gateway = home.start("gateway");

    let mut client = TcpStream::connect(home.socket(22, DNS)).expect("open");
    client.set_read_timeout(Some(PATIENCE)).expect("an option");
    for (id, name) in [(1, "www.example.org"), (2, "grafana.home.example")] {
        client.write_all(&framed(&query(id, name, A))).expect("sent");
    }
    // Whoever has asked all it has to ask still gets the rest.
    client.shutdown(Shutdown::Write).expect("open");
    let mut next = || {
        let answer = read_framed(&mut client).expect("a whole answer");
        (answer[1], answer[3] & 15)
    };
    assert_eq!([next(), next()], [(2, 0), (1, 2)], "ids and codes");
}
