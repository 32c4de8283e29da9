//! The API server goes away and comes back.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Instant,
};

use tests::{
    SetAtTheEnd, eventually,
    home::{ingress, service},
};

use super::{lab, lab_command};
use crate::Doorward;

/// While it lives there is no API server; its end brings it back, for the tests that come after too where one panics.
pub(crate) struct Away;

impl Away {
    pub(crate) fn begin() -> Self {
        lab(&["stop-api"]);
        Self
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let started = lab_command(&["start-api"]).status().is_ok_and(|status| status.success());
        assert!(started || thread::panicking(), "lab start-api has failed");
    }
}

#[test]
fn everything_keeps_answering_while_it_is_away_and_changes_are_seen_when_it_is_back() {
    let doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&format!("{}{}", service("web", &[web]), ingress("app", "app.home.example", "web")));
    let served = || (doorward.addresses("app.home.example"), doorward.backend("http://app.home.example/"));
    let wanted = (doorward.lan(), "web".to_owned());
    eventually("the first answer", || if served() == wanted { Ok(()) } else { Err(served()) });

    let (asked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let end = SetAtTheEnd(&done);
        let client = scope.spawn(|| {
            while !done.load(Relaxed) {
                assert_eq!(served(), wanted);
                asked.fetch_add(1, Relaxed);
            }
        });
        let away = Away::begin();
        for program in ["gateway", "router"] {
            eventually("the loss is noticed", || match doorward.home.admin(program, "/metrics") {
                metrics if metrics.contains("doorward_watch_connected{kind=\"Ingress\"} 0") => Ok(()),
                other => Err(other),
            });
            assert_eq!(doorward.home.admin(program, "/readyz"), "ok\n");
        }
        let before = asked.load(Relaxed);
        eventually(
            "a hundred answers without it",
            || if asked.load(Relaxed) > before + 100 { Ok(()) } else { Err(()) },
        );
        drop(away);
        let back = Instant::now();
        doorward.cluster.apply(&ingress("new", "new.home.example", "web"));
        eventually("what is new", || match doorward.backend("http://new.home.example/").as_str() {
            "web" => Ok(()),
            other => Err(other.to_owned()),
        });
        println!("FIGURE API server back until a new Ingress is served: {} ms", back.elapsed().as_millis());
        drop(end);
        client.join().expect("every answer was right");
    });
    println!(
        "FIGURE DNS and HTTP answers while the API server was killed and started: {}, all right",
        asked.load(Relaxed)
    );
}

#[test]
fn who_starts_while_it_is_away_waits_for_it() {
    let mut doorward = Doorward::start("");
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&format!("{}{}", service("web", &[web]), ingress("app", "app.home.example", "web")));
    let away = Away::begin();
    for program in [&mut doorward.gateway, &mut doorward.router] {
        program.terminate();
        assert!(program.wait().success());
    }
    doorward.gateway = doorward.home.launch_on_cluster("gateway");
    doorward.router = doorward.home.launch_on_cluster("router");
    for program in ["gateway", "router"] {
        eventually("a word that it waits", || match doorward.home.admin(program, "/readyz") {
            said if !said.is_empty() && said != "ok\n" => Ok(()),
            other => Err(other),
        });
    }
    assert_eq!(doorward.backend("http://app.home.example/"), "000", "a router that is not ready has no open sockets");
    drop(away);
    eventually("both", || {
        match (doorward.addresses("app.home.example"), doorward.backend("http://app.home.example/")) {
            (address, backend) if address == doorward.lan() && backend == "web" => Ok(()),
            other => Err(other),
        }
    });
}
