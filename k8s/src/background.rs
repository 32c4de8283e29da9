//! Long work beside requests and queries: on a thread that the kernel stops as soon as another one of the process wants
//! its core. By priority (nice) alone a thread keeps the core for the rest of its time slice, which is milliseconds.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock,
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::{
    sync::oneshot,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

/// Where requests keep every core busy, what is to be done takes this much longer, and no more. Ten thousand routes are
/// translated in a tenth of it, so that nothing is done twice only because it is much.
const PATIENCE: Duration = Duration::from_secs(2);

type Work = Box<dyn FnOnce() + Send>;

/// Work that is not begun holds what it is about, so there is no more of it.
const WAITING: usize = 8;

/// None where it could not be started.
static THREAD: LazyLock<Option<SyncSender<Work>>> = LazyLock::new(|| {
    let (sender, work) = mpsc::sync_channel::<Work>(WAITING);
    let begin = move || {
        give_way();
        // Whoever waits for what has panicked is told by its channel.
        work.into_iter().for_each(|work| drop(catch_unwind(AssertUnwindSafe(work))));
    };
    thread::Builder::new().name("background".to_owned()).spawn(begin).ok().map(|_| sender)
});

/// Does `work` when nothing else is to be done; where that does not come soon, once more like everything else.
///
/// # Errors
/// When it panics.
pub async fn run<T: Send + 'static>(work: impl Fn() -> T + Send + Sync + 'static) -> Result<T, JoinError> {
    run_within(PATIENCE, work).await
}

/// The same, where soon is after `patience`.
///
/// # Errors
/// When it panics.
pub async fn run_within<T: Send + 'static>(
    patience: Duration,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Result<T, JoinError> {
    let work = Arc::new(work);
    let (sender, done) = oneshot::channel();
    let same = Arc::clone(&work);
    begin(Box::new(move || {
        if !sender.is_closed() {
            // Who waits no longer does it otherwise.
            let _ = sender.send(same());
        }
    }));
    match timeout(patience, done).await {
        Ok(Ok(done)) => Ok(done),
        _ => spawn_blocking(move || work()).await,
    }
}

/// The same; but at once, and like everything else, where nothing is served yet that it could give way to. A node that
/// has much to do when it starts would let it wait.
///
/// # Errors
/// When it panics.
pub async fn run_once_serving<T: Send + 'static>(
    is_serving: bool,
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Result<T, JoinError> {
    if is_serving { run(work).await } else { spawn_blocking(work).await }
}

/// Drops what is large: taking a thousand routes apart takes as long as many requests.
pub fn discard(old: impl Send + 'static) {
    begin(Box::new(move || drop(old)));
}

/// Or drops it, where too much waits.
fn begin(work: Work) {
    if let Some(thread) = &*THREAD {
        let _ = thread.try_send(work);
    }
}

/// Nobody needs a privilege for it; where it is refused all the same, requests wait as for any other thread.
fn give_way() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Linux's SCHED_IDLE.
    const IDLE: &str = "5";

    #[tokio::test]
    async fn work_gives_way_to_every_other_thread() {
        let stat = run(|| fs::read_to_string("/proc/thread-self/stat")).await.expect("no panic").expect("Linux");
        let (name, rest) = stat.rsplit_once(") ").expect("a name in brackets");
        // proc_pid_stat(5): the policy is field 41, and these begin with field 3.
        assert_eq!((name.contains("(background"), rest.split(' ').nth(38)), (true, Some(IDLE)), "{stat}");
    }

    /// The clock goes on by itself while this thread waits.
    #[tokio::test(start_paused = true)]
    async fn work_that_would_wait_for_long_is_done_by_another_thread() {
        let (end, ended) = mpsc::channel::<()>();
        begin(Box::new(move || {
            let _ = ended.recv();
        }));
        let name = run(|| thread::current().name().map(str::to_owned)).await.expect("no panic");
        assert_ne!(name.as_deref(), Some("background"));
        drop(end);
    }

    #[tokio::test]
    async fn work_that_is_waited_for_at_the_start_gives_way_to_nothing() {
        let name = || thread::current().name().map(str::to_owned);
        let names = [run_once_serving(false, name).await, run_once_serving(true, name).await];
        let is_background = names.map(|name| name.expect("no panic").as_deref() == Some("background"));
        assert_eq!(is_background, [false, true]);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_the_next_is_done() {
        let panicked = run(|| assert!(std::hint::black_box(false), "as expected")).await;
        assert!(panicked.is_err_and(|error| error.is_panic()));
        assert_eq!(run(|| 1).await.expect("no panic"), 1);
    }
}
