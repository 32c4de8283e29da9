//! `router`: flags, logging, runtime; everything else is in the library.

use clap::Parser;
use k8s::{cli, config, telemetry};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Terminates TLS for a cluster and routes requests to its pods
///
/// It reads Ingresses, Gateways, HTTPRoutes, Services, EndpointSlices and TLS Secrets from the cluster
/// (or from a directory of manifests), and listens where the configuration file and the Gateways say.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  router --config doorward.yaml --check              say what is wrong with the file
  router --config doorward.yaml                      follow the cluster
  router --config doorward.yaml --manifests ./apps   follow a directory of YAML files

Ask the admin port why: curl 'http://127.0.0.1:9154/explain?url=https://grafana.home.example/'"
)]
struct Args {
    #[command(flatten)]
    common: cli::CommonArgs,

    /// Write no access log. Otherwise there is one JSON line per request on standard output
    #[arg(long, env = "DOORWARD_NO_ACCESS_LOG")]
    no_access_log: bool,
}

fn main() -> anyhow::Result<()> {
    let Args { common, no_access_log } = Args::parse();
    if common.check {
        return cli::print_check(&common, router::KINDS, |snapshot, config| {
            k8s::translate::translate(snapshot, config).problems
        });
    }
    let config = config::load(&common.config)?;
    telemetry::log_to_stderr(common.log_format, &common.log_level)?;
    // With them, what is reserved counts as used: 20 MB of it when nothing has been asked yet, and 15 KiB for each idle
    // connection of HTTP/2. They save nothing that could be measured. Nothing depends on it where the kernel refuses.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // Requests have threads of their own: none of them waits while a thousand objects are read.
    let data = Runtime::new()?;
    let ended = cli::run(router::run(common, config, !no_access_log, data.handle().clone()));
    data.shutdown_background();
    ended
}
