//! What `gateway records` writes for other name servers is what they take, and they answer as it does.

use std::process::Command;

use tests::{
    Home, Program, eventually,
    home::{DNS, ingress},
};

use crate::apps;

/// Every type of record, addresses of both kinds, a wildcard, and text that needs its quotes.
fn home() -> Home {
    let home = Home::new();
    home.configure_dns(
        "home.example, lab.example",
        "reverse: true, records: [
  {name: nas.home.example, type: A, targets: [192.168.8.50], ttl: 300},
  {name: nas.home.example, type: AAAA, targets: ['fd00:8::50']},
  {name: home.example, type: MX, targets: [10 nas.home.example]},
  {name: _ldap._tcp.home.example, type: SRV, targets: [0 5 389 nas.home.example]},
  {name: www.home.example, type: CNAME, targets: [nas.home.example]},
  {name: text.home.example, type: TXT, targets: ['say \"hi\", a\\b; c']}]",
        "",
    );
    home.apply("apps.yaml", &(apps() + &ingress("lab", "app.lab.example", "web")));
    home
}

const QUESTIONS: &[&str] = &[
    "grafana.home.example A",
    "grafana.home.example AAAA",
    "x.apps.home.example A",
    "apps.home.example A",
    "nas.home.example A",
    "nas.home.example AAAA",
    "www.home.example A",
    "home.example MX",
    "_ldap._tcp.home.example SRV",
    "text.home.example TXT",
    "app.lab.example A",
    "nothing.home.example A",
    "50.8.168.192.in-addr.arpa PTR",
];

/// Data alone: what a server does with lifetimes is its own.
fn short(home: &Home, last: u8, question: &str) -> Vec<String> {
    let arguments: Vec<&str> = question.split(' ').chain(["+short"]).collect();
    let said = home.dig_at(last, &arguments);
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// With this file of configuration, and nothing of the machine's own.
fn dnsmasq(home: &Home, file: &str) -> Program {
    let mut command = Command::new("dnsmasq");
    let address = format!("--listen-address={}", home.address(53));
    let port = format!("--port={DNS}");
    let nothing_else = ["--no-resolv", "--no-hosts", "--no-poll", "--bind-interfaces", "--user=", "--pid-file="];
    command.arg("--keep-in-foreground").args(nothing_else).args([&address, &port, &format!("--conf-file={file}")]);
    Program::start(&mut command, home.path("dnsmasq.log"))
}

fn written(home: &Home, format: &str, more: &[&str]) -> String {
    let (text, is_content) = home.command("gateway", &[&["records", "--format", format], more].concat());
    assert!(is_content, "{text}");
    home.write(format, &text);
    home.path(format).display().to_string()
}

#[test]
fn dnsmasq_takes_its_lines_and_answers_alike() {
    let home = home();
    let _gateway = home.start("gateway");
    let file = written(&home, "dnsmasq", &[]);
    let tested = Command::new("dnsmasq").arg("--test").arg(format!("--conf-file={file}")).output().expect("it starts");
    assert!(tested.status.success(), "{}\n{}", String::from_utf8_lossy(&tested.stderr), home.read("dnsmasq"));
    let _dnsmasq = dnsmasq(&home, &file);
    eventually("dnsmasq", || match short(&home, 53, "grafana.home.example A") {
        answer if answer == [home.address(21).to_string()] => Ok(()),
        other => Err(other),
    });
    for question in QUESTIONS {
        assert_eq!(short(&home, 53, question), short(&home, 22, question), "{question}");
    }
    let said = home.dig_at(53, &["nothing.home.example"]);
    assert!(said.contains("status: NXDOMAIN"), "it asks nobody else: {said}");
}

#[test]
fn a_hosts_file_has_what_is_no_wildcard() {
    let home = home();
    let _gateway = home.start("gateway");
    let file = written(&home, "hosts", &[]);
    home.write("dnsmasq", &format!("addn-hosts={file}\n"));
    let _dnsmasq = dnsmasq(&home, &home.path("dnsmasq").display().to_string());
    eventually("dnsmasq", || match short(&home, 53, "grafana.home.example A") {
        answer if answer == [home.address(21).to_string()] => Ok(()),
        other => Err(other),
    });
    for question in ["nas.home.example A", "nas.home.example AAAA", "app.lab.example A"] {
        assert_eq!(short(&home, 53, question), short(&home, 22, question), "{question}");
    }
}

#[test]
fn a_zone_file_is_right_to_the_tools_of_others() {
    let home = home();
    let _gateway = home.start("gateway");
    for (zone, n_records) in [("home.example", 15), ("lab.example", 4), ("8.168.192.in-addr.arpa", 3)] {
        let file = written(&home, "zone", &["--zone", zone]);
        let checked = Command::new("named-checkzone")
            .args(["-i", "local", "-D", zone, &file])
            .output()
            .expect("it starts; tests/run installs it");
        let said = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(checked.status.success() && said.contains("OK"), "{said}\n{}", home.read("zone"));
        assert_eq!(
            said.lines().filter(|line| line.split_whitespace().nth(2) == Some("IN")).count(),
            n_records,
            "{said}"
        );
    }
}
