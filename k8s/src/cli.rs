//! The flags both binaries share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    config::{self, Config},
    problem::Problem,
    snapshot::Snapshot,
    source::{Kinds, Origin, directory},
    translate::translate,
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

/// What `--check` finds: the configuration, and the problems of the manifests. The error is what to print.
pub fn check(args: &CommonArgs, kinds: Kinds) -> anyhow::Result<(Config, Vec<Problem>)> {
    let config = config::load(&args.config)?;
    let mut problems = Vec::new();
    if let Some(directory) = &args.manifests {
        let files = directory::read_all(directory, &directory::Files::default())?;
        let snapshot: Snapshot = directory::snapshot(&files, kinds);
        problems = translate(&snapshot, &config).problems;
    }
    Ok((config, problems))
}
