//! The flags both binaries share.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use crate::{
    config::{self, Config},
    problem::Problem,
    snapshot::Snapshot,
    source::{Kinds, Origin, directory},
};

#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// The configuration file: zones, entry points, classes. doorward.example.yaml explains every key
    #[arg(long, value_name = "FILE", env = "DOORWARD_CONFIG")]
    pub config: PathBuf,

    /// Read objects from the YAML files below DIR, and follow their changes, instead of watching a cluster.
    /// Without it the cluster is the one this runs in, or the one KUBECONFIG names
    #[arg(long, value_name = "DIR", env = "DOORWARD_MANIFESTS")]
    pub manifests: Option<PathBuf>,

    /// Only read the configuration file (and the manifests, where given), say what is wrong with them, and exit
    #[arg(long)]
    pub check: bool,

    /// Log lines for people or for machines
    #[arg(long, value_enum, default_value = "text", env = "DOORWARD_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// error, warn, info, debug or trace; or a filter such as info,k8s=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "DOORWARD_LOG_LEVEL")]
    pub log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl CommonArgs {
    pub fn origin(&self) -> Origin {
        self.manifests.clone().map_or(Origin::Cluster, Origin::Directory)
    }
}

/// Runs a whole program.
///
/// # Errors
/// Its own, or that no thread could be started.
pub fn run(program: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(program);
    // A name that is being resolved is not waited for: the resolver takes longer than anybody gives us to end.
    runtime.shutdown_background();
    ended
}

/// Prints the answer of a command. Who reads only the first lines (`| head`) has what it wanted.
///
/// # Errors
/// When it cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Reads the configuration file, and the manifests where given, and prints what is wrong with them; `problems_of`
/// says what a program finds wrong with a snapshot.
///
/// # Errors
/// When the configuration is refused or there are problems, so that a pipeline can stop there.
pub fn print_check(
    args: &CommonArgs,
    kinds: Kinds,
    problems_of: impl Fn(&Snapshot, &Config) -> Vec<Problem>,
) -> anyhow::Result<()> {
    let config = config::load(&args.config)?;
    let problems = match &args.manifests {
        None => Vec::new(),
        Some(directory) => {
            let files = directory::read_all(directory, &directory::Files::default())?;
            problems_of(&directory::snapshot(&files, kinds), &config)
        }
    };
    for problem in &problems {
        print(&problem.to_string())?;
    }
    anyhow::ensure!(problems.is_empty(), "{} problem(s); everything else would be served", problems.len());
    print(&format!("{} is right", args.config.display()))?;
    Ok(())
}
