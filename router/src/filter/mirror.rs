//! Which requests are mirrored.

use k8s::model::Share;

/// `random` is evenly spread over requests, and other for each mirror.
pub fn takes(share: Share, random: u64) -> bool {
    random.checked_rem(u64::from(share.denominator)).is_some_and(|at| at < u64::from(share.numerator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::balance::mix;

    #[test]
    fn as_many_are_mirrored_as_was_asked_for() {
        for (numerator, denominator) in [(0, 100), (1, 1), (20, 100), (25, 50), (1, 1000)] {
            let taken = (0..100_000).filter(|n| takes(Share { numerator, denominator }, mix(*n))).count();
            let share = f64::from(numerator) / f64::from(denominator);
            let (mean, deviation) = (100_000.0 * share, (100_000.0 * share * (1.0 - share)).sqrt());
            assert!((taken as f64 - mean).abs() <= 4.0 * deviation, "{numerator}/{denominator}: {taken}");
        }
    }
}
