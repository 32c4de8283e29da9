//! What changes while requests run: endpoints, manifests, listeners.

use tests::{
    Home, eventually,
    home::{app, classes, ingress, service, slices},
};

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
    // Problems are told before routes are changed.
    eventually("the route without a backend", || match home.status(21, "http://lost.home.example/").as_str() {
        "500" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(home.status(21, "http://app.home.example/"), "200");
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
