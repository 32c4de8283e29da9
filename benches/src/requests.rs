//! Requests in the order in which they are asked.

use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderMap;
use router::table::{Request, RouteTable};

use crate::routes::Peer;

/// Hosts and paths, one after another in memory, as a request that was just read lies in the cache while
/// the table it is looked up in does not.
#[derive(Debug, Default)]
pub struct Requests {
    text: String,
    /// Lengths of host and path.
    lengths: Vec<(u32, u32)>,
    pub headers: HeaderMap,
    pub query: Option<&'static str>,
}

impl Requests {
    pub fn push(&mut self, host: &str, path: &str) {
        self.text.push_str(host);
        self.text.push_str(path);
        self.lengths.push((host.len() as u32, path.len() as u32));
    }

    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Asks for all of them and counts what was found.
    pub fn ask(&self, table: &RouteTable<u32>) -> usize {
        self.in_turn(|host, path| {
            let request = Request { host, path, method: "GET", query: self.query, headers: &self.headers };
            table.find(&request).map(|matched| *matched.value)
        })
    }

    /// Asks for all of them, each in the table that is in `shared` then, and gives the nanoseconds that each took, sorted.
    pub fn ask_shared(&self, shared: &ArcSwap<RouteTable<u32>>) -> Vec<u64> {
        let mut took = Vec::with_capacity(self.len());
        self.in_turn(|host, path| {
            let request = Request { host, path, method: "GET", query: self.query, headers: &self.headers };
            let started = Instant::now();
            let found = shared.load().find(&request).map(|matched| *matched.value);
            took.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            found
        });
        took.sort_unstable();
        took
    }

    pub fn ask_peer(&self, peer: &Peer) -> usize {
        self.in_turn(|host, path| peer.find(host, path))
    }

    /// Each request begins where the answer to the one before it says, so that the processor cannot
    /// work on several at once and hide what one costs.
    fn in_turn(&self, mut find: impl FnMut(&str, &str) -> Option<u32>) -> usize {
        let mut start = 0;
        let mut found = 0;
        for (host, path) in &self.lengths {
            let middle = start + *host as usize;
            let end = middle + *path as usize;
            let answer = find(&self.text[start..middle], &self.text[middle..end]);
            found += usize::from(answer.is_some());
            // Rules are numbered from 0 and there are fewer than 2^31.
            start = end + answer.map_or(0, |rule| (rule >> 31) as usize);
        }
        found
    }
}
