//! How many connections there may be: in all, at one socket, and of one client. And how many requests, each of which
//! may have a connection to a backend: one client's connection carries a hundred of them with HTTP/2.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::turns::Turns;

/// File descriptors for everything but clients and their backends: listeners, the admin port, the API server, files.
const RESERVED: u64 = 64;
/// Where the kernel has no limit.
const UNLIMITED: u64 = 1 << 20;
/// Less than the ports that this machine has for connections to one backend: 28 232, where nobody has changed it.
const REQUESTS: usize = 24 << 10;

/// What the rooms of all sockets share.
#[derive(Debug)]
pub(super) struct Whole {
    places: Arc<Semaphore>,
    clients: Mutex<HashMap<IpAddr, Client>>,
    n_rooms: AtomicUsize,
}

#[derive(Debug)]
struct Client {
    /// By room; none is without any.
    n_connections: BTreeMap<usize, usize>,
    turns: Arc<Turns>,
}

/// Room for connections at one socket.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    whole: Arc<Whole>,
    here: Arc<Semaphore>,
    number: usize,
    of_one: usize,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    _here: OwnedSemaphorePermit,
}

/// That a client has one connection more, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    client: IpAddr,
    room: usize,
    whole: Arc<Whole>,
    /// Which all connections of the client share, at whatever socket.
    pub(super) turns: Arc<Turns>,
}

impl Whole {
    /// As many connections as half of the file descriptors are enough for. The other half is for backends.
    pub(super) fn for_process() -> Arc<Self> {
        Self::new(half_of_descriptors())
    }

    fn new(places: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Self { places, clients: Mutex::default(), n_rooms: AtomicUsize::default() })
    }

    pub(super) fn n_free(&self) -> usize {
        self.places.available_permits()
    }
}

/// Takes what the system allows: the limit that a shell sets (1024) is for other programs.
fn half_of_descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit.current = limit.maximum;
        }
    }
    let descriptors = limit.current.unwrap_or(UNLIMITED).min(UNLIMITED);
    usize::try_from(descriptors.saturating_sub(RESERVED) / 2).unwrap_or(1).max(1)
}

/// Room for requests on their way to backends. One place each, until it is dropped; the places are counted by who
/// holds them.
#[derive(Debug)]
pub struct Requests {
    shares: Arc<Shares>,
    most: usize,
    hash: RandomState,
}

/// How many places clients have, by a hash of their addresses. Two that meet there share what one may have.
type Shares = [AtomicUsize; 4096];

/// A request's place; free again when it is dropped.
#[derive(Debug)]
pub struct OneRequest {
    shares: Arc<Shares>,
    at: usize,
}

impl Requests {
    /// `kept` connections to backends wait for their next request, in all.
    pub fn for_process(kept: usize) -> Self {
        let half = half_of_descriptors();
        Self::new(half.saturating_sub(kept).max(half / 2).min(REQUESTS))
    }

    fn new(most: usize) -> Self {
        Self { shares: Arc::new([const { AtomicUsize::new(0) }; _]), most, hash: RandomState::new() }
    }

    /// None where there are too many, or where the client has more than half of all places. Of those that ask at the
    /// same moment for the last one, none may get it.
    pub fn place(&self, client: IpAddr) -> Option<OneRequest> {
        let hash = self.hash.hash_one(one_client(client));
        let at = usize::try_from(hash % self.shares.len() as u64).unwrap_or_default();
        let share = self.shares.get(at)?.fetch_add(1, Relaxed) + 1;
        let place = OneRequest { shares: Arc::clone(&self.shares), at };
        // The room's own is none.
        let places = Arc::strong_count(&self.shares) - 1;
        (places <= self.most && share <= self.most.div_ceil(2)).then_some(place)
    }
}

impl Drop for OneRequest {
    fn drop(&mut self) {
        if let Some(share) = self.shares.get(self.at) {
            share.fetch_sub(1, Relaxed);
        }
    }
}

impl Room {
    pub(super) fn new(whole: Arc<Whole>, here: usize, of_one: usize) -> Self {
        let number = whole.n_rooms.fetch_add(1, Relaxed);
        Self { whole, here: Arc::new(Semaphore::new(here)), number, of_one }
    }

    /// Waits until there is place; clients wait in the kernel's queue meanwhile.
    pub(super) async fn place(&self) -> Option<Place> {
        let here = Arc::clone(&self.here).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.whole.places).acquire_owned().await.ok()?;
        Some(Place { _all: all, _here: here })
    }

    /// None where there is none now.
    pub(crate) fn free_place(&self) -> Option<Place> {
        let here = Arc::clone(&self.here).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.whole.places).try_acquire_owned().ok()?;
        Some(Place { _all: all, _here: here })
    }

    /// None where the client has too many. One who `is_trusted` speaks for others: has never too many, and waits for
    /// nobody.
    pub(crate) fn count(&self, client: IpAddr, is_trusted: bool) -> Option<Counted> {
        let client = one_client(client);
        let mut clients = self.whole.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let has = |client: &Client| client.n_connections.get(&self.number).copied().unwrap_or_default();
        let n_connections = clients.get(&client).map_or(0, has);
        if n_connections >= self.of_one && !is_trusted {
            return None;
        }
        let first = || Client { n_connections: BTreeMap::new(), turns: Arc::new(Turns::of_one()) };
        let its = clients.entry(client).or_insert_with(first);
        its.n_connections.insert(self.number, n_connections + 1);
        let turns = if is_trusted { Arc::new(Turns::of_many()) } else { Arc::clone(&its.turns) };
        Some(Counted { client, room: self.number, whole: Arc::clone(&self.whole), turns })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut clients = self.whole.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut client) = clients.entry(self.client) else { return };
        let n_connections = &mut client.get_mut().n_connections;
        match n_connections.get_mut(&self.room) {
            Some(several @ 2..) => *several -= 1,
            _ => drop(n_connections.remove(&self.room)),
        }
        if n_connections.is_empty() {
            client.remove();
        }
    }
}

/// Every machine has a network of IPv6 to itself (RFC 6177).
pub(crate) fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_as_many_connections_as_it_may_and_place_again_when_they_end() {
        let whole = Whole::new(9);
        let [room, other] = [(); 2].map(|()| Room::new(Arc::clone(&whole), 9, 2));
        let count = |text: &str| room.count(text.parse().expect("an address"), false);
        let one = count("192.168.8.50");
        let _two = count("::ffff:192.168.8.50").expect("a second one");
        assert!(count("192.168.8.50").is_none());
        assert!(count("192.168.8.51").is_some(), "another client");
        assert!(other.count([192, 168, 8, 50].into(), false).is_some(), "another socket");
        assert!(room.count([192, 168, 8, 50].into(), true).is_some(), "who speaks for others");
        drop(one);
        assert!(count("192.168.8.50").is_some());

        let _six = [count("fd00::1"), count("fd00::2")].map(|it| it.expect("place"));
        assert!(count("fd00::ffff:3").is_none(), "the same network");
        assert!(count("fd00:0:0:1::1").is_some());
        assert_eq!(whole.clients.lock().expect("no panic").len(), 2, "who has none is forgotten");
    }

    #[test]
    fn a_client_takes_its_turns_at_all_sockets_together_and_one_who_speaks_for_others_takes_none() {
        let whole = Whole::new(9);
        let rooms = [(); 2].map(|()| Room::new(Arc::clone(&whole), 9, 9));
        let client = [192, 168, 8, 50].into();
        let [here, there] = rooms.each_ref().map(|room| room.count(client, false).expect("place"));
        assert!(Arc::ptr_eq(&here.turns, &there.turns));
        let trusted = rooms[0].count(client, true).expect("place");
        trusted.turns.note_flood();
        assert!(!trusted.turns.has_flooded() && !here.turns.has_flooded());
        here.turns.note_flood();
        assert!(there.turns.has_flooded() && !trusted.turns.has_flooded());
    }

    #[test]
    fn there_are_so_many_requests_and_no_client_has_more_than_half_of_them() {
        let requests = Requests::new(4);
        let place = |last: u16| requests.place(Ipv6Addr::new(0xfd00, 0, 0, last, 0, 0, 0, 1).into());
        let [one, _two] = [place(1), place(1)].map(|it| it.expect("a place"));
        assert!(place(1).is_none() && place(1).is_none(), "half of them");
        // Some of the many do not meet the first one.
        let others: Vec<OneRequest> = (2..100).filter_map(place).collect();
        assert_eq!(others.len(), 2, "and then all are taken");
        assert!(place(100).is_none());
        drop(one);
        assert!(place(1).is_some(), "what was refused holds nothing");
    }

    #[tokio::test]
    async fn no_socket_takes_the_place_of_all() {
        let whole = Whole::new(3);
        let rooms = [(); 2].map(|()| Room::new(Arc::clone(&whole), 2, 9));
        let _two = [rooms[0].place().await, rooms[0].place().await];
        assert!(tokio::time::timeout(std::time::Duration::from_millis(5), rooms[0].place()).await.is_err());
        assert!(rooms[1].place().await.is_some());
    }
}
