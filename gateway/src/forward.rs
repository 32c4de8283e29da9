//! Questions for names that no zone holds, handed to the upstream as they are.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    metrics::Metrics,
    reference::{self, Transport},
    wire::Question,
};

/// Questions that are open at a time.
const MOST: usize = 256;
/// How long one try may take …
const TRY: Duration = Duration::from_secs(2);
/// … and how many there are.
const TRIES: usize = 2;

/// Who is asked.
pub(crate) struct Upstream {
    address: SocketAddr,
    slots: Arc<Semaphore>,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, slots: Arc::new(Semaphore::new(MOST)) }
    }

    /// To be held while the upstream is asked; None where too many ask already.
    pub(crate) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// The upstream's answer, or SERVFAIL where there is none.
    pub(crate) async fn ask(&self, query: &[u8], transport: Transport, metrics: &Metrics) -> Vec<u8> {
        for _ in 0..TRIES {
            let asked = async {
                match transport {
                    Transport::Udp => self.ask_udp(query).await,
                    Transport::Tcp => self.ask_tcp(query).await,
                }
            };
            if let Ok(Some(mut answer)) = timeout(TRY, asked).await {
                metrics.forwarded.fetch_add(1, Relaxed);
                answer.iter_mut().zip(query).take(2).for_each(|(byte, id)| *byte = *id);
                return answer;
            }
        }
        metrics.forward_failures.fetch_add(1, Relaxed);
        reference::server_failure(query)
    }

    /// From a port of its own each time: with the id, that is what makes an answer hard to forge (RFC 5452).
    async fn ask_udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        let any: SocketAddr = match self.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.ok()?;
        socket.connect(self.address).await.ok()?;
        let query = with_id(query, random_id());
        socket.send(&query).await.ok()?;
        let mut buffer = vec![0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await.ok()?;
            let answer = buffer.get(..length)?;
            if is_answer(answer, &query) {
                return Some(answer.to_vec());
            }
        }
    }

    async fn ask_tcp(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let query = with_id(query, random_id());
        let length = u16::try_from(query.len()).ok()?;
        stream.write_all(&[&length.to_be_bytes(), &*query].concat()).await.ok()?;
        let length = stream.read_u16().await.ok()?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.ok()?;
        is_answer(&answer, &query).then_some(answer)
    }
}

fn with_id(query: &[u8], id: [u8; 2]) -> Vec<u8> {
    id.iter().chain(query.iter().skip(2)).copied().collect()
}

/// Each hasher of the standard library has keys of its own, from the system's randomness.
fn random_id() -> [u8; 2] {
    use std::hash::{BuildHasher, RandomState};
    let [first, second, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    [first, second]
}

/// A response with the query's id and question.
fn is_answer(answer: &[u8], query: &[u8]) -> bool {
    let same_question = match (Question::read(answer), Question::read(query)) {
        (Some(a), Some(b)) => a.name.eq_ignore_ascii_case(b.name) && (a.kind, a.class) == (b.kind, b.class),
        _ => false,
    };
    answer.get(..2) == query.get(..2) && answer.get(2).is_some_and(|flags| flags & 0x80 != 0) && same_question
}
