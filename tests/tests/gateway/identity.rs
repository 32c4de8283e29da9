//! Who has answered: version.bind, id.server and NSID.

use tests::Home;

use crate::ask;

#[test]
fn a_server_says_who_it_is() {
    let home = Home::new();
    let _gateway = home.start("gateway");
    let version = home.dig(&["+short", "CH", "TXT", "version.bind"]);
    assert!(version.starts_with("\"doorward "), "{version}");
    let identity = home.dig(&["+short", "CH", "TXT", "id.server"]);
    assert!(identity.len() > 3, "{identity}");
    assert_eq!(home.dig(&["+short", "CH", "TXT", "hostname.bind"]), identity);
    // dig shows it in hexadecimal, and in quotes.
    let said = home.dig(&["+nsid", "home.example", "SOA"]);
    let nsid = said.lines().find(|line| line.contains("NSID")).unwrap_or_default();
    assert!(nsid.contains(identity.trim().trim_matches('"')), "{identity} is not in {nsid}");
    assert!(!home.dig(&["home.example", "SOA"]).contains("NSID"));
}

#[test]
fn who_does_not_want_to_says_nothing() {
    let home = Home::new();
    home.configure_dns("home.example", "identify: false", "");
    let _gateway = home.start("gateway");
    for name in ["version.bind", "id.server", "hostname.bind"] {
        assert_eq!(ask(&home, &["CH", "TXT", name]), "REFUSED");
    }
    assert!(!home.dig(&["+nsid", "home.example", "SOA"]).contains("NSID"));
}
