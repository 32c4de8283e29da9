//! This program once more, for what is to happen beside the requests: on the router's core, of which it gets what the
//! router leaves, so that what it does itself delays nobody.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use benches::program::pinned;
use tokio::runtime::Runtime;

/// Goes on until it is told to end.
pub(crate) struct Beside {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Beside {
    /// With the arguments that `main` takes. It has begun when this returns; what runs on `runtime` goes on until then.
    pub(crate) fn start(runtime: &Runtime, arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("it runs");
        let chrt = ["-i".into(), "0".into(), program].into_iter().chain(arguments.iter().map(Into::into));
        let mut command = pinned("chrt", &chrt.collect::<Vec<_>>());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("chrt starts");
        let mut says = BufReader::new(child.stdout.take().expect("it was piped"));
        let has_begun = runtime.spawn_blocking(move || {
            says.read_line(&mut String::new()).expect("it says that it has begun");
            says
        });
        Self { child, says: runtime.block_on(has_begun).expect("no panic") }
    }

    /// How often it has done what it does.
    pub(crate) fn end(mut self) -> u64 {
        drop(self.child.stdin.take());
        let mut said = String::new();
        let _ = self.says.read_to_string(&mut said);
        let _ = self.child.wait();
        said.trim().parse().unwrap_or_default()
    }
}

/// In that program, whose other threads count what they do.
pub(crate) fn count_until_told(done: &AtomicU64) {
    println!("begun");
    let _ = std::io::stdin().read(&mut [0]);
    println!("{}", done.load(Relaxed));
}
