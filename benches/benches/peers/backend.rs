//! What the proxies lead to: answers that are ready before they are asked for.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Of a response's body, which has the route's mark in every byte.
pub(crate) const BODY_LENGTH: usize = 1024;

pub(crate) fn mark(route: usize) -> u8 {
    b'a' + route as u8
}

/// One for each route, on the task that calls, for as long as its runtime lives.
///
/// # Errors
/// When there is no free port.
pub(crate) async fn serve(n_routes: usize) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for route in 0..n_routes {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(async move {
            let response: &[u8] = response(route).leak();
            while let Ok((stream, _)) = listener.accept().await {
                // Proxies come and go.
                tokio::spawn(async move { answer(stream, response).await.ok() });
            }
        });
    }
    Ok(addresses)
}

fn response(route: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: backend\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: text/plain\r\n\
         cache-control: no-cache\r\ncontent-length: {BODY_LENGTH}\r\n\r\n"
    );
    [head.as_bytes(), &[mark(route); BODY_LENGTH]].concat()
}

/// Requests have no bodies, so each ends with its head; that of a flood never does.
async fn answer(mut stream: TcpStream, response: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        if received.starts_with(b"POST ") {
            received.clear();
            while stream.read_buf(&mut received).await? > 0 {
                received.clear();
            }
            return Ok(());
        }
        while let Some(end) = head_end(&received) {
            received.drain(..end);
            stream.write_all(response).await?;
        }
    }
    Ok(())
}

/// Where the body begins.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}
