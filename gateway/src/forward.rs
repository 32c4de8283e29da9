//! Questions for names that no zone holds, put to the upstream.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    metrics::Metrics,
    reference::{self, Transport},
    wire::Question,
};

/// Questions that are open at a time.
const MOST: usize = 256;
/// Clients that wait for an answer at a time, of which many may have asked the same.
const ASKERS: usize = 2048;
/// How long one try may take …
const TRY: Duration = Duration::from_secs(2);
/// … and how many there are.
const TRIES: u32 = 2;

/// Who is asked.
pub(crate) struct Upstream {
    address: SocketAddr,
    /// What is asked now, and where its answer will be. Whoever asks the same waits for that: two open questions
    /// alike would make a forged answer twice as likely to fit (RFC 5452 section 5), and two servers that
    /// forward to each other would ask without end.
    open: Mutex<HashMap<Asked, watch::Receiver<Answer>>>,
    askers: Semaphore,
}

/// A query without its id, and how it is to be asked.
type Asked = (Vec<u8>, Transport);

/// None while there is none, and in the end where the upstream gives none.
type Answer = Option<Arc<[u8]>>;

/// Takes a question away when it is open no more, however that came.
struct Open<'a> {
    upstream: &'a Upstream,
    asked: Asked,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.upstream.open().remove(&self.asked);
    }
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, open: Mutex::default(), askers: Semaphore::new(ASKERS) }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Asked, watch::Receiver<Answer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client gets: the upstream's answer, or SERVFAIL where there is none, or too many ask already.
    pub(crate) async fn ask(self: &Arc<Self>, query: &[u8], transport: Transport, metrics: &Metrics) -> Vec<u8> {
        let answer = match reference::upstream_query(query) {
            Some(asked) => self.answer((asked, transport)).await,
            None => None,
        };
        let counter = if answer.is_some() { &metrics.forwarded } else { &metrics.forward_failures };
        counter.fetch_add(1, Relaxed);
        match answer {
            Some(answer) => reference::relay(query, &answer, transport),
            None => reference::server_failure(query),
        }
    }

    async fn answer(self: &Arc<Self>, asked: Asked) -> Answer {
        let _asker = self.askers.try_acquire().ok()?;
        let mut told = {
            let mut open = self.open();
            match open.get(&asked) {
                Some(told) => told.clone(),
                None if open.len() >= MOST => return None,
                None => {
                    let (tell, told) = watch::channel(None);
                    open.insert(asked.clone(), told.clone());
                    // On its own: whoever asked first may go away while others wait.
                    tokio::spawn(Arc::clone(self).exchange(asked, tell));
                    told
                }
            }
        };
        // Ends with the exchange.
        told.wait_for(Option::is_some).await.ok()?.clone()
    }

    async fn exchange(self: Arc<Self>, asked: Asked, tell: watch::Sender<Answer>) {
        let open = Open { upstream: &self, asked };
        let (query, transport) = &open.asked;
        for _ in 0..TRIES {
            let exchange = async {
                match transport {
                    Transport::Udp => self.ask_udp(query).await,
                    Transport::Tcp => self.ask_tcp(query).await,
                }
            };
            if let Ok(Some(answer)) = timeout(TRY, exchange).await {
                tell.send_replace(Some(answer.into()));
                return;
            }
        }
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
        let mut buffer = vec![0; usize::from(u16::MAX)];
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

/// A keyed hash, whose key is the system's randomness and another one for each hasher.
fn random_id() -> [u8; 2] {
    use std::hash::{BuildHasher, RandomState};
    let [first, second, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    [first, second]
}

/// A response with the query's id and question; an error may come without the question.
fn is_answer(answer: &[u8], query: &[u8]) -> bool {
    let &[high, low, flags, code, questions_high, questions_low, ..] = answer else { return false };
    let is_bare_error = [questions_high, questions_low] == [0, 0] && code & 15 != 0;
    let same_question = || match (Question::read(answer), Question::read(query)) {
        (Some(a), Some(b)) => a.name.eq_ignore_ascii_case(b.name) && (a.kind, a.class) == (b.kind, b.class),
        _ => false,
    };
    query.get(..2) == Some(&[high, low]) && flags & 0x80 != 0 && (is_bare_error || same_question())
}
