//! A backend that keeps what it is sent, byte by byte, and answers as it is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tests::{Home, PATIENCE};

/// Of a connection, what has come in so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) received: Vec<u8>,
    pub(crate) is_closed: bool,
}

#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Recorder {
    /// On a free port of the home's address `.10`. `answer` sees what has come since the last answer on a connection,
    /// each time that there is more.
    pub(crate) fn start(home: &Home, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind(home.socket(10, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let connections = Arc::new(Mutex::new(Vec::new()));
        let recorder = Self { address, connections };
        let also = recorder.clone();
        thread::spawn(move || {
            for (number, mut stream) in listener.incoming().flatten().enumerate() {
                also.connections().push(Connection::default());
                let (recorder, answer) = (also.clone(), answer.clone());
                thread::spawn(move || {
                    let (mut unanswered, mut buffer) = (Vec::new(), [0; 4096]);
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        let new = &buffer[..count];
                        recorder.connections()[number].received.extend_from_slice(new);
                        unanswered.extend_from_slice(new);
                        if let Some(answer) = answer(&unanswered) {
                            unanswered.clear();
                            // The router may have gone.
                            let _ = stream.write_all(&answer);
                        }
                    }
                    recorder.connections()[number].is_closed = true;
                });
            }
        });
        recorder
    }

    /// One that answers each head with 200 and nothing.
    pub(crate) fn answering(home: &Home) -> Self {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        Self::start(home, |seen| after_head(seen).map(|_| answer.to_vec()))
    }

    /// One that never does.
    pub(crate) fn hanging(home: &Home) -> Self {
        Self::start(home, |_| None)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seen(&self) -> Vec<Connection> {
        self.connections().clone()
    }

    /// Everything that came on all connections, one after the other.
    pub(crate) fn text(&self) -> String {
        let all: Vec<u8> = self.seen().into_iter().flat_map(|connection| connection.received).collect();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// How many requests came, by their lines.
    pub(crate) fn n_requests(&self) -> usize {
        self.text().matches(" HTTP/1.1\r\n").count()
    }
}

/// What follows the first head, where there is a whole one.
pub(crate) fn after_head(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    bytes.get(end + 4..)
}

/// Until a backend has been sent what is looked for.
pub(crate) fn until_seen(recorder: &Recorder, what: &str, is_it: impl Fn(&[Connection]) -> bool) {
    tests::within(PATIENCE, what, || {
        let seen = recorder.seen();
        if is_it(&seen) { Ok(()) } else { Err(recorder.text()) }
    });
}
