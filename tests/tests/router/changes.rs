//! What changes while requests run: endpoints, manifests, listeners, and the end.

use std::process::Stdio;

use futures::{SinkExt, StreamExt};
use tests::{
    Home, eventually,
    home::{app, classes, ingress, service, slices},
};

use tokio_tungstenite::tungstenite::Message;

use crate::{Backends, field};

#[test]
fn an_endpoint_change_is_followed_without_a_swap_of_routes() {
    let home = Home::new();
    let backends = Backends::new();
    let [old, new] = ["old", "new"].map(|name| backends.start(&home, name));
    home.apply("app.yaml", &format!("{}{}", classes(), ingress("app", "app.home.example", "web")));
    home.apply("service.yaml", &service("web", &[]).replace("---\n", ""));
    home.apply("slices.yaml", &slices("web", &[old]));
    let router = home.start("router");
    assert_eq!(field(&home.curl(21, &["http://app.home.example/"]), "/backend"), "old");
    let swaps = router.log().matches("routes changed").count();
    assert!(swaps > 0);
    home.apply("slices.yaml", &slices("web", &[new]));
    let (_, took) =
        eventually("the new endpoint", || match field(&home.curl(21, &["http://app.home.example/"]), "/backend") {
            backend if backend == "new" => Ok(()),
            other => Err(other),
        });
    println!("the new endpoint was used after {} ms, with curl's own start", took.as_millis());
    assert_eq!(router.log().matches("routes changed").count(), swaps, "{}", router.log());
    home.apply("slices.yaml", "");
    eventually("no endpoint", || match home.status(21, "http://app.home.example/").as_str() {
        "503" => Ok(()),
        other => Err(other.to_owned()),
    });
}

#[test]
fn wrong_manifests_are_problems_and_everything_else_goes_on() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    home.apply(
        "broken.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: broken}\nspec: {rules: 5}",
    );
    home.apply("lost.yaml", &ingress("lost", "lost.home.example", "gone"));
    home.apply("stolen.yaml", &ingress("stolen", "app.home.example", "gone"));
    let (problems, _) = eventually("the problems", || match home.admin("router", "/problems") {
        problems
            if problems.contains("broken.yaml")
                && problems.contains("Ingress default/lost: references Service default/gone") =>
        {
            Ok(problems)
        }
        other => Err(other),
    });
    assert!(
        problems.contains("Ingress default/stolen: claims / of host app.home.example, which Ingress default/app has"),
        "{problems}"
    );
    assert!(
        problems.contains("Ingress default/broken: cannot be read: ") && problems.contains("broken.yaml: spec.rules: "),
        "{problems}"
    );
    assert_eq!(home.status(21, "http://app.home.example/"), "200");
    assert_eq!(home.status(21, "http://lost.home.example/"), "500");
}

#[test]
fn a_gateway_opens_and_closes_its_own_socket_alone() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.apply("app.yaml", &app(&[web]));
    let _router = home.start("router");
    assert_eq!(home.status(24, "http://late.example/"), "000");
    home.apply(
        "route.yaml",
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: late}
spec: {parentRefs: [{name: home}], rules: [{backendRefs: [{name: web, port: 80}]}]}
",
    );
    home.apply("gateway.yaml", &home.gateway());
    let becomes = |status: &str| {
        eventually("the Gateway's socket", || match home.status(24, "http://late.example:8080/").as_str() {
            found if found == status => Ok(()),
            other => Err(other.to_owned()),
        })
    };
    becomes("200");
    home.delete("gateway.yaml");
    becomes("000");
    assert_eq!(home.status(21, "http://app.home.example/"), "200");
}

#[test]
fn sigterm_lets_the_running_request_finish_and_ends_with_success() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.apply("app.yaml", &app(&[web]));
    let mut router = home.start("router");
    let slow = std::process::Command::new("curl")
        .args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "http://app.home.example/slow/4000"])
        .args(home.connect_to(21))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    eventually("the running request", || {
        let metrics = home.admin("router", "/metrics");
        if metrics.contains(&format!("doorward_connections_open{{address=\"{}\"}} 1", home.socket(21, 8080))) {
            Ok(())
        } else {
            Err(metrics)
        }
    });
    router.terminate();
    eventually("closed doors", || match home.status(21, "http://app.home.example/").as_str() {
        "000" => Ok(()),
        other => Err(other.to_owned()),
    });
    let answer = slow.wait_with_output().expect("curl ends");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "200", "{}", router.log());
    assert!(router.wait().success(), "{}", router.log());
    assert!(router.log().contains("left"), "{}", router.log());
}

#[test]
fn a_websocket_stays_until_the_drain_timeout_and_its_end_is_logged() {
    let home = Home::new();
    let backends = Backends::new();
    let web = backends.start(&home, "web");
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("timeout: 10", "timeout: 5"));
    home.apply("app.yaml", &app(&[web]));
    let mut router = home.start("router");
    backends.0.block_on(async {
        let stream = tokio::net::TcpStream::connect(home.socket(21, tests::home::HTTP)).await.expect("open");
        let (mut socket, _) = tokio_tungstenite::client_async("ws://app.home.example/ws", stream).await.expect("a 101");
        router.terminate();
        eventually("closed doors", || match home.status(21, "http://app.home.example/").as_str() {
            "000" => Ok(()),
            other => Err(other.to_owned()),
        });
        socket.send(Message::text("still here")).await.expect("sent");
        assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("still here"));
        assert!(!matches!(socket.next().await, Some(Ok(_))), "the timeout ends it");
    });
    assert!(router.wait().success(), "{}", router.log());
    let log = router.log();
    let line = log.lines().find(|line| line.contains("\"/ws\"")).unwrap_or_default();
    assert!(line.contains("\"status\":101"), "{log}");
}
