//! A gateway that keeps its last known state is started while there is no API server.

use std::time::Instant;

use tests::{
    eventually,
    home::{ingress, service},
};

use super::api_server::Away;
use crate::Doorward;

#[test]
fn a_gateway_restarted_without_the_api_server_serves_the_last_known_names() {
    let directory = tempfile::tempdir().expect("a place for temporary files");
    let state = directory.path().join("state");
    let mut doorward = Doorward::start(&format!("stateDirectory: {}", state.display()));
    let web = doorward.cluster.backend("web");
    doorward.cluster.apply(&format!("{}{}", service("web", &[web]), ingress("app", "app.home.example", "web")));
    let lan = doorward.lan();
    let answered = |doorward: &Doorward, name: &str, wanted: &str| {
        eventually(name, || match doorward.addresses(name) {
            found if found == wanted => Ok(()),
            other => Err((other, doorward.gateway.log())),
        });
    };
    answered(&doorward, "app.home.example", &lan);

    let away = Away::begin();
    doorward.gateway.terminate();
    assert!(doorward.gateway.wait().success());
    let started = Instant::now();
    doorward.gateway = doorward.home.launch_on_cluster("gateway");
    answered(&doorward, "app.home.example", &lan);
    println!("FIGURE gateway started without an API server until it answers: {} ms", started.elapsed().as_millis());
    assert_eq!(doorward.addresses("nothing.home.example"), "NXDOMAIN");
    assert_eq!(doorward.home.admin_status("gateway", "/readyz"), "200");
    let metrics = doorward.home.admin("gateway", "/metrics");
    assert!(metrics.contains("\ndoorward_snapshot_restored 1\n"), "{metrics}");

    drop(away);
    doorward.cluster.delete(&ingress("app", "app.home.example", "web"));
    doorward.cluster.apply(&ingress("new", "new.home.example", "web"));
    answered(&doorward, "new.home.example", &lan);
    answered(&doorward, "app.home.example", "NXDOMAIN");
    assert_eq!(doorward.home.admin("gateway", "/readyz"), "ok\n");
}
