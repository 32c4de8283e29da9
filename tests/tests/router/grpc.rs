//! gRPC: HTTP/2 on both sides, and trailers.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{SinkExt, channel::mpsc};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, Response, body::Frame, body::Incoming};
use tests::Home;

use crate::{Backends, home_of, http2};

type Messages = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// Calls `method`; messages are sent as they are given.
async fn call(home: &Home, method: &str) -> (Messages, Response<Incoming>) {
    let (messages, body) = mpsc::channel(1);
    let request = Request::post(format!("http://app.home.example{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(body))
        .expect("a request");
    let answer = http2(home).await.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    (messages, answer)
}

async fn next(answer: &mut Response<Incoming>) -> Frame<Bytes> {
    answer.body_mut().frame().await.expect("a frame").expect("no error")
}

#[test]
fn messages_go_both_ways_one_after_the_other_and_trailers_come_last() {
    let backends = Backends::new();
    let home = home_of("kubernetes.io/h2c", |home| backends.start(home, "web"));
    let _router = home.start("router");
    backends.0.block_on(async {
        let (mut messages, mut answer) = call(&home, "/echo.Echo/Talk").await;
        for message in ["\0\0\0\0\x03one", "\0\0\0\0\x03two"] {
            messages.send(Ok(Frame::data(message.into()))).await.expect("the call is open");
            assert_eq!(next(&mut answer).await.into_data().expect("a message"), message);
        }
        drop(messages);
        let trailers = next(&mut answer).await.into_trailers().expect("trailers");
        assert_eq!(trailers.get("grpc-status").expect("a status"), "0");
        assert!(answer.body_mut().frame().await.is_none());
    });
}

#[test]
fn an_error_that_is_nothing_but_trailers_stays_that() {
    let backends = Backends::new();
    let home = home_of("kubernetes.io/h2c", |home| backends.start(home, "web"));
    let _router = home.start("router");
    backends.0.block_on(async {
        let (messages, mut answer) = call(&home, "/unimplemented").await;
        assert_eq!(answer.headers().get("grpc-status").expect("a status"), "12");
        drop(messages);
        assert!(answer.body_mut().frame().await.is_none(), "a body");
    });
}
