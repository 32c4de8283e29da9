//! More connections than there are file descriptors.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use tests::{
    Home,
    backend::Backends,
    eventually,
    home::{HTTP, app},
    raw::connect,
};

const FILES: usize = 256;
const CONNECTIONS: usize = 1000;

#[test]
fn without_file_descriptors_clients_wait_the_admin_port_answers_and_nothing_spins() {
    let (home, backends) = (Home::new(), Backends::new());
    home.apply("app.yaml", &app(&[backends.start(&home, "web")]));
    let mut router = home.ready("router", home.launch_with_files("router", FILES));
    let status = || home.status(21, "http://app.home.example/");
    assert_eq!(status(), "200");

    let open = |number: usize| {
        let last = u8::try_from(30 + number % 200).expect("small");
        connect(home.socket(last, 0), home.socket(21, HTTP))
    };
    let crowd: Vec<TcpStream> = (0..CONNECTIONS).map(open).collect();
    let n_open = || {
        let metrics = home.admin("router", "/metrics");
        let name = format!("doorward_connections_open{{address=\"{}\"}} ", home.socket(21, HTTP));
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
        value.and_then(|text| text.parse::<usize>().ok()).ok_or(metrics)
    };
    let (n_taken, _) = eventually("all places taken", || match n_open()? {
        many @ 90.. => Ok(many),
        few => Err(few.to_string()),
    });
    assert!(router.open_files() < FILES, "{}", router.open_files());
    println!(
        "FIGURE {n_taken} of {CONNECTIONS} connections taken with {FILES} descriptors, {} in use",
        router.open_files()
    );

    let (busy, _) = eventually("a second with little to do", || {
        let (worked, started) = (router.processor_time(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let (busy, passed) = (router.processor_time() - worked, started.elapsed());
        // Who spins takes all of a processor that it can get.
        if 2 * busy < passed { Ok(busy) } else { Err((busy, passed)) }
    });
    println!("FIGURE a second without places: {} ms of processor time", busy.as_millis());
    assert_eq!(home.admin("router", "/readyz"), "ok\n");

    drop(crowd);
    eventually("an answer", || match status() {
        answered if answered == "200" => Ok(()),
        other => Err(other),
    });
    assert!(router.is_running() && !router.log().contains("panick"), "{}", router.log());
}
