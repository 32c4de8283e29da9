//! Names of addresses.

use tests::Home;

use crate::{apps, ask, records};

#[test]
fn addresses_have_names_where_that_is_wanted() {
    let home = Home::new();
    home.configure_dns(
        "home.example",
        "reverse: true, records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}, {name: six.home.example, type: AAAA, targets: ['fd00:8::50']}]",
        "",
    );
    home.apply("apps.yaml", &apps());
    let _gateway = home.start("gateway");
    let [lan, dns, tunnel] = [21, 22, 23].map(|last| home.address(last).to_string());
    for (address, name) in
        [(&*lan, "lan"), (&dns, "ns"), (&tunnel, "tunnel"), ("192.168.8.50", "nas"), ("fd00:8::50", "six")]
    {
        let found = records(&home, &["-x", address]);
        assert!(
            found.len() == 1 && found[0].ends_with(&format!(" 30 IN PTR {name}.home.example.")),
            "{address}: {found:?}"
        );
    }
    // The name that an address has leads back to it.
    assert_eq!(ask(&home, &["lan.home.example"]), format!("NOERROR aa lan.home.example. A {lan}"));
    assert_eq!(ask(&home, &["-x", "192.168.8.51"]), "NXDOMAIN aa 8.168.192.in-addr.arpa. SOA");
    assert_eq!(ask(&home, &["-x", "192.168.9.51"]), "NXDOMAIN aa 168.192.in-addr.arpa. SOA");
    assert_eq!(ask(&home, &["-x", "203.0.113.1"]), "REFUSED");
    let (said, _) = home.command("gateway", &["explain", "192.168.8.50"]);
    assert!(said.starts_with("50.8.168.192.in-addr.arpa PTR: NOERROR"), "{said}");
}

#[test]
fn private_addresses_have_none_by_default() {
    let home = Home::new();
    home.configure_dns("home.example", "records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}]", "");
    let _gateway = home.start("gateway");
    assert_eq!(ask(&home, &["-x", "192.168.8.50"]), "NXDOMAIN aa 168.192.in-addr.arpa. SOA");
    let (said, _) = home.command("gateway", &["explain", "192.168.8.50"]);
    assert!(said.contains("because: dns.reverse is off"), "{said}");
}
