//! Who asks the same again and again while there is nothing to answer with.

use std::{
    collections::HashMap,
    net::IpAddr,
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
type Asked = (IpAddr, Box<[u8]>);

impl Repeated {
    /// Counts a refusal, and says whether it is one too many.
    pub(super) fn is_too_much(&mut self, client: IpAddr, message: &[u8], now: Instant) -> bool {
        if self.asked.len() >= MOST {
            self.asked.clear();
        }
        // Without the id, which is another one each time.
        let question: Box<[u8]> = message.get(2..).unwrap_or_default().into();
        let (since, count) = self.asked.entry((client, question)).or_insert((now, 0));
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
        let pi_hole = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut ask =
            |message: &[u8], after: u64| repeated.is_too_much(pi_hole, message, start + Duration::from_millis(after));
        assert_eq!([ask(b"1-a", 0), ask(b"2-a", 1), ask(b"3-a", 2), ask(b"4-a", 3)], [false, false, false, true]);
        assert!(!ask(b"5-b", 4), "another question");
        assert!(!ask(b"6-a", 1_500), "another second");
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut repeated = Repeated::default();
        for number in 0..10 * MOST {
            let client = IpAddr::from(Ipv4Addr::from(u32::try_from(number).expect("small")));
            repeated.is_too_much(client, b"..a", Instant::now());
            assert!(repeated.asked.len() <= MOST);
        }
    }
}
