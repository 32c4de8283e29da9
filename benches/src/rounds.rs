//! Timing several things in turns, so that what disturbs the machine disturbs all of them alike, and telling of it.

use std::{
    any::Any,
    hint::black_box,
    time::{Duration, Instant},
};

/// A piece of work and how many operations one run of it has.
pub struct Contender<'a> {
    operations: usize,
    run: Box<dyn FnMut() -> Box<dyn Any> + 'a>,
}

impl<'a> Contender<'a> {
    /// `run` returns something that depends on all of its work, which keeps the compiler from leaving work out.
    pub fn new<T: 'static>(operations: usize, mut run: impl FnMut() -> T + 'a) -> Self {
        Self { operations, run: Box::new(move || Box::new(black_box(run()))) }
    }
}

/// Nanoseconds for one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The median of all rounds.
    pub nanoseconds: f64,
    /// How far the middle half of the rounds lies apart, as a part of the median.
    pub noise: f64,
    /// The median of the rounds' ratios to the first contender.
    pub ratio: f64,
}

/// Runs every contender once for warming up, then `n_rounds` times in turns.
pub fn compare(n_rounds: usize, contenders: &mut [Contender<'_>]) -> Vec<Timing> {
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..=n_rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut rounds) {
            let start = Instant::now();
            let made = (contender.run)();
            let elapsed = start.elapsed().as_nanos() as f64 / contender.operations as f64;
            // What was made is taken apart when the clock has stopped, as nobody waits for that.
            drop(made);
            if round > 0 {
                times.push(elapsed);
            }
        }
    }
    let timing = |times: &Vec<f64>| {
        let ratios = times.iter().zip(&rounds[0]).map(|(time, first)| time / first).collect();
        let nanoseconds = quantile(times.clone(), 0.5);
        let spread = quantile(times.clone(), 0.75) - quantile(times.clone(), 0.25);
        Timing { nanoseconds, noise: spread / nanoseconds, ratio: quantile(ratios, 0.5) }
    };
    rounds.iter().map(timing).collect()
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    quantile(numbers.collect(), 0.5)
}

fn quantile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get((numbers.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A line that tells a value, and the most that it should be.
pub fn figure(what: &str, value: f64, unit: &str, goal: Option<f64>) -> String {
    let goal = goal.map(|goal| format!(" (goal: at most {goal:.2}{})", if value <= goal { "" } else { "; missed" }));
    format!("{what}: {value:.2} {unit}{}", goal.unwrap_or_default())
}
