//! `gateway explain` and `gateway records`, asked of the gateway that runs, and of a directory.

use std::process::{Command, Stdio};

use tests::Home;

use crate::apps;

fn home() -> Home {
    let home = Home::new();
    home.apply("apps.yaml", &apps());
    home
}

#[test]
fn the_running_gateway_and_a_directory_are_explained_alike() {
    let home = home();
    let lan = home.address(21);
    let manifests = home.manifests().display().to_string();
    let _gateway = home.start("gateway");
    let answer = format!(
        "outside.home.example address: NOERROR, cached for 30 s
  outside.home.example. 30 IN A {lan}
zone: home.example
because: Ingress default/outside on entry point lan gives the answer
because: Ingress default/outside on entry point tunnel is not answered: Ingress default/outside on entry point lan comes before it
"
    );
    let (said, is_content) = home.command("gateway", &["explain", "outside.home.example", "--manifests", &manifests]);
    assert_eq!((said, is_content), (answer.clone(), true));
    let (said, is_content) = home.command("gateway", &["explain", "outside.home.example"]);
    assert!(is_content && said.starts_with(&answer), "{said}");
    let age: Vec<&str> = said.lines().skip(answer.lines().count()).collect();
    assert!(
        age.len() == 2 && age[0].starts_with("zones: last changed 2") && age[1].starts_with("objects: last changed 2"),
        "{said}"
    );
}

#[test]
fn programs_get_json() {
    let home = home();
    let _gateway = home.start("gateway");
    let (said, _) = home.command("gateway", &["explain", "nothing.home.example", "txt", "--json"]);
    for field in [r#""answer": "NXDOMAIN""#, r#""type": "TXT""#, r#""cachedSeconds": 5"#, r#""restored": false"#] {
        assert!(said.contains(field), "{field} is not in\n{said}");
    }
    let (said, _) = home.command("gateway", &["records", "--format", "json"]);
    for field in [r#""name": "grafana.home.example""#, r#""object": "Ingress default/grafana""#] {
        assert!(said.contains(field), "{field} is not in\n{said}");
    }
    assert_eq!(home.admin("gateway", "/records?format=json"), said);
}

#[test]
fn every_name_is_listed_with_whose_it_is() {
    let home = home();
    home.configure_dns("home.example, lab.example", "", "");
    let _gateway = home.start("gateway");
    let (said, _) = home.command("gateway", &["records"]);
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    let (lan, dns) = (home.address(21).to_string(), home.address(22).to_string());
    let expected = [
        ["NAME", "TYPE", "DATA", "TTL", "OBJECT", ""],
        ["*.apps.home.example", "A", &lan, "30", "Ingress", "default/wild"],
        ["a.b.deep.home.example", "A", &lan, "30", "Ingress", "default/deep"],
        ["grafana.home.example", "A", &lan, "30", "Ingress", "default/grafana"],
        ["ns.home.example", "A", &dns, "30", "Configuration", "dns.addresses"],
        ["ns.lab.example", "A", &dns, "30", "Configuration", "dns.addresses"],
        ["outside.home.example", "A", &lan, "30", "Ingress", "default/outside"],
    ];
    let expected = expected.map(|row| row.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>());
    assert_eq!(rows, expected);
    let (said, _) = home.command("gateway", &["records", "--zone", "lab.example", "--format", "hosts"]);
    assert_eq!(said, format!("{dns} ns.lab.example\n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let home = home();
    let _gateway = home.start("gateway");
    let mut command = Command::new(tests::binary("gateway"));
    command.arg("records").arg("--config").arg(home.path("doorward.yaml"));
    let mut asking = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(asking.stdout.take());
    let ended = asking.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.is_empty(), "{said}");
}

#[test]
fn a_wrong_question_is_told_what_is_wrong_with_it() {
    let home = home();
    let _gateway = home.start("gateway");
    for (question, expected) in [
        (&["explain", "https://grafana.home.example/"][..], "is no domain name, such as grafana.home.example"),
        (&["explain", "grafana.home.example", "AAA"], "\"AAA\" is no type of record, such as A, AAAA, HTTPS or TXT"),
        (&["explain", "grafana.home.example", "--client", "me"], "\"me\" is no IP address"),
        (&["explain"], "<NAME>"),
        (&["records", "--format", "csv"], "expected table, json, hosts, dnsmasq or zone"),
        (&["records", "--zone", "homes.example"], "there is no zone homes.example; the zones are home.example"),
    ] {
        let (said, is_content) = home.command("gateway", question);
        assert!(!is_content && said.contains(expected), "{question:?}: {said}");
    }
    let usage = home.admin("gateway", "/explain?type=A");
    assert!(usage.contains("ask /explain?name="), "{usage}");
    let usage = home.admin("gateway", "/records?format=csv");
    assert!(usage.contains("ask for table, json, hosts, dnsmasq or zone"), "{usage}");
}

#[test]
fn where_no_gateway_runs_it_says_where_it_was_looked_for() {
    let home = home();
    for question in [&["explain", "grafana.home.example"][..], &["records"]] {
        let (said, is_content) = home.command("gateway", question);
        let expected = format!("nothing answers at the admin port {}", home.admin_address("gateway"));
        assert!(!is_content && said.contains(&expected) && said.contains("--manifests DIR"), "{said}");
    }
    // One that waits for its objects has nothing to list, and an explanation: that it waits.
    let _gateway = home.launch_on_api_server("gateway", home.socket(99, 6443));
    let (said, _) =
        tests::eventually("an explanation", || match home.command("gateway", &["explain", "grafana.home.example"]) {
            (said, true) => Ok(said),
            (other, false) => Err(other),
        });
    assert!(said.contains("because: not ready: waiting for the first complete list of objects"), "{said}");
    let (said, is_content) = home.command("gateway", &["records"]);
    assert!(!is_content && said.contains("not ready: waiting for"), "{said}");
}
