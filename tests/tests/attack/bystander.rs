//! A client that wants nothing but its answers while others attack.

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tests::SetAtTheEnd;

use crate::Besieged;

/// The address it comes from.
const BYSTANDER: u8 = 200;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n";

/// Asks, one request after another on one connection, while `attack` runs.
///
/// # Panics
/// When any answer is another one than 200.
pub(crate) fn served_meanwhile<T>(besieged: &Besieged, what: &str, attack: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(true);
    let quiet = ask(besieged, &is_over, 20);
    is_over.store(false, Relaxed);
    let (done, busy) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(besieged, &is_over, 20));
        let end = SetAtTheEnd(&is_over);
        let done = attack();
        drop(end);
        (done, asking.join().expect("every answer was right"))
    });
    eprintln!(
        "FIGURE {what}: another client's median {:?} alone, {:?} meanwhile ({} answers)",
        median(quiet),
        median(busy.clone()),
        busy.len()
    );
    done
}

/// How long each answer took: `least` of them, and more until it is over.
fn ask(besieged: &Besieged, is_over: &AtomicBool, least: usize) -> Vec<Duration> {
    let mut stream = besieged.connect(BYSTANDER);
    let mut took = Vec::new();
    while took.len() < least || !is_over.load(Relaxed) {
        let started = Instant::now();
        stream.write_all(REQUEST).expect("sent");
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // The backend's answer is an object, and nothing comes after it.
        while !answer.ends_with(b"\n}\n") {
            let count = stream.read(&mut buffer).expect("an answer");
            assert!(count > 0, "the connection ends within {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        took.push(started.elapsed());
    }
    took
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
