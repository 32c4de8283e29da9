//! Several zones, how long answers hold, ACME challenges, and HTTPS records.

use tests::{
    Home,
    home::{HTTPS, classes, ingress, service},
};

use crate::{ask, records};

#[test]
fn each_zone_answers_for_itself_with_its_own_lifetimes() {
    let home = Home::new();
    let zones = "home.example, {name: lab.home.example, ttl: 7, negativeTtl: 3}, {name: Other.Example, ttl: 9}";
    home.configure_dns(zones, "", "");
    let slow = ingress("slow", "slow.home.example", "web").replace(
        "namespace: default}",
        "namespace: default, annotations: {external-dns.alpha.kubernetes.io/ttl: '90'}}",
    );
    home.apply(
        "apps.yaml",
        &[
            classes(),
            service("web", &[]),
            slow,
            ingress("home", "app.home.example", "web"),
            ingress("lab", "app.lab.home.example", "web"),
            ingress("other", "app.other.example", "web"),
        ]
        .concat(),
    );
    let _gateway = home.start("gateway");
    let lan = home.address(21);
    for (name, ttl) in [("app.home", 30), ("slow.home", 90), ("app.lab.home", 7), ("app.other", 9)] {
        let name = format!("{name}.example");
        assert_eq!(records(&home, &[&name]), [format!("{name}. {ttl} IN A {lan}")]);
    }
    for (name, zone, seconds) in [
        ("nothing.home.example", "home.example", 5),
        ("nothing.lab.home.example", "lab.home.example", 3),
        ("app.lab.home.example.other.example", "other.example", 5),
    ] {
        let said = home.dig(&["+noall", "+comments", "+authority", name]);
        let soa = said.lines().find(|line| line.contains("SOA")).unwrap_or_default();
        let words: Vec<&str> = soa.split_whitespace().collect();
        assert_eq!(words.get(..2), Some([format!("{zone}.").as_str(), &seconds.to_string()].as_slice()), "{said}");
        assert_eq!(words.last(), Some(&seconds.to_string().as_str()), "{soa}");
        assert!(said.contains("NXDOMAIN"), "{said}");
    }
    assert_eq!(ask(&home, &["lab.home.example", "NS"]), "NOERROR aa lab.home.example. NS ns.lab.home.example.");
}

#[test]
fn a_challenge_is_answered_where_the_acme_client_writes() {
    let home = Home::new();
    home.configure_dns("{name: home.example, acmeChallenge: acme.example.org}, lab.example", "", "");
    home.apply("apps.yaml", &[classes(), service("web", &[]), ingress("app", "app.home.example", "web")].concat());
    let _gateway = home.start("gateway");
    for (name, target) in [
        ("_acme-challenge.app.home.example", "app.acme.example.org."),
        // Of a certificate for what nobody serves yet, and of the zone itself.
        ("_acme-challenge.new.home.example", "new.acme.example.org."),
        ("_acme-challenge.home.example", "acme.example.org."),
    ] {
        for kind in ["TXT", "CNAME"] {
            assert_eq!(records(&home, &[name, kind]), [format!("{name}. 5 IN CNAME {target}")]);
        }
    }
    assert_eq!(ask(&home, &["_acme-challenge.app.lab.example", "TXT"]), "NXDOMAIN aa lab.example. SOA");
}

#[test]
fn browsers_are_told_of_https_only_where_that_is_wanted() {
    let home = Home::new();
    let apps = [
        classes(),
        service("web", &[]),
        ingress("app", "app.home.example", "web"),
        ingress("wild", "*.apps.home.example", "web"),
    ];
    home.apply("apps.yaml", &apps.concat());
    {
        let _gateway = home.start("gateway");
        assert_eq!(ask(&home, &["app.home.example", "HTTPS"]), "NOERROR aa home.example. SOA");
    }
    home.configure_dns(
        "home.example",
        "httpsRecords: true, records: [{name: nas.home.example, type: A, targets: [192.168.8.50]}]",
        "",
    );
    // Browsers look for HTTPS at 443.
    home.write("doorward.yaml", &home.read("doorward.yaml").replace(&format!("https: {HTTPS}"), "https: 443"));
    let _gateway = home.start("gateway");
    for name in ["app.home.example", "x.apps.home.example"] {
        let record = format!("{name}. 30 IN HTTPS 1 . alpn=\"h2,http/1.1\" ipv4hint={}", home.address(21));
        assert_eq!(records(&home, &[name, "HTTPS"]), [record]);
    }
    assert_eq!(ask(&home, &["nas.home.example", "HTTPS"]), "NOERROR aa home.example. SOA");
}
