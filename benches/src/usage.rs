//! What a server takes, its child processes included.

use std::{fs, time::Duration};

/// The unit of /proc/PID/stat.
const TICK: Duration = Duration::from_millis(10);

/// Time of a processor since a server's start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Processor {
    /// To the nanosecond.
    pub total: Duration,
    /// Of that, outside the kernel, to the [`TICK`].
    pub user: Duration,
}

/// The process and all that it started.
///
/// # Panics
/// Where there is no /proc.
pub fn family(process: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((id, field(id, 1)?.try_into().ok()?))
        })
        .collect();
    let mut family = vec![process];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(all.iter().filter(|(_, its)| *its == parent).map(|(id, _)| id));
        next += 1;
    }
    family
}

/// # Panics
/// After some years.
pub fn processor(family: &[u32]) -> Processor {
    let ticks: u64 = family.iter().filter_map(|process| field(*process, 11)).sum();
    let nanoseconds = family.iter().flat_map(|process| threads(*process)).sum();
    Processor {
        total: Duration::from_nanos(nanoseconds),
        user: TICK * u32::try_from(ticks).expect("a bench takes less than a year"),
    }
}

/// The nanoseconds of each.
fn threads(process: u32) -> Vec<u64> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let nanoseconds = |thread: fs::DirEntry| {
        let schedule = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedule.split(' ').next()?.parse().ok()
    };
    threads.filter_map(|thread| nanoseconds(thread.ok()?)).collect()
}

/// In bytes. What several processes share counts for each.
pub fn resident(family: &[u32]) -> u64 {
    let kibibytes = |process: &u32| -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
    };
    family.iter().filter_map(kibibytes).sum::<u64>() * 1024
}

/// Of /proc/PID/stat, counted from after the name, which may have blanks in it.
fn field(process: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(number)?.parse().ok()
}
