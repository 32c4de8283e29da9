//! A program under test as a child process, ended when it is dropped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{PATIENCE, output};

/// Where cargo has put a binary of this workspace: next to the test that asks.
///
/// # Panics
/// When it is not built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = target.join(name);
    assert!(path.exists(), "{} is not built: run tests/run, or cargo build --workspace", path.display());
    path
}

pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, with what it says (on both streams) in `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log can be written");
        let also = file.try_clone().expect("a file has two handles");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(also).spawn().expect("the program starts");
        Self { child, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn signal(&self, signal: &str) {
        output(Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()));
    }

    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the program does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// From now on, [`Self::peak_memory`] is of what follows (proc(5), `clear_refs`).
    ///
    /// # Panics
    /// When the system does not let us.
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("a process of our own");
    }

    /// The memory that is resident now, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// How many file descriptors it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// The time that it has had on a processor, to a hundredth of a second.
    pub fn processor_time(&self) -> Duration {
        // utime and stime are the 14th and the 15th field; the second is the name in brackets (proc(5)).
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
