//! Whether a request that failed at one endpoint may be sent once more, and after how long. Pure.

use std::time::Duration;

/// What is known of a try that failed after it had a connection.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    pub fate: Fate,
    /// The connection had served another request before.
    pub is_reused: bool,
    /// It carries other requests at the same time, as HTTP/2 does.
    pub is_shared: bool,
    /// Not the first try of its request.
    pub is_retry: bool,
    /// By its method (RFC 9110 section 9.2.2).
    pub is_idempotent: bool,
    /// Everything that was read of the body is still there to be sent again.
    pub is_replayable: bool,
    /// Something of an answer has come, if only a 100 Continue.
    pub is_answered: bool,
    /// Since the try began.
    pub took: Duration,
}

/// What has become of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The other side says that it did nothing with it: REFUSED_STREAM, or GOAWAY before its stream
    /// (RFC 9113 section 8.7).
    Unprocessed,
    /// The connection ended, without a byte of an answer.
    Unanswered,
    /// It broke within the head of an answer, or cannot be understood.
    Broken,
    /// Anything else: a limit that has passed, or the client.
    Known,
}

/// A connection that was dead when it was used shows it at once. One that dies later than this was alive.
const DEAD: Duration = Duration::from_secs(1);

/// What is not idempotent must not be done twice, and RFC 9110 section 9.2.2 leaves a proxy one way to send it again:
/// to know that it was not done. That is so where the other side says it, and as good as so where the
/// connection had been idle, and ends as it is used: servers close idle connections, and a request may be on its way
/// by then. Whoever loses a POST to that has been told of an error where there was none. A connection that is shared
/// was perhaps not idle, and with HTTP/2 a server that closes it says how far it came.
pub fn may_retry(failed: &Failed) -> bool {
    if failed.is_answered || !failed.is_replayable {
        return false;
    }
    match failed.fate {
        Fate::Unprocessed => true,
        Fate::Unanswered if failed.is_reused => failed.is_idempotent || (!failed.is_shared && failed.took < DEAD),
        // A server that stops resets what it has accepted and not read. But what kills a backend must not kill them all.
        Fate::Unanswered => failed.is_idempotent && !failed.is_retry,
        Fate::Broken => failed.is_idempotent && (failed.is_reused || !failed.is_retry),
        Fate::Known => false,
    }
}

/// The first pause between two tries, where nobody says how long it is to be.
const PAUSE: Duration = Duration::from_millis(25);
/// No pause grows beyond this. The first one may be longer, where somebody wants it.
const LONGEST: Duration = Duration::from_secs(1);

/// Before the retry of this number, of which the first is 0: twice as long each time, less up to a half by chance, so
/// that requests which failed together do not come back together.
pub fn pause(first: Option<Duration>, number: u32, random: u64) -> Duration {
    let first = first.unwrap_or(PAUSE);
    let full = first.saturating_mul(1 << number.min(16)).min(LONGEST.max(first));
    let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    full.mul_f64(1.0 - share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_longest_one_and_are_shortened_by_chance() {
        let milliseconds =
            |first: Option<u64>, number, random| pause(first.map(Duration::from_millis), number, random).as_millis();
        assert_eq!([0, 1, 2, 6, 100].map(|number| milliseconds(None, number, 0)), [25, 50, 100, 1_000, 1_000]);
        assert_eq!([0, 1, 100].map(|number| milliseconds(Some(0), number, 0)), [0, 0, 0]);
        assert_eq!([0, 1, 100].map(|number| milliseconds(Some(5_000), number, 0)), [5_000, 5_000, 5_000]);
        assert_eq!(milliseconds(Some(100), 0, u64::MAX), 50);
    }

    const GET: Failed = Failed {
        fate: Fate::Unanswered,
        is_reused: true,
        is_shared: false,
        is_retry: false,
        is_idempotent: true,
        is_replayable: true,
        is_answered: false,
        took: Duration::from_millis(1),
    };
    const POST: Failed = Failed { is_idempotent: false, ..GET };

    #[test]
    fn what_was_not_done_is_sent_again_and_what_may_have_been_only_where_that_is_harmless() {
        let late = Duration::from_secs(2);
        for (failed, expected) in [
            (GET, true),
            (Failed { took: late, ..GET }, true),
            (Failed { is_reused: false, ..GET }, true),
            (Failed { is_reused: false, is_retry: true, ..GET }, false),
            (Failed { is_replayable: false, ..GET }, false),
            (Failed { is_answered: true, ..GET }, false),
            (Failed { fate: Fate::Broken, ..GET }, true),
            (Failed { fate: Fate::Known, ..GET }, false),
            (POST, true),
            (Failed { took: late, ..POST }, false),
            (Failed { is_shared: true, ..POST }, false),
            (Failed { is_shared: true, ..GET }, true),
            (Failed { is_shared: true, fate: Fate::Unprocessed, ..POST }, true),
            (Failed { is_reused: false, ..POST }, false),
            (Failed { is_replayable: false, ..POST }, false),
            (Failed { is_answered: true, ..POST }, false),
            (Failed { fate: Fate::Broken, ..POST }, false),
            (Failed { fate: Fate::Unprocessed, is_reused: false, took: late, ..POST }, true),
            (Failed { fate: Fate::Unprocessed, is_replayable: false, ..POST }, false),
        ] {
            assert_eq!(may_retry(&failed), expected, "{failed:?}");
        }
    }
}
