//! Other programs, each on one core while this process is on another.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The load has the other one to itself.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// Keeps this process, and what it starts unless that is pinned otherwise, on the load's core.
///
/// # Panics
/// Where there is only one.
pub fn pin_the_load() {
    let own = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-pc", LOAD_CORE, &own]).stdout(Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "two cores are needed: one for the server, one for the load");
}

/// On the servers' core, and ended when this process ends, however that happens.
pub fn pinned(program: &str, arguments: &[PathBuf]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", SERVER_CORE, program]).args(arguments);
    command
}

/// For the addresses of servers, 127.NUMBER.x.y: two runs at once do not meet.
pub fn number_of_run() -> u8 {
    u8::try_from(std::process::id() % 200).unwrap_or_default() + 20
}

/// Ended when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// With what it says, on both streams, in `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log can be written");
        let also = file.try_clone().expect("a file has two handles");
        Self::spawn(command, file, also, log)
    }

    /// The same, where what it says on standard output is not wanted.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_without_output(command: Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log can be written");
        Self::spawn(command, Stdio::null(), file, log)
    }

    fn spawn(mut command: Command, output: impl Into<Stdio>, errors: File, log: PathBuf) -> Self {
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        Self { child: child.expect("setpriv starts"), log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // First it is asked to end, so that it ends what it has started too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let started = Instant::now();
        while self.is_running() && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}
