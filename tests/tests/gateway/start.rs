//! What is said at a start, before one, and by a second gateway where one runs.

use tests::{
    Home,
    dns::{A, Asker},
    home::DNS,
};

use crate::apps;

#[test]
fn a_start_says_what_to_write_into_the_resolver() {
    let home = Home::new();
    home.configure_dns("home.example, lab.example", "", "");
    let gateway = home.start("gateway");
    let (log, dns) = (gateway.log(), home.address(22));
    for line in [
        "to have Pi-hole ask this gateway",
        &format!("server=/home.example/{dns}"),
        &format!("server=/lab.example/{dns}"),
        "to have AdGuard Home ask this gateway",
        &format!("[/home.example/]{dns}"),
        "to have UniFi ask this gateway",
        &format!("domain lab.example, DNS server {dns}"),
        "to have OpenWrt ask this gateway",
        &format!("uci add_list dhcp.@dnsmasq[0].server='/home.example/{dns}'"),
        "uci add_list dhcp.@dnsmasq[0].rebind_domain='/home.example/'",
    ] {
        assert!(log.contains(line), "{line:?} is not in\n{log}");
    }
}

#[test]
fn a_check_tells_what_is_wrong_with_names_too() {
    let home = Home::new();
    home.apply("apps.yaml", &apps());
    let manifests = home.manifests().display().to_string();
    let (said, is_content) = home.command("gateway", &["--check", "--manifests", &manifests]);
    assert!(is_content && said.contains("doorward.yaml is right"), "{said}");
    home.apply(
        "rogue.yaml",
        "apiVersion: externaldns.k8s.io/v1alpha1
kind: DNSEndpoint
metadata: {name: rogue, namespace: media}
spec: {endpoints: [{dnsName: rogue.home.example, recordType: A, targets: [203.0.113.9]}]}
",
    );
    let (said, is_content) = home.command("gateway", &["--check", "--manifests", &manifests]);
    assert!(!is_content, "{said}");
    assert!(said.contains("DNSEndpoint media/rogue: address 203.0.113.9 is not in dns.allowedAddresses"), "{said}");
    assert!(said.contains("1 problem(s); everything else would be served"), "{said}");
}

#[test]
fn a_second_gateway_on_an_address_takes_no_query_from_the_first() {
    let home = Home::new();
    home.apply("apps.yaml", &apps());
    let _first = home.start("gateway");
    // Its admin port is free, so that it comes to DNS.
    let taken = format!("gateway: \"{}", home.address(22));
    let free = format!("gateway: \"{}", home.address(20));
    home.write("doorward.yaml", &home.read("doorward.yaml").replace(&taken, &free));
    let mut second = home.launch("gateway");
    // The kernel chooses a socket by the client's port: of many clients some would come to the second.
    let mut n_asked = 0;
    while n_asked < 500 && (n_asked < 100 || second.is_running()) {
        n_asked += 1;
        assert_answers(&home);
    }
    assert!(!second.wait().success());
    let why = format!("cannot listen on {} for DNS", home.socket(22, DNS));
    assert!(second.log().contains(&why), "{}", second.log());
    assert_answers(&home);
}

/// To a client from a port of its own.
fn assert_answers(home: &Home) {
    let mut asker = Asker::new(home.socket(98, 0), home.socket(22, DNS));
    assert_eq!(asker.ask("grafana.home.example", A), format!("NoError aa {}", home.address(21)));
}
