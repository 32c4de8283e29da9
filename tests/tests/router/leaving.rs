//! How the router leaves: what it still serves, what it closes when, and what ends it.

use std::{convert::Infallible, io::Write, process::Stdio};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, channel::mpsc};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{Request, Version, body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::{
    Home, PATIENCE, Program, certificate, eventually,
    home::{HTTP, HTTPS, app},
    tls, tls_secret,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{Backends, raw, read_all};

/// A home whose `app.home.example` is served by one backend.
fn home(backends: &Backends, delay: u32) -> Home {
    let home = Home::new();
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("delay: 0", &format!("delay: {delay}")));
    let web = backends.start(&home, "web");
    home.apply("app.yaml", &app(&[web]));
    home
}

/// Waits until no connection is accepted any more.
fn doors_close(home: &Home) {
    eventually("closed doors", || match home.status(21, "http://app.home.example/").as_str() {
        "000" => Ok(()),
        other => Err(other.to_owned()),
    });
}

async fn web_socket(home: &Home) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
    tokio_tungstenite::client_async("ws://app.home.example/ws", stream).await.expect("a 101").0
}

async fn echo(socket: &mut WebSocketStream<TcpStream>) {
    socket.send(Message::text("still here")).await.expect("sent");
    assert_eq!(socket.next().await.expect("open").expect("a message"), Message::text("still here"));
}

fn becomes_unready(home: &Home) {
    eventually("the end of readiness", || match home.admin_status("router", "/readyz").as_str() {
        "503" => Ok(()),
        other => Err(other.to_owned()),
    });
}

fn ended_well(router: &mut Program) {
    assert!(router.wait().success(), "{}", router.log());
    assert!(router.log().contains("left"), "{}", router.log());
}

#[test]
fn a_request_that_comes_during_the_drain_delay_is_served_and_is_the_last_of_its_connection() {
    let backends = Backends::new();
    let home = home(&backends, 3600);
    let mut router = home.start("router");
    let mut open = raw(&home, 21);
    open.write_all(b"GET /first HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
    eventually("its answer", || if router.log().contains("\"/first\"") { Ok(()) } else { Err(router.log()) });
    router.terminate();
    becomes_unready(&home);
    for answered in ["/get", "/slow/1"] {
        let answer = home.curl(21, &["-i", &format!("http://app.home.example{answered}")]);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    let refused = home.curl(21, &["-i", "http://nothing.home.example/"]).to_lowercase();
    assert!(refused.starts_with("http/1.1 404") && refused.contains("connection: close"), "{refused}");
    let over_h2 = home.curl(21, &["--http2-prior-knowledge", "-w", "%{http_code}", "http://app.home.example/"]);
    assert!(over_h2.ends_with("200"), "{over_h2}");
    // One that was open before, too.
    open.write_all(b"GET /second HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
    let answers = read_all(&mut open).to_lowercase();
    assert_eq!(answers.matches("http/1.1 200").count(), 2, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
    // Who presses Ctrl-C does not want to wait.
    router.signal("INT");
    ended_well(&mut router);
}

#[test]
fn connections_that_wait_for_a_request_end_before_those_that_are_used() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    let mut router = home.start("router");
    backends.0.block_on(async {
        let mut used = web_socket(&home).await;
        let mut idle = raw(&home, 21);
        let mut silent = raw(&home, 21);
        idle.write_all(b"GET / HTTP/1.1\r\nHost: app.home.example\r\n\r\n").expect("sent");
        router.terminate();
        let answer = read_all(&mut idle);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(read_all(&mut silent), "");
        echo(&mut used).await;
        used.close(None).await.expect("closed");
    });
    ended_well(&mut router);
}

#[test]
fn http_2_is_told_to_go_away_and_its_streams_are_finished() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    let mut router = home.start("router");
    backends.0.block_on(async {
        let stream = TcpStream::connect(home.socket(21, HTTP)).await.expect("open");
        let opening = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = opening.await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let (mut upload, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let request = Request::post("http://app.home.example/stream").body(StreamBody::new(body)).expect("a request");
        let mut download = sender.send_request(request).await.expect("an answer").into_body();
        router.terminate();
        doors_close(&home);
        loop {
            let (_, body) = mpsc::channel(0);
            let request = Request::get("http://app.home.example/").body(StreamBody::new(body)).expect("a request");
            if sender.ready().await.is_err() || sender.send_request(request).await.is_err() {
                break;
            }
        }
        upload.send(Ok(Frame::data("x".into()))).await.expect("the stream is open");
        drop(upload);
        let mut downloaded = Vec::new();
        while let Some(frame) = download.frame().await {
            downloaded.extend(frame.expect("no error").into_data().expect("no trailers"));
        }
        assert_eq!(String::from_utf8_lossy(&downloaded), "chunk 0\nchunk 1\n");
        connection.await.expect("no panic").expect("no error");
    });
    ended_well(&mut router);
}

#[test]
fn http_2_that_begins_while_the_router_leaves_is_told_to_go_away() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    let config = home.read("doorward.yaml").replace("timeout: 10", "timeout: 3600");
    home.write("doorward.yaml", &format!("{config}defaultCertificate: default/home-tls\n"));
    home.apply("secret.yaml", &tls_secret("default", "home-tls", &certificate(&["*.home.example"])));
    let mut router = home.start("router");
    backends.0.block_on(async {
        let stream = TcpStream::connect(home.socket(21, HTTPS)).await.expect("open");
        router.terminate();
        doors_close(&home);
        let client = tls::Client::new(Version::HTTP_2, None);
        let stream = client.handshake_on(stream, Some("app.home.example")).await.expect("a handshake");
        let opening = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = opening.await.expect("HTTP/2");
        // It ends by what it is told: nobody lets go of it here, and the router has an hour.
        timeout(PATIENCE, connection).await.expect("an end").expect("no error");
        drop(sender);
    });
    ended_well(&mut router);
}

#[test]
fn a_second_sigterm_changes_nothing_and_an_interrupt_ends_it_all() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("timeout: 10", "timeout: 3600"));
    let mut router = home.start("router");
    backends.0.block_on(async {
        let mut socket = web_socket(&home).await;
        router.terminate();
        doors_close(&home);
        router.terminate();
        echo(&mut socket).await;
        router.signal("INT");
        assert!(!matches!(socket.next().await, Some(Ok(_))), "it has ended");
    });
    ended_well(&mut router);
}

#[test]
fn sigterm_lets_the_running_request_finish_and_ends_with_success() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    let mut router = home.start("router");
    let slow = std::process::Command::new("curl")
        .args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", "http://app.home.example/slow/4000"])
        .args(home.connect_to(21))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let open = format!("doorward_connections_open{{address=\"{}\"}} 1", home.socket(21, HTTP));
    eventually("the running request", || match home.admin("router", "/metrics") {
        metrics if metrics.contains(&open) => Ok(()),
        other => Err(other),
    });
    router.terminate();
    doors_close(&home);
    let answer = slow.wait_with_output().expect("curl ends");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "200", "{}", router.log());
    ended_well(&mut router);
}

#[test]
fn a_websocket_stays_until_the_drain_timeout_and_its_end_is_logged() {
    let backends = Backends::new();
    let home = home(&backends, 0);
    home.write("doorward.yaml", &home.read("doorward.yaml").replace("timeout: 10", "timeout: 5"));
    let mut router = home.start("router");
    backends.0.block_on(async {
        let mut socket = web_socket(&home).await;
        router.terminate();
        doors_close(&home);
        echo(&mut socket).await;
        assert!(!matches!(socket.next().await, Some(Ok(_))), "the timeout ends it");
    });
    ended_well(&mut router);
    let log = router.log();
    let line = log.lines().find(|line| line.contains("\"/ws\"")).unwrap_or_default();
    assert!(line.contains("\"status\":101"), "{log}");
}
