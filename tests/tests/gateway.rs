//! `gateway` as a process, asked with dig over UDP and TCP.

#[path = "gateway/aliases.rs"]
mod aliases;
#[path = "gateway/commands.rs"]
mod commands;
#[path = "gateway/exports.rs"]
mod exports;
#[path = "gateway/filters.rs"]
mod filters;
#[path = "gateway/forwarding.rs"]
mod forwarding;
#[path = "gateway/freshness.rs"]
mod freshness;
#[path = "gateway/identity.rs"]
mod identity;
#[path = "gateway/last_known.rs"]
mod last_known;
#[path = "gateway/reasons.rs"]
mod reasons;
#[path = "gateway/reverse.rs"]
mod reverse;
#[path = "gateway/sources.rs"]
mod sources;
#[path = "gateway/start.rs"]
mod start;
#[path = "gateway/strangers.rs"]
mod strangers;
#[path = "gateway/tls.rs"]
mod tls;
#[path = "gateway/views.rs"]
mod views;
#[path = "gateway/zones.rs"]
mod zones;

use tests::{
    Home, eventually,
    home::{DNS, classes, ingress, ingress_of, service},
};

/// A home that serves `grafana`, a wildcard, and a name with an empty non-terminal above it.
fn home() -> Home {
    let home = Home::new();
    home.apply("apps.yaml", &apps());
    home
}

fn apps() -> String {
    [
        classes(),
        service("web", &[]),
        ingress("grafana", "grafana.home.example", "web"),
        ingress("wild", "*.apps.home.example", "web"),
        ingress("deep", "a.b.deep.home.example", "web"),
        ingress_of("external", "outside", "outside.home.example", "web"),
    ]
    .concat()
}

/// `NOERROR aa` and the answer's data; what dig says of flags and sections, shortened.
fn ask(home: &Home, question: &[&str]) -> String {
    let said = home.dig(&[&["+noall", "+comments", "+answer", "+authority"], question].concat());
    let status =
        said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or("no answer").to_owned();
    let flags = said.split("flags: ").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
    let records = said.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    let records: Vec<String> = records
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let data = if words.get(3) == Some(&"SOA") { "" } else { words.get(4).copied().unwrap_or_default() };
            format!("{} {} {data}", words.first().unwrap_or(&""), words.get(3).unwrap_or(&"")).trim_end().to_owned()
        })
        .collect();
    let aa = if flags.split(' ').any(|flag| flag == "aa") { " aa" } else { "" };
    let tc = if flags.split(' ').any(|flag| flag == "tc") { " tc" } else { "" };
    format!("{status}{aa}{tc} {}", records.join(", ")).trim_end().to_owned()
}

/// The answer's records as a zone file has them, in the order of the alphabet: `grafana.home.example. 30 IN A 192.168.8.21`.
fn records(home: &Home, question: &[&str]) -> Vec<String> {
    let said = home.dig(&[&["+noall", "+answer"], question].concat());
    let mut lines: Vec<String> = said
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|it| !it.is_empty() && !it.starts_with(';'))
        .collect();
    lines.sort();
    lines
}

#[test]
fn every_kind_of_answer_over_udp_and_tcp() {
    let home = home();
    let _gateway = home.start("gateway");
    let lan = home.address(21);
    let dns = home.address(22);
    let negative = "home.example. SOA";
    for transport in ["+notcp", "+tcp"] {
        for (question, expected) in [
            ("grafana.home.example A", format!("NOERROR aa grafana.home.example. A {lan}")),
            ("GraFana.HOME.example A", format!("NOERROR aa GraFana.HOME.example. A {lan}")),
            ("outside.home.example A", format!("NOERROR aa outside.home.example. A {lan}")),
            ("x.apps.home.example A", format!("NOERROR aa x.apps.home.example. A {lan}")),
            ("x.y.apps.home.example A", format!("NOERROR aa x.y.apps.home.example. A {lan}")),
            ("grafana.home.example AAAA", format!("NOERROR aa {negative}")),
            ("grafana.home.example TXT", format!("NOERROR aa {negative}")),
            ("grafana.home.example HTTPS", format!("NOERROR aa {negative}")),
            ("grafana.home.example DS", format!("NOERROR aa {negative}")),
            ("b.deep.home.example A", format!("NOERROR aa {negative}")),
            ("apps.home.example A", format!("NOERROR aa {negative}")),
            ("home.example A", format!("NOERROR aa {negative}")),
            ("home.example SOA", "NOERROR aa home.example. SOA".to_owned()),
            ("home.example NS", "NOERROR aa home.example. NS ns.home.example.".to_owned()),
            ("ns.home.example A", format!("NOERROR aa ns.home.example. A {dns}")),
            ("nothing.home.example A", format!("NXDOMAIN aa {negative}")),
            ("x.grafana.home.example A", format!("NXDOMAIN aa {negative}")),
            ("example.org A", "REFUSED".to_owned()),
            ("grafana.home.example CH A", "REFUSED".to_owned()),
            ("nas A", "NXDOMAIN aa . SOA".to_owned()),
            ("9.8.168.192.in-addr.arpa PTR", "NXDOMAIN aa 168.192.in-addr.arpa. SOA".to_owned()),
        ] {
            let question: Vec<&str> = question.split(' ').chain([transport]).collect();
            assert_eq!(ask(&home, &question), expected, "{question:?}");
        }
    }
    assert_eq!(ask(&home, &["home.example", "AXFR", "+tcp"]), "REFUSED");
}

#[test]
fn edns_is_spoken_with_those_who_speak_it() {
    let home = home();
    let _gateway = home.start("gateway");
    assert!(home.dig(&["+edns=0", "+bufsize=4096", "grafana.home.example"]).contains("udp: 1232"));
    assert!(!home.dig(&["+noedns", "grafana.home.example"]).contains("EDNS"));
    assert!(home.dig(&["+edns=1", "+noednsnegotiation", "grafana.home.example"]).contains("status: BADVERS"));
    assert!(home.dig(&["+opcode=UPDATE", "grafana.home.example"]).contains("status: NOTIMP"));
    assert!(home.dig(&["example.org"]).contains("EDE: 20"));
}

#[test]
fn an_answer_that_does_not_fit_is_truncated_and_whole_over_tcp() {
    let home = home();
    let many: Vec<String> = (1..=60).map(|n| format!("192.168.9.{n}")).collect();
    let [dns, lan] = [home.address(22), home.address(21)];
    let config = format!(
        "zones: [home.example]\nentryPoints: {{lan: {{addresses: [{}], http: 80}}}}\ndns: {{listen: [\"{dns}:5353\"]}}\nadmin: {{gateway: \"{dns}:9150\", router: \"{lan}:9150\"}}\n",
        many.join(", ")
    );
    std::fs::write(home.path("doorward.yaml"), config).expect("written");
    let _gateway = home.start("gateway");
    let udp = ask(&home, &["+notcp", "+ignore", "+noedns", "grafana.home.example"]);
    assert!(udp.starts_with("NOERROR aa tc"), "{udp}");
    let tcp = ask(&home, &["+noedns", "grafana.home.example"]);
    assert!(tcp.starts_with("NOERROR aa grafana") && tcp.contains("192.168.9.60"), "{tcp}");
}

#[test]
fn an_entry_point_with_addresses_of_both_kinds_is_answered_with_each() {
    let home = home();
    let (lan, dns) = (home.address(21), home.address(22));
    configure(&home, &format!("{lan}, 'fd00::21', 'fd00::22'"), &format!("{dns}, 'fd00::53'"));
    let _gateway = home.start("gateway");
    for (question, expected) in [
        (["grafana.home.example", "A"], format!("NOERROR aa grafana.home.example. A {lan}")),
        (["ns.home.example", "AAAA"], "NOERROR aa ns.home.example. AAAA fd00::53".to_owned()),
    ] {
        assert_eq!(ask(&home, &question), expected, "{question:?}");
    }
    // Clients take the first, so each gets its turn.
    let said = |first, second| {
        let record = |last| format!("grafana.home.example. AAAA fd00::{last}");
        format!("NOERROR aa {}, {}", record(first), record(second))
    };
    let seen: std::collections::BTreeSet<String> =
        (0..40).map(|_| ask(&home, &["grafana.home.example", "AAAA"])).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [said(21, 22), said(22, 21)]);
}

#[test]
fn an_answer_is_as_long_as_its_client_takes_and_never_longer_than_any_path_does() {
    let home = home();
    let many: Vec<String> = (1..=100).map(|n| format!("192.168.9.{n}")).collect();
    configure(&home, &many.join(", "), "");
    let _gateway = home.start("gateway");
    for (taken, longest) in [("+noedns", 512), ("+bufsize=100", 512), ("+bufsize=600", 600), ("+bufsize=4096", 1232)] {
        let said = home.dig(&["+ignore", taken, "grafana.home.example"]);
        let length = said.split("rcvd: ").nth(1).and_then(|rest| rest.trim().parse().ok()).unwrap_or(0);
        assert!((1..=longest).contains(&length), "{taken}: {said}");
        // Half an answer would be taken for the whole by some.
        assert!(said.contains("flags: qr aa tc rd;") && said.contains("ANSWER: 0"), "{taken}: {said}");
    }
}

/// One entry point, at addresses that nobody needs to reach.
fn configure(home: &Home, lan: &str, dns: &str) {
    let (listen, router) = (home.address(22), home.address(21));
    home.write(
        "doorward.yaml",
        &format!(
            "zones: [home.example]
entryPoints: {{lan: {{addresses: [{lan}], http: 80}}}}
dns: {{listen: [\"{listen}:5353\"], addresses: [{dns}]}}
admin: {{gateway: \"{listen}:9150\", router: \"{router}:9150\"}}
"
        ),
    );
}

#[test]
fn answers_are_counted_by_transport_and_rcode() {
    let home = home();
    let _gateway = home.start("gateway");
    for question in [
        ["grafana.home.example", "+notcp"],
        ["apps.home.example", "+notcp"],
        ["grafana.home.example", "+tcp"],
        ["nothing.home.example", "+tcp"],
        ["example.org", "+notcp"],
    ] {
        home.dig(&question);
    }
    let expected = [
        "coredns_dns_requests_total{server=\"dns://:53\",zone=\"home.example.\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"} 2",
        "coredns_dns_requests_total{server=\"dns://:53\",zone=\"home.example.\",view=\"\",proto=\"tcp\",family=\"1\",type=\"A\"} 2",
        "coredns_dns_responses_total{server=\"dns://:53\",zone=\"home.example.\",view=\"\",rcode=\"NOERROR\",plugin=\"doorward\"} 3",
        "coredns_dns_responses_total{server=\"dns://:53\",zone=\"home.example.\",view=\"\",rcode=\"NXDOMAIN\",plugin=\"doorward\"} 1",
        "coredns_dns_responses_total{server=\"dns://:53\",zone=\".\",view=\"\",rcode=\"REFUSED\",plugin=\"doorward\"} 1",
        "coredns_dns_request_duration_seconds_count{server=\"dns://:53\",zone=\"home.example.\",view=\"\"} 4",
        "coredns_panics_total 0",
        "doorward_dns_names{zone=\"home.example\"} 5",
    ];
    // An answer is counted once it is sent.
    eventually("the counts", || {
        let metrics = home.admin("gateway", "/metrics");
        let is_there = |line: &&str| metrics.lines().any(|it| it == *line);
        let missing: Vec<&&str> = expected.iter().filter(|line| !is_there(line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("without {missing:#?}")) }
    });
}

#[test]
fn a_packet_that_nobody_sends_in_good_faith_is_answered_briefly_and_not_logged() {
    let home = home();
    let gateway = home.start("gateway");
    let label = |length: u8| [vec![length], vec![b'a'; usize::from(length)]].concat();
    let longest_name = [label(63), label(63), label(63), label(61), vec![0]].concat();
    let question = [longest_name, vec![0, 1, 0, 1]].concat();
    // An OPT whose one option is longer than the record.
    let options_cut_short = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 5, 0, 10, 0, 5, 1];
    // What is expected is the rcode, and how many questions are echoed.
    for (what, counts, rest, expected) in [
        ("two questions that do not fit in an answer", [2, 0], [&question[..], &question].concat(), "1 0"),
        ("an OPT with options that end early", [1, 1], [&question[..], &options_cut_short].concat(), "1 0"),
        ("no question where one is announced", [1, 0], vec![], "1 0"),
    ] {
        let [n_questions, n_additionals] = counts;
        let answer = send(&home, &[vec![0, 7, 0, 0, 0, n_questions, 0, 0, 0, 0, 0, n_additionals], rest].concat());
        assert_eq!(answer.get(..3), Some([0, 7, 0x80].as_slice()), "{what}");
        assert_eq!(format!("{} {}", answer[3] & 15, answer[5]), expected, "{what}");
    }
    assert!(!gateway.log().contains("hickory"), "{}", gateway.log());
}

/// One datagram, and the one that answers it.
fn send(home: &Home, packet: &[u8]) -> Vec<u8> {
    let socket = std::net::UdpSocket::bind(home.socket(98, 0)).expect("a free port");
    socket.set_read_timeout(Some(tests::PATIENCE)).expect("a timeout");
    socket.send_to(packet, home.socket(22, DNS)).expect("sent");
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).expect("an answer");
    answer.truncate(length);
    answer
}

#[test]
fn changes_of_manifests_are_answered_and_broken_ones_change_nothing() {
    let home = home();
    let _gateway = home.start("gateway");
    let lan = home.address(21);
    let (_, took) = {
        home.apply("late.yaml", &ingress("late", "late.home.example", "web"));
        eventually("the new name", || match ask(&home, &["late.home.example"]) {
            answer if answer.contains(&lan.to_string()) => Ok(()),
            other => Err(other),
        })
    };
    println!("a new name was answered after {} ms", took.as_millis());

    home.apply("late.yaml", "kind: [");
    eventually("the problem", || match home.admin("gateway", "/problems") {
        problems if problems.contains("late.yaml: cannot be read: ") => Ok(()),
        other => Err(other),
    });
    assert!(ask(&home, &["late.home.example"]).contains(&lan.to_string()));
    assert!(home.admin("gateway", "/metrics").contains("doorward_problems{kind=\"File\",reason=\"Unreadable\"} 1"));

    home.delete("late.yaml");
    eventually("the name's end", || match ask(&home, &["late.home.example"]) {
        answer if answer.starts_with("NXDOMAIN") => Ok(()),
        other => Err(other),
    });
}

#[test]
fn a_name_is_explained() {
    let home = home();
    let _gateway = home.start("gateway");
    let explained = |name: &str| home.admin("gateway", &format!("/explain?name={name}"));
    assert!(explained("outside.home.example").contains("Ingress default/outside on entry point lan gives the answer"));
    assert!(explained("outside.home.example").contains(
        "Ingress default/outside on entry point tunnel is not answered: Ingress default/outside on entry point lan comes before it"
    ));
    assert!(explained("nothing.home.example").contains("no object asks for this name"));
    assert!(explained("example.org").contains("no zone holds this name"));
    assert!(home.admin("gateway", "/explain").contains("ask /explain?name="));
}

#[test]
fn sigterm_ends_it_with_success_after_a_delay_in_which_it_answers_and_is_not_ready() {
    let home = home();
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("{delay: 0,", "{delay: 10,"));
    let mut gateway = home.start("gateway");
    gateway.terminate();
    // All that is asked here has its answer before that is over.
    eventually("that it is not ready", || match home.admin_status("gateway", "/readyz").as_str() {
        "503" => Ok(()),
        other => Err(other.to_owned()),
    });
    let answer = ask(&home, &["grafana.home.example"]);
    assert!(answer.contains(&home.address(21).to_string()), "{answer}");
    assert!(gateway.wait().success(), "{}", gateway.log());
}

#[test]
fn what_cannot_start_says_why() {
    let home = home();
    let _first = home.start("gateway");
    let mut second = home.launch("gateway");
    assert!(!second.wait().success());
    assert!(second.log().contains("cannot listen on the admin address"), "{}", second.log());

    let [taken, free] = [22, 20].map(|last| format!("gateway: \"{}", home.address(last)));
    home.write("doorward.yaml", &home.read("doorward.yaml").replace(&taken, &free));
    let mut second = home.launch("gateway");
    assert!(!second.wait().success());
    let why = format!("cannot listen on {} for DNS", home.socket(22, DNS));
    assert!(second.log().contains(&why), "{}", second.log());

    home.write("doorward.yaml", "zonse: [home.example]");
    let mut wrong = home.launch("gateway");
    assert!(!wrong.wait().success());
    assert!(wrong.log().contains("doorward.yaml") && wrong.log().contains("did you mean `zones`?"), "{}", wrong.log());
}

#[test]
fn without_objects_it_refuses_in_the_way_that_sends_dnsmasq_to_its_twin() {
    let home = home();
    let gateway = home.launch_on_api_server("gateway", home.socket(99, 6443));
    let said = eventually("an answer", || match home.dig(&["grafana.home.example"]) {
        said if said.contains("status: REFUSED") => Ok(said),
        other => Err(other),
    });
    assert!(said.0.contains("EDE: 14"), "{}", said.0);
    assert!(home.admin("gateway", "/readyz").contains("waiting for"), "{}", gateway.log());
    assert_eq!(home.admin("gateway", "/livez"), "ok\n");
}
