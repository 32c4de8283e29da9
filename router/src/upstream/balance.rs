//! Which endpoint a request goes to. Pure: load, time and chance come from outside.

/// How long an endpoint that joins others gets less than they do, in milliseconds.
pub const SLOW_START: u64 = 10_000;
/// The share of one that has its full load, and of one that has just come.
pub const FULL: u8 = u8::MAX;
const FIRST: u64 = 25;

/// What speaks for an endpoint, and what against it.
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub is_usable: bool,
    pub in_flight: usize,
    /// Of its fair load, in 255ths.
    pub share: u8,
}

/// Of two at random the one with fewer requests in flight (the power of two choices): nearly as good as the
/// least busy of all, and no herd runs to the same one. An endpoint that has not its full share yet gives way to
/// another as often as it lacks of it. None where none is usable.
pub fn choose<T>(endpoints: &[T], random: u64, state: impl Fn(&T) -> State) -> Option<&T> {
    let count = endpoints.len();
    let (low, high) = (random & u64::from(u32::MAX), random >> 32);
    let first = below(low, count);
    let second = (first + 1 + below(high, count.saturating_sub(1))) % count.max(1);
    let (one, other) = (endpoints.get(first)?, endpoints.get(second)?);
    let (a, b) = (state(one), state(other));
    match (a.is_usable, b.is_usable) {
        (true, true) => {
            let chance = mix(random).to_le_bytes();
            match (chance[0] <= a.share, chance[1] <= b.share) {
                (true, false) => Some(one),
                (false, true) => Some(other),
                (true, true) | (false, false) => Some(if b.in_flight < a.in_flight { other } else { one }),
            }
        }
        (true, false) => Some(one),
        (false, true) => Some(other),
        (false, false) => endpoints.iter().cycle().skip(first).take(count).find(|it| state(it).is_usable),
    }
}

/// The one with the highest score for `hash` (rendezvous hashing): when an endpoint goes, only what was its own
/// moves, and every replica of the router says the same.
pub fn by_hash<T>(endpoints: &[T], hash: u64, token: impl Fn(&T) -> u64, is_usable: impl Fn(&T) -> bool) -> Option<&T> {
    endpoints.iter().filter(|it| is_usable(it)).max_by_key(|it| mix(hash ^ token(it)))
}

/// Of what the routing of a request is to depend on: FNV-1a, mixed. Never to change, or every client would move.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The share of an endpoint that came at `since`, both in milliseconds; None was there from the beginning.
pub fn share(since: Option<u64>, now: u64) -> u8 {
    let Some(since) = since else { return FULL };
    let age = now.saturating_sub(since).min(SLOW_START);
    let grown = (u64::from(FULL) - FIRST) * age / SLOW_START;
    u8::try_from(FIRST + grown).unwrap_or(FULL)
}

/// The finaliser of splitmix64: neighbours look nothing alike.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `random` is less than 2^32.
fn below(random: u64, count: usize) -> usize {
    usize::try_from((u128::from(random) * count as u128) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(is_usable: bool, in_flight: usize) -> State {
        State { is_usable, in_flight, share: FULL }
    }

    /// How often each place is chosen in many requests.
    fn spread(states: &[State]) -> Vec<usize> {
        let mut counts = vec![0; states.len()];
        let places: Vec<usize> = (0..states.len()).collect();
        for random in (0..20_000).map(mix) {
            if let Some(place) = choose(&places, random, |place| states[*place]) {
                counts[*place] += 1;
            }
        }
        counts
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        let counts = spread(&[state(true, 3); 4]);
        assert!(counts.iter().all(|count| (4_500..5_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_busiest_gets_nothing_as_long_as_it_is_the_busiest() {
        let counts = spread(&[state(true, 9), state(true, 1), state(true, 1)]);
        assert_eq!(counts[0], 0, "{counts:?}");
    }

    #[test]
    fn one_that_is_new_begins_with_a_tenth_and_ends_with_all_of_its_share() {
        let at = |age| spread(&[state(true, 0), State { share: share(Some(1_000), 1_000 + age), ..state(true, 0) }]);
        let (first, half, full) = (at(0)[1], at(SLOW_START / 2)[1], at(SLOW_START)[1]);
        assert!((500..1_500).contains(&first), "{first}");
        assert!((4_500..6_500).contains(&half), "{half}");
        assert!((9_500..10_500).contains(&full), "{full}");
        assert_eq!(share(None, 0), FULL);
    }

    proptest! {
        #[test]
        fn one_that_is_usable_is_found_wherever_it_is(usable in prop::collection::vec(any::<bool>(), 0..9), random: u64) {
            let found = choose(&usable, random, |it| state(*it, 0));
            prop_assert_eq!(found.copied().unwrap_or(false), usable.contains(&true));
        }

        #[test]
        fn the_busier_of_two_is_never_chosen(a in 0..9_usize, b in 0..9_usize, random: u64) {
            let found = choose(&[a, b], random, |it| state(true, *it)).copied();
            prop_assert_eq!(found, Some(a.min(b)));
        }

        #[test]
        fn when_an_endpoint_goes_only_what_was_its_own_moves(
            tokens in prop::collection::hash_set(any::<u64>(), 2..9),
            values in prop::collection::vec(any::<u64>(), 1..50),
            gone in any::<prop::sample::Index>(),
        ) {
            let tokens: Vec<u64> = tokens.into_iter().collect();
            let gone = *gone.get(&tokens);
            for value in values {
                let before = by_hash(&tokens, value, |it| *it, |_| true).copied();
                let after = by_hash(&tokens, value, |it| *it, |it| *it != gone).copied();
                prop_assert!(after.is_some() && after != Some(gone));
                prop_assert!(before == Some(gone) || before == after);
            }
        }
    }

    #[test]
    fn hashes_spread_over_endpoints_and_never_change() {
        let tokens = [1, 2, 3, 4];
        let mut counts = [0; 5];
        for number in 0..4_000_u32 {
            let found = by_hash(&tokens, hash(&number.to_le_bytes()), |it| *it, |_| true).copied().unwrap_or_default();
            counts[usize::try_from(found).expect("small")] += 1;
        }
        assert!(counts[1..].iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(hash(b"doorward"), 0xaa85_eae1_de7d_e6b5);
    }
}
