//! Requests in the order in which they are asked.

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

    pub fn ask_peer(&self, peer: &Peer) -> usize {
        self.in_turn(|host, path| peer.find(host, path))
    }

    /// Each request begins where the answer to the one before it says, so that the processor cannot
    /// work on several at once and hide what one costs.
    fn in_turn(&self, find: impl Fn(&str, &str) -> Option<u32>) -> usize {
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
