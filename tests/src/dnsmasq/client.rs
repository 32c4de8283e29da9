//! A stub resolver: one socket, one server, questions as text, answers as text.

use std::{
    fmt,
    io::Write,
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};

use crate::{
    PATIENCE,
    dns::{framed, read_framed},
};

/// How a client asks.
#[derive(Clone, Copy)]
pub struct Client {
    /// How often it sends its packet, and how long it waits for an answer to each.
    pub tries: usize,
    pub wait: Duration,
    /// The UDP payload that it announces by EDNS.
    pub payload: Option<u16>,
    /// Whether it asks for DNSSEC's records, and for the bit that says they were checked.
    pub dnssec: bool,
}

/// Sends one packet: what it lost would show.
pub const PATIENT: Client = Client { tries: 1, wait: Duration::from_secs(20), payload: None, dnssec: false };
/// Sends its packet again, as every resolver library does.
pub const RETRYING: Client = Client { tries: 40, wait: Duration::from_millis(500), ..PATIENT };
/// For servers from which no answer is expected.
pub const BRIEF: Client = Client { wait: Duration::from_millis(200), ..PATIENT };

/// As text: `NOERROR 192.168.8.21`, `NXDOMAIN`, `no answer`; several records in the order of their text.
#[derive(Clone)]
pub struct Answer {
    text: String,
    /// Of the first record.
    pub ttl: Option<u32>,
    /// How many packets the client had to send for it.
    pub tries: usize,
    /// Whether the answer had to be fetched by TCP.
    pub by_tcp: bool,
    /// AD: the server has validated it.
    pub authentic: bool,
}

impl Client {
    /// `question` is a name and a type. An answer that is cut short is asked for by TCP.
    ///
    /// # Panics
    /// When the question is none, or the answer is not one to it.
    pub fn ask(&self, server: SocketAddr, question: &str) -> Answer {
        let socket = self.socket(server);
        let query = self.query(question);
        for tries in 1..=self.tries {
            // Where nobody listens, the kernel says so.
            if socket.send(&query).is_err() {
                continue;
            }
            if let Some(message) = self.receive(&socket, &query) {
                return match message.metadata.truncation {
                    true => Answer { by_tcp: true, tries, ..self.ask_tcp(server, question) },
                    false => Answer { tries, ..Answer::from(&message) },
                };
            }
        }
        Answer::none()
    }

    /// By TCP from the start.
    ///
    /// # Panics
    /// When the server breaks off.
    pub fn ask_tcp(&self, server: SocketAddr, question: &str) -> Answer {
        let query = self.query(question);
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE).expect("the server takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(&framed(&query)).expect("the server reads");
        let answer = read_framed(&mut stream).expect("the server answers");
        Answer::from(&Message::from_vec(&answer).expect("an answer is a message"))
    }

    /// All of them at once from one socket, as musl's resolver does; the answers in the order of the questions.
    ///
    /// # Panics
    /// As [`Client::ask`].
    pub fn ask_together<const N: usize>(&self, server: SocketAddr, questions: [&str; N]) -> [Answer; N] {
        let socket = self.socket(server);
        let queries = questions.map(|question| self.query(question));
        for query in &queries {
            socket.send(query).expect("the server listens");
        }
        let mut answers = queries.each_ref().map(|_| Answer::none());
        let started = Instant::now();
        let mut missing = N;
        let mut buffer = [0; 4096];
        while missing > 0 && started.elapsed() < self.wait {
            let Ok(length) = socket.recv(&mut buffer) else { break };
            if let Some(index) = queries.iter().position(|query| query[..2] == buffer[..2]) {
                answers[index] = Answer::from(&Message::from_vec(&buffer[..length]).expect("an answer is a message"));
                missing -= 1;
            }
        }
        answers
    }

    fn socket(&self, server: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(server).expect("a loopback address");
        socket.set_read_timeout(Some(self.wait)).expect("a timeout");
        socket
    }

    fn query(&self, question: &str) -> Vec<u8> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let (name, kind) = question.split_once(' ').expect("a name and a type");
        let name = Name::from_ascii(name).expect("a name").append_domain(&Name::root()).expect("not too long");
        let kind: RecordType = kind.parse().expect("a type");
        let mut message = Message::query();
        message.metadata.id = NEXT.fetch_add(1, Relaxed);
        message.metadata.op_code = OpCode::Query;
        message.metadata.recursion_desired = true;
        message.metadata.authentic_data = self.dnssec;
        message.add_query(Query::query(name, kind));
        if self.payload.is_some() || self.dnssec {
            let mut edns = Edns::new();
            edns.set_max_payload(self.payload.unwrap_or(1232)).set_dnssec_ok(self.dnssec);
            message.set_edns(edns);
        }
        message.to_vec().expect("a question can be encoded")
    }

    /// None when there is no answer in time. What belongs to an earlier packet is not one.
    fn receive(&self, socket: &UdpSocket, query: &[u8]) -> Option<Message> {
        let started = Instant::now();
        let mut buffer = [0; 4096];
        while started.elapsed() < self.wait {
            let length = socket.recv(&mut buffer).ok()?;
            if buffer[..2] == query[..2] {
                return Some(Message::from_vec(&buffer[..length]).expect("an answer is a message"));
            }
        }
        None
    }
}

impl Answer {
    fn none() -> Self {
        Self { text: "no answer".to_owned(), ttl: None, tries: 0, by_tcp: false, authentic: false }
    }

    fn from(message: &Message) -> Self {
        let code = match message.metadata.response_code {
            ResponseCode::NoError => "NOERROR".to_owned(),
            ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
            ResponseCode::Refused => "REFUSED".to_owned(),
            ResponseCode::ServFail => "SERVFAIL".to_owned(),
            other => format!("{other:?}"),
        };
        let records = message.answers.iter().filter(|record| record.record_type() != RecordType::RRSIG);
        let mut data: Vec<String> = records.map(|record| record.data.to_string()).collect();
        data.sort();
        data.insert(0, code);
        Self {
            text: data.join(" "),
            ttl: message.answers.first().map(|record| record.ttl),
            tries: 1,
            by_tcp: false,
            authentic: message.metadata.authentic_data,
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl<T: AsRef<str> + ?Sized> PartialEq<T> for Answer {
    fn eq(&self, other: &T) -> bool {
        self.text == other.as_ref()
    }
}
