//! Connections for bytes that no client library would send.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::{Home, PATIENCE, home::HTTP};

/// To the plain HTTP door that ends in `last`.
///
/// # Panics
/// When it is not open.
pub fn raw(home: &Home, last: u8) -> TcpStream {
    let stream = TcpStream::connect(home.socket(last, HTTP)).expect("open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// From an address of the caller's choice, which the standard library has not.
///
/// # Panics
/// When `to` is not open.
pub fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&from.into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Everything until the other side closes.
///
/// # Panics
/// When it does not.
pub fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Of the answer to a GET of `/`, asked over a connection of its own; None where nobody answers.
pub fn status(to: SocketAddr, host: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}
