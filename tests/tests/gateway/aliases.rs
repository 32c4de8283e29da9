//! Names that are others' aliases.

use tests::Home;

use crate::{apps, ask, records};

#[test]
fn an_alias_is_followed_as_long_as_it_stays_in_the_zones() {
    let home = Home::new();
    home.configure("");
    let endpoint = |name: &str, target: &str| {
        format!("  - {{dnsName: {name}.home.example, recordType: CNAME, recordTTL: 60, targets: [{target}]}}\n")
    };
    let aliases = [
        endpoint("one", "two.home.example"),
        endpoint("two", "grafana.home.example"),
        endpoint("wild", "x.apps.home.example"),
        endpoint("dangling", "nothing.home.example"),
        endpoint("out", "www.example.net"),
        endpoint("here", "there.home.example"),
        endpoint("there", "here.home.example"),
    ]
    .concat();
    let aliases = format!(
        "apiVersion: externaldns.k8s.io/v1alpha1\nkind: DNSEndpoint\nmetadata: {{name: aliases, namespace: default}}\nspec:\n  endpoints:\n{aliases}"
    );
    home.apply("apps.yaml", &apps());
    home.apply("aliases.yaml", &aliases);
    let _gateway = home.start("gateway");
    let lan = home.address(21);
    let alias = |name: &str, target: &str| format!("{name}.home.example. 60 IN CNAME {target}.");
    for (name, expected) in [
        (
            "one",
            vec![
                format!("grafana.home.example. 30 IN A {lan}"),
                alias("one", "two.home.example"),
                alias("two", "grafana.home.example"),
            ],
        ),
        ("wild", vec![alias("wild", "x.apps.home.example"), format!("x.apps.home.example. 30 IN A {lan}")]),
        ("dangling", vec![alias("dangling", "nothing.home.example")]),
        ("out", vec![alias("out", "www.example.net")]),
        ("here", vec![alias("here", "there.home.example"), alias("there", "here.home.example")]),
    ] {
        assert_eq!(records(&home, &[&format!("{name}.home.example")]), expected, "{name}");
    }
    assert!(ask(&home, &["dangling.home.example"]).starts_with("NXDOMAIN aa"));
    assert!(ask(&home, &["one.home.example", "TXT"]).starts_with("NOERROR aa one.home.example. CNAME"));
    assert_eq!(records(&home, &["one.home.example", "CNAME"]), [alias("one", "two.home.example")]);
    let (said, _) = home.command("gateway", &["explain", "dangling.home.example"]);
    assert!(said.contains("because: nothing.home.example: no object asks for this name"), "{said}");
    let problems = home.admin("gateway", "/problems");
    assert!(
        problems.contains("endpoint out.home.example has the CNAME target www.example.net, which lies in no zone"),
        "{problems}"
    );
}
