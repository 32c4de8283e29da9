//! How soon a change in the API is answered.

use std::time::Duration;

use tests::{
    ApiServer, Home,
    dns::{A, Asker},
    eventually,
    home::ingress,
};

use crate::apps;

const CHANGES: usize = 100;

#[test]
fn what_changes_in_the_api_is_answered_one_change_after_the_other() {
    let home = Home::new();
    home.configure("");
    let api = ApiServer::start(home.socket(99, 6443));
    api.apply(&apps());
    let _gateway = home.launch_on_api_server("gateway", home.socket(99, 6443));
    let lan = home.address(21).to_string();
    eventually("the first list", || match crate::ask(&home, &["grafana.home.example"]) {
        answer if answer.contains(&lan) => Ok(()),
        other => Err(other),
    });
    let mut asker = Asker::new(home.socket(98, 0), home.socket(22, tests::home::DNS));
    let mut took: Vec<Duration> = (0..CHANGES)
        .map(|number| {
            let (name, host) = (format!("new-{number}"), format!("new-{number}.home.example"));
            assert!(asker.ask(&host, A).starts_with("NXDomain"), "{host} is not there yet");
            api.apply(&ingress(&name, &host, "web"));
            let answered = || match asker.ask(&host, A) {
                answer if answer.contains(&lan) => Ok(()),
                other => Err(other),
            };
            eventually(&host, answered).1
        })
        .collect();
    took.sort_unstable();
    let (median, p99) = (took[CHANGES / 2].as_millis(), took[CHANGES * 99 / 100].as_millis());
    println!("FIGURE change in the API until it is answered: median {median} ms, p99 {p99} ms of {CHANGES}");
}
