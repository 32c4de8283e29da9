//! Started while the API server is away: with the last known state, without it, and with one that is damaged.

use std::{fs, path::PathBuf};

use tests::{ApiServer, Home, Program, eventually, home::ingress};

use crate::{apps, ask};

/// A gateway that keeps its state, on an API server that can be stopped.
struct Kept {
    api: ApiServer,
    gateway: Program,
    // Last, as it has the program's log.
    home: Home,
}

impl Kept {
    fn start() -> Self {
        let home = Home::new();
        home.configure(&format!("stateDirectory: {}", home.path("state").display()));
        let api = ApiServer::start(home.socket(99, 6443));
        api.apply(&apps());
        let gateway = home.launch_on_api_server("gateway", home.socket(99, 6443));
        let kept = Self { api, gateway, home };
        kept.eventually_answers("grafana", "NOERROR");
        kept
    }

    fn file(&self) -> PathBuf {
        self.home.path("state/gateway.state")
    }

    fn eventually_written(&self) {
        eventually("the state", || if self.file().exists() { Ok(()) } else { Err(self.gateway.log()) });
    }

    fn end(&mut self, signal: &str) {
        self.gateway.signal(signal);
        self.gateway.wait();
    }

    fn start_again(&mut self) {
        self.gateway = self.home.launch_on_api_server("gateway", self.home.socket(99, 6443));
    }

    fn eventually_answers(&self, name: &str, status: &str) -> std::time::Duration {
        let answers = || match ask(&self.home, &[&format!("{name}.home.example")]) {
            answer if answer.starts_with(status) => Ok(()),
            other => Err((other, self.gateway.log())),
        };
        eventually(&format!("{status} for {name}"), answers).1
    }

    /// The value of a metric without labels.
    fn metric(&self, name: &str) -> String {
        let metrics = self.home.admin("gateway", "/metrics");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or("none").to_owned()
    }
}

#[test]
fn a_gateway_that_is_killed_and_started_without_the_api_server_answers_as_before() {
    let mut kept = Kept::start();
    let lan = kept.home.address(21);
    let answer = ask(&kept.home, &["grafana.home.example"]);
    assert_eq!(answer, format!("NOERROR aa grafana.home.example. A {lan}"));
    assert_eq!(kept.metric("doorward_snapshot_restored"), "0");
    kept.eventually_written();
    kept.api.stop();
    kept.end("KILL");

    kept.start_again();
    let took = kept.eventually_answers("grafana", "NOERROR");
    println!("FIGURE start without the API server until the first answer: {} ms", took.as_millis());
    assert_eq!(ask(&kept.home, &["grafana.home.example"]), answer);
    assert!(ask(&kept.home, &["nothing.home.example"]).starts_with("NXDOMAIN aa"));
    assert_eq!(kept.home.admin_status("gateway", "/readyz"), "200");
    assert!(kept.home.admin("gateway", "/readyz").starts_with("ok, with the last known state of 2"));
    assert_eq!(kept.metric("doorward_snapshot_restored"), "1");
    let explained = |kept: &Kept| kept.home.command("gateway", &["explain", "grafana.home.example"]).0;
    let said = explained(&kept);
    assert!(said.contains("objects: the last known state, of 2"), "{said}");
    assert_eq!(kept.metric("doorward_state_write_failures_total"), "0");
    assert!(kept.gateway.log().contains("serving the last known state of 2"), "{}", kept.gateway.log());

    kept.api.delete(&ingress("grafana", "grafana.home.example", "web"));
    kept.api.apply(&ingress("new", "new.home.example", "web"));
    kept.api.start_again();
    kept.eventually_answers("new", "NOERROR");
    assert!(ask(&kept.home, &["grafana.home.example"]).starts_with("NXDOMAIN aa"), "the cluster's word counts");
    assert_eq!(kept.home.admin("gateway", "/readyz"), "ok\n");
    let said = explained(&kept);
    assert!(said.contains("objects: last changed 2"), "{said}");
    assert_eq!(kept.metric("doorward_snapshot_restored"), "0");
}

#[test]
fn what_it_learnt_last_is_kept_by_a_gateway_that_leaves() {
    let mut kept = Kept::start();
    kept.eventually_written();
    // So soon after the first write that the next one is not due.
    kept.api.apply(&ingress("new", "new.home.example", "web"));
    kept.eventually_answers("new", "NOERROR");
    kept.end("TERM");
    kept.api.stop();
    kept.start_again();
    kept.eventually_answers("new", "NOERROR");
}

#[test]
fn without_a_state_or_with_a_damaged_one_it_waits_for_the_api_server() {
    let mut kept = Kept::start();
    kept.eventually_written();
    kept.api.stop();
    kept.end("TERM");
    let state = fs::read_to_string(kept.file()).expect("readable");
    fs::remove_file(kept.file()).expect("it is there");
    for (damaged, said) in [(None, "cannot be followed now"), (Some("granada"), "gateway.state")] {
        if let Some(damage) = damaged {
            kept.end("TERM");
            fs::write(kept.file(), state.replace("grafana", damage)).expect("writable");
        }
        kept.start_again();
        eventually(said, || if kept.gateway.log().contains(said) { Ok(()) } else { Err(kept.gateway.log()) });
        assert_eq!(ask(&kept.home, &["grafana.home.example"]), "REFUSED");
        assert_eq!(kept.home.admin_status("gateway", "/readyz"), "503");
        assert_eq!(kept.metric("doorward_snapshot_restored"), "none");
    }
    assert!(kept.gateway.log().contains("damaged or cut short"), "{}", kept.gateway.log());
    kept.api.start_again();
    kept.eventually_answers("grafana", "NOERROR");
    // What is listed takes the place of what is damaged.
    kept.end("TERM");
    kept.api.stop();
    kept.start_again();
    kept.eventually_answers("grafana", "NOERROR");
}
