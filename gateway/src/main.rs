//! `gateway`: flags, logging, runtime; everything else is in the library.

use clap::Parser;
use k8s::{cli, config, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers DNS for a cluster's domains with the addresses where the router serves their names
///
/// Pi-hole forwards *.your.domain to it. It reads Ingresses, Gateways and HTTPRoutes from the cluster
/// (or from a directory of manifests), and answers A and AAAA for every name that the router serves.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  gateway --config doorward.yaml --check              say what is wrong with the file
  gateway --config doorward.yaml                      follow the cluster
  gateway --config doorward.yaml --manifests ./apps   follow a directory of YAML files

Ask the admin port why: curl 'http://127.0.0.1:9153/explain?name=grafana.home.example'"
)]
struct Args {
    #[command(flatten)]
    common: cli::CommonArgs,
}

fn main() -> anyhow::Result<()> {
    let Args { common } = Args::parse();
    if common.check {
        return cli::print_check(&common, gateway::KINDS);
    }
    let config = config::load(&common.config)?;
    telemetry::log_to_stderr(common.log_format, &common.log_level)?;
    cli::run(gateway::run(common, config))
}
