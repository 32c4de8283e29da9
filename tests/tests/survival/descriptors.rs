//! No file descriptor left.

use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use tests::{
    dns::{A, framed, query, read_framed, said},
    eventually,
    home::{DNS, ingress},
};

use crate::{APP, Survivor, connect, home};

/// What the program itself needs on a small machine, and some more for each core's sockets.
const FILES: usize = 48;
/// More than that, and less than the gateway admits.
const CONNECTIONS: u8 = 200;
const DNS_WARNING: &str = "cannot accept DNS over TCP";
const ADMIN_WARNING: &str = "admin port: cannot accept";

#[test]
fn without_file_descriptors_udp_goes_on_quietly_and_the_rest_comes_back() {
    let home = home();
    let n_files = FILES + thread::available_parallelism().map_or(1, usize::from);
    let gateway = home.ready("gateway", home.launch_with_files("gateway", n_files));
    let mut survivor = Survivor { gateway, server: home.socket(22, DNS), home };
    let right = survivor.right();
    let mut asker = survivor.asker(20);
    assert_eq!(asker.ask(APP, A), right);

    let crowd: Vec<TcpStream> = (0..CONNECTIONS).map(|number| survivor.connect(30 + number / 2)).collect();
    let warnings = |of: &str| survivor.gateway.log().matches(of).count();
    eventually("the first warning", || if warnings(DNS_WARNING) > 0 { Ok(()) } else { Err(survivor.gateway.log()) });
    let admin = survivor.home.admin_address("gateway");
    let mut wait_for_pages: Vec<TcpStream> = Vec::new();
    eventually("the second warning", || {
        wait_for_pages.push(connect(survivor.home.socket(20, 0), admin));
        if warnings(ADMIN_WARNING) > 0 { Ok(()) } else { Err(survivor.gateway.log()) }
    });
    eventually("that all are taken", || match survivor.gateway.open_files() {
        all if all >= n_files => Ok(()),
        few => Err(few),
    });
    assert_eq!(asker.ask(APP, A), right);
    // A manifest cannot be read now.
    survivor.home.apply("late.yaml", &ingress("late", "late.home.example", "web"));

    // What it does in a second in which nobody asks anything.
    let (busy, _) = eventually("a second with little to do and nothing to say", || {
        let count = || ([DNS_WARNING, ADMIN_WARNING].map(warnings), survivor.gateway.processor_time());
        let ((said, worked), started) = (count(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let ((said_since, worked_since), passed) = (count(), started.elapsed());
        let busy = worked_since - worked;
        // Who spins takes all of a processor that it can get.
        if said_since == said && 2 * busy < passed { Ok(busy) } else { Err((busy, passed, survivor.gateway.log())) }
    });
    println!("FIGURE a second without file descriptors: {} ms of processor time", busy.as_millis());
    assert_eq!(asker.ask(APP, A), right);

    drop((crowd, wait_for_pages));
    eventually("an answer over TCP", || {
        let mut stream = survivor.connect(20);
        stream.write_all(&framed(&query(1, APP, A))).map_err(|error| error.to_string())?;
        match read_framed(&mut stream) {
            Ok(answer) if said(&answer) == right => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    eventually("the name of the manifest that could not be read", || match asker.ask("late.home.example", A) {
        told if told == right => Ok(()),
        other => Err(other),
    });
    assert!(survivor.gateway.log().lines().count() < 50, "{}", survivor.gateway.log());
    survivor.assert_unharmed();
}
