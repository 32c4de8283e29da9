//! Private addresses from an upstream server, where those are suspected: OpenWrt does, Pi-hole does not.

use tests::dnsmasq::{Dnsmasq, Gateway, LAN};

use crate::{forward, home};

#[test]
fn rebind_protection_drops_our_addresses_until_the_zone_is_exempt() {
    let home = home();
    let gateway = Gateway::start(&home, 22);
    let lines = [forward(&[&gateway]), vec!["stop-dns-rebind".to_owned()]].concat();
    let suspicious = Dnsmasq::start(&home, 53, &lines);
    assert!(!suspicious.ask("grafana.home.example A").text().contains(LAN));
    drop(suspicious);

    let lines = [lines, vec!["rebind-domain-ok=/home.example/".to_owned()]].concat();
    let told = Dnsmasq::start(&home, 54, &lines);
    assert_eq!(told.ask("grafana.home.example A"), format!("NOERROR {LAN}"));
    assert_eq!(told.ask("x.apps.home.example A"), format!("NOERROR {LAN}"));
    assert_eq!(told.ask("grafana.home.example AAAA"), "NOERROR");
}
