//! Whose address a client is told, by its own address and by the word of a forwarder.

use tests::Home;

use crate::{apps, ask, eventually};

/// Guests (`.55`, and 192.168.5.0/24) are sent to the tunnel; `.5` is a forwarder.
fn home() -> Home {
    let home = Home::new();
    let views = format!(
        "forwarders: [{}], views: [{{name: guests, sources: [{}, 192.168.5.0/24, 'fd00:5::/64'], entryPoints: [tunnel]}}]",
        home.address(5),
        home.address(55)
    );
    home.configure_dns("home.example", &views, "");
    home.apply("apps.yaml", &apps());
    home
}

#[test]
fn a_client_is_told_the_address_of_its_view() {
    let home = home();
    let _gateway = home.start("gateway");
    let [lan, tunnel] = [21, 23].map(|last| format!("NOERROR aa outside.home.example. A {}", home.address(last)));
    for (from, expected) in [(7, &lan), (55, &tunnel), (5, &lan)] {
        let from = home.address(from).to_string();
        for transport in ["+notcp", "+tcp"] {
            assert_eq!(&ask(&home, &["-b", &from, "outside.home.example", transport]), expected, "{from} {transport}");
        }
    }
    // What the tunnel does not serve has one address for all.
    let guest = home.address(55).to_string();
    let answer = ask(&home, &["-b", &guest, "grafana.home.example"]);
    assert_eq!(answer, format!("NOERROR aa grafana.home.example. A {}", home.address(21)));
    let counted = "coredns_dns_requests_total{server=\"dns://:53\",zone=\"home.example.\",view=\"guests\",proto=\"udp\",family=\"1\",type=\"A\"} 2";
    eventually("the count", || match home.admin("gateway", "/metrics") {
        metrics if metrics.contains(counted) => Ok(()),
        other => Err(other.lines().filter(|line| line.contains("requests_total")).collect::<Vec<_>>().join("\n")),
    });
}

#[test]
fn the_word_of_a_forwarder_counts_and_of_others_does_not() {
    let home = home();
    let _gateway = home.start("gateway");
    let [lan, tunnel] = [21, 23].map(|last| home.address(last).to_string());
    let [forwarder, other] = [5, 7].map(|last| home.address(last).to_string());
    for (from, subnet, expected, scope) in [
        (&forwarder, "192.168.5.7/32", &tunnel, "192.168.5.7/32/24"),
        (&forwarder, "192.168.5.0/24", &tunnel, "192.168.5.0/24/24"),
        (&forwarder, "fd00:5::7/128", &tunnel, "fd00:5::7/128/64"),
        // As many bits as tell it from the view of the guests.
        (&forwarder, "192.168.8.7/32", &lan, "192.168.8.7/32/21"),
        (&other, "192.168.5.7/32", &lan, "192.168.5.7/32/0"),
    ] {
        let said = home.dig(&["-b", from, &format!("+subnet={subnet}"), "outside.home.example"]);
        assert!(said.contains(&format!("A\t{expected}")), "{from} for {subnet}: {said}");
        assert!(said.contains(&format!("CLIENT-SUBNET: {scope}")), "{from} for {subnet}: {said}");
    }
}

#[test]
fn an_explanation_is_for_a_client_and_says_what_others_see() {
    let home = home();
    let _gateway = home.start("gateway");
    let (said, _) = home.command("gateway", &["explain", "outside.home.example", "--client", "192.168.5.9"]);
    for line in [
        &format!("outside.home.example. 30 IN A {}", home.address(23)),
        "view: guests",
        "because: Ingress default/outside on entry point tunnel gives the answer",
        &format!("elsewhere: the default view has A {}", home.address(21)),
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
}
