//! DNS as clients of every kind speak it: in bytes, over UDP and TCP.

use std::{
    io::{self, Read},
    net::{SocketAddr, UdpSocket},
};

use hickory_proto::op::Message;

use crate::PATIENCE;

/// Types of records, as numbers.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const TXT: u16 = 16;

/// A sequence that only looks random, so that what one run has found is found again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `SplitMix64`.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 32).unwrap_or_default() % end.max(1)
    }

    pub fn byte(&mut self) -> u8 {
        self.number().to_be_bytes()[0]
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// # Panics
    /// When there is nothing to choose from.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A query of class IN without EDNS.
///
/// # Panics
/// For what is no name.
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("labels are short"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// The same with an OPT record that announces `size`, and has `options` (RFC 6891 section 6.1.2).
///
/// # Panics
/// For more options than a record holds.
pub fn with_edns(mut query: Vec<u8>, size: u16, options: &[u8]) -> Vec<u8> {
    query[11] += 1;
    query.extend([0, 0, 41]);
    query.extend(size.to_be_bytes());
    query.extend([0; 4]);
    query.extend(u16::try_from(options.len()).expect("few options").to_be_bytes());
    query.extend(options);
    query
}

/// One option.
///
/// # Panics
/// For more data than an option holds.
pub fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &u16::try_from(data.len()).expect("little data").to_be_bytes(), data].concat()
}

/// As TCP has it, with its length before it.
///
/// # Panics
/// For more than a message has.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).expect("messages are short").to_be_bytes(), message].concat()
}

/// # Errors
/// When the stream ends before the message does, or between two.
pub fn read_framed(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// `NOERROR aa 192.168.8.21`: the code, the flags `aa` and `tc`, and the data of the answers.
pub fn said(answer: &[u8]) -> String {
    let message = match Message::from_vec(answer) {
        Ok(message) => message,
        Err(error) => return format!("{error}: {answer:02x?}"),
    };
    let flag = |is_set: bool, name: &str| if is_set { format!(" {name}") } else { String::new() };
    let data: String = message.answers.iter().map(|record| format!(" {}", record.data)).collect();
    format!(
        "{:?}{}{}{data}",
        message.metadata.response_code,
        flag(message.metadata.authoritative, "aa"),
        flag(message.metadata.truncation, "tc")
    )
}

/// Asks one server over UDP.
pub struct Asker {
    socket: UdpSocket,
    id: u16,
}

impl Asker {
    /// A connected socket takes answers only from the address that it asks.
    ///
    /// # Panics
    /// When there is no port, here or there.
    pub fn new(from: SocketAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(from).expect("a free port");
        socket.connect(server).expect("an address");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, id: 0 }
    }

    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// What is [`said`] by the one answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn ask(&mut self, name: &str, kind: u16) -> String {
        self.id = self.id.wrapping_add(1);
        said(&self.exchange(&query(self.id, name, kind)))
    }

    /// # Panics
    /// When there is no answer, or another one's.
    pub fn exchange(&self, query: &[u8]) -> Vec<u8> {
        self.socket.send(query).expect("sent");
        let mut buffer = vec![0; 1 << 16];
        let length = self.socket.recv(&mut buffer).expect("an answer");
        buffer.truncate(length);
        assert_eq!(buffer.get(..2), query.get(..2), "the query's id");
        buffer
    }
}
