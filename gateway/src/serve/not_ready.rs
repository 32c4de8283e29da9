//! Who asks the same again and again while there is nothing to answer with.
//!
//! A resolver asks each of its own questions from a port of its own. The same question from the same port is one
//! that it cannot let go (dnsmasq 2.93 with a server that refuses); from other ports it is other clients'.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Refusals of one question that one client gets …
const REFUSALS: u32 = 3;
/// … in this time.
const WINDOW: Duration = Duration::from_secs(1);
/// Questions that are remembered; with more, all are forgotten, and answered again.
const MOST: usize = 1024;

/// The questions of the last moments.
#[derive(Default)]
pub(super) struct Repeated {
    asked: HashMap<Asked, (Instant, u32)>,
}

/// Who, and what.
type Asked = (SocketAddr, Box<[u8]>);

impl Repeated {
    /// Counts a refusal, and says whether it is one too many. A question's bytes are its name, type and class.
    pub(super) fn is_too_much(&mut self, client: SocketAddr, question: &[u8], now: Instant) -> bool {
        if self.asked.len() >= MOST {
            self.asked.clear();
        }
        let (since, count) = self.asked.entry((client, question.into())).or_insert((now, 0));
        if now.duration_since(*since) > WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count > REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_fourth_time_in_a_second_is_too_much_and_the_next_second_begins_anew() {
        let (mut repeated, start) = (Repeated::default(), Instant::now());
        let mut ask_from = |port: u16, message: &[u8], after: u64| {
            let pi_hole = (Ipv4Addr::LOCALHOST, port).into();
            repeated.is_too_much(pi_hole, message, start + Duration::from_millis(after))
        };
        assert!((100..120).all(|port| !ask_from(port, b"a", 0)), "each from a port of its own");
        let mut ask = |message: &[u8], after: u64| ask_from(99, message, after);
        assert_eq!([ask(b"a", 0), ask(b"a", 1), ask(b"a", 2), ask(b"a", 3)], [false, false, false, true]);
        assert!(!ask(b"b", 4), "another question");
        assert!(!ask(b"a", 1_500), "another second");
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut repeated = Repeated::default();
        for number in 0..10 * MOST {
            let client = (Ipv4Addr::from(u32::try_from(number).expect("small")), 53).into();
            repeated.is_too_much(client, b"..a", Instant::now());
            assert!(repeated.asked.len() <= MOST);
        }
    }
}
