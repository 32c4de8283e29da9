//! `router` by the book of HTTP/2, which is h2spec: `tests/run h2spec` builds it, as it is written in Go.

use std::process::Command;

use tests::{
    Home,
    backend::Backends,
    certificate,
    home::{HTTP, HTTPS, classes, ingress, service},
    output, tls_secret,
};

/// What it says of a door: all of its report, which ends with a count.
fn h2spec(home: &Home, port: u16, flags: &[&str]) -> String {
    let program = std::env::var("H2SPEC").expect("H2SPEC is the program; tests/run h2spec sets it");
    let mut command = Command::new(program);
    command.args(["--strict", "--timeout", "10", "--host", &home.address(21).to_string(), "--port", &port.to_string()]);
    output(command.args(flags))
}

#[test]
fn every_case_passes() {
    let (home, backends) = (Home::new(), Backends::new());
    home.configure("defaultCertificate: default/home-tls");
    let web = service("web", &[backends.start(&home, "web")]);
    // It asks for the address, which any host serves.
    let any = ingress("any", "", "web").replace("host: \"\"\n    ", "");
    let secret = tls_secret("default", "home-tls", &certificate(&["home.example"]));
    home.apply("app.yaml", &[classes(), web, any, secret].concat());
    let mut router = home.start("router");

    let tls = h2spec(&home, HTTPS, &["--tls", "--insecure"]);
    println!("FIGURE h2spec over TLS: {}", tls.trim_end().lines().last().unwrap_or_default());
    assert!(tls.contains("146 tests, 146 passed, 0 skipped, 0 failed"), "{tls}");

    // In the clear the port speaks HTTP/1 too, and answers in it what does not begin as HTTP/2 does; h2spec, which
    // sends `INVALID CONNECTION PREFACE`, would have the connection end without an answer.
    let clear = h2spec(&home, HTTP, &[]);
    println!("FIGURE h2spec in the clear: {}", clear.trim_end().lines().last().unwrap_or_default());
    assert!(clear.contains("146 tests, 145 passed, 0 skipped, 1 failed"), "{clear}");
    let failed: Vec<&str> = clear.lines().filter_map(|line| line.trim().strip_prefix('×')).map(str::trim).collect();
    assert!(!failed.is_empty() && failed.iter().all(|case| *case == "2: Sends invalid connection preface"), "{clear}");
    assert!(router.is_running() && !router.log().contains("panick"), "{}", router.log());
}
