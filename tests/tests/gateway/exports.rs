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
    assert_eq!(status(&home, 53, "nothing.home.example A"), "NXDOMAIN", "it asks nobody else");
}

fn status(home: &Home, last: u8, question: &str) -> String {
    let said = home.dig_at(last, &question.split(' ').collect::<Vec<_>>());
    said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or(&said).to_owned()
}

/// What dnsmasq has other ways for, or none.
fn odd_home() -> Home {
    let home = Home::new();
    let long = "x".repeat(1200);
    home.configure_dns(
        "home.example",
        &format!(
            "httpsRecords: true, records: [
  {{name: '*.dual.home.example', type: A, targets: [192.168.8.61]}},
  {{name: '*.dual.home.example', type: AAAA, targets: ['fd00:8::61']}},
  {{name: sole.dual.home.example, type: A, targets: [192.168.8.62]}},
  {{name: c.b.dual.home.example, type: TXT, targets: [deep]}},
  {{name: '*.six.home.example', type: AAAA, targets: ['fd00:8::63']}},
  {{name: '*.text.home.example', type: TXT, targets: ['{long}']}},
  {{name: long.home.example, type: TXT, targets: ['{long}']}},
  {{name: odd.home.example, type: TXT, targets: ['Küche', ' ', '\" \" a\\\\b \\n # , ; = / \"', '\"\" \"a\\010\\007\"']}},
  {{name: here.home.example, type: CNAME, targets: [there.home.example]}},
  {{name: there.home.example, type: CNAME, targets: [here.home.example]}},
  {{name: wild.home.example, type: CNAME, targets: [x.dual.home.example]}},
  {{name: '*.alias.home.example', type: CNAME, targets: [sole.dual.home.example]}},
  {{name: away.home.example, type: CNAME, targets: [www.example.net]}}]"
        ),
        "",
    );
    // HTTPS records are for the port that browsers use.
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("https: 8443", "https: 443"));
    let secure = ingress("secure", "secure.home.example", "web")
        .replace("  rules:", "  tls: [{hosts: [secure.home.example], secretName: secure}]\n  rules:");
    home.apply("apps.yaml", &(apps() + &secure));
    home
}

#[test]
fn dnsmasq_starts_with_what_it_cannot_say_and_denies_nothing_that_exists() {
    let home = odd_home();
    let _gateway = home.start("gateway");
    let file = written(&home, "dnsmasq", &[]);
    let _dnsmasq = dnsmasq(&home, &file);
    eventually("dnsmasq", || match short(&home, 53, "grafana.home.example A") {
        answer if answer == [home.address(21).to_string()] => Ok(()),
        other => Err(format!("{other:?} {}", home.read("dnsmasq.log"))),
    });
    for question in [
        "x.apps.home.example A",
        "x.apps.home.example AAAA",
        "x.apps.home.example TXT",
        "x.dual.home.example A",
        "x.dual.home.example AAAA",
        "x.dual.home.example TXT",
        "sole.dual.home.example A",
        "sole.dual.home.example AAAA",
        "below.sole.dual.home.example A",
        "b.dual.home.example AAAA",
        "c.b.dual.home.example A",
        "x.six.home.example A",
        "x.six.home.example AAAA",
        "odd.home.example TXT",
        "away.home.example A",
        "secure.home.example HTTPS",
        "secure.home.example TXT",
    ] {
        let both = [53, 22].map(|last| (status(&home, last, question), short(&home, last, question)));
        assert_eq!(both[0], both[1], "{question}\n{}", home.read("dnsmasq"));
    }
    for (question, expected) in [
        ("wild.home.example A", "192.168.8.61"),
        ("wild.home.example AAAA", "fd00:8::61"),
        ("x.alias.home.example A", "192.168.8.62"),
    ] {
        assert_eq!(short(&home, 53, question), [expected], "{question}");
        assert!(short(&home, 22, question).contains(&expected.to_owned()), "{question}");
    }
    for expected in [
        "# here.home.example CNAME is left out: its aliases lead in a circle\n",
        "# long.home.example TXT is left out: dnsmasq reads no line of more than 1024 bytes\n",
        "# *.text.home.example TXT is left out: dnsmasq has only addresses for wildcards\n",
    ] {
        assert!(home.read("dnsmasq").contains(expected), "{expected} is not in\n{}", home.read("dnsmasq"));
    }
}

#[test]
fn a_hosts_file_has_the_addresses_of_aliases_and_says_what_it_is_without() {
    let home = odd_home();
    let _gateway = home.start("gateway");
    let (said, _) = home.command("gateway", &["records", "--format", "hosts"]);
    for expected in [
        "192.168.8.61 wild.home.example\n",
        "fd00:8::61 wild.home.example\n",
        "# here.home.example is left out: its aliases lead in a circle\n",
        "# away.home.example is left out: it is an alias of www.example.net, which lies in no zone\n",
        "# *.dual.home.example is left out: such a file has no wildcards\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
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
