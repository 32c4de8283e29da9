//! `gateway`: flags, logging, runtime; everything else is in the library.

use clap::{Parser, Subcommand};
use gateway::Format;
use k8s::{cli, config, telemetry};

/// Answers DNS for a cluster's domains with the addresses where the router serves their names
///
/// Pi-hole forwards *.your.domain to it. It reads Ingresses, routes and Gateways, Services and DNSEndpoints from
/// the cluster (or from a directory of manifests), and answers for every name that they ask for.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  gateway --config doorward.yaml                          follow the cluster
  gateway --config doorward.yaml --manifests ./apps       follow a directory of YAML files
  gateway --config doorward.yaml --check                  say what is wrong with the file
  export DOORWARD_CONFIG=doorward.yaml                    for all that follow
  gateway explain grafana.home.example                    why the running gateway answers this
  gateway explain new.home.example --manifests ./apps      before anything is deployed
  gateway records --format hosts                          every name, as in /etc/hosts"
)]
struct Args {
    #[command(flatten)]
    common: Option<cli::CommonArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what a name is answered with, and why, or why not
    ///
    /// Asks the gateway that runs with this configuration, by its admin port; with --manifests it reads the directory itself.
    #[command(mut_arg("check", of_no_use), mut_arg("log_format", of_no_use), mut_arg("log_level", of_no_use))]
    Explain {
        /// The name: grafana.home.example
        name: String,
        /// The type of record: A, AAAA, HTTPS, TXT …; addresses of both kinds without it
        #[arg(value_name = "TYPE")]
        kind: Option<String>,
        /// For a client with this address, where there are views
        #[arg(long, value_name = "ADDRESS")]
        client: Option<String>,
        /// For programs
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: cli::CommonArgs,
    },
    /// List every name with its records, and whose they are
    #[command(mut_arg("check", of_no_use), mut_arg("log_format", of_no_use), mut_arg("log_level", of_no_use))]
    Records {
        /// table, json, hosts (as in /etc/hosts), dnsmasq (lines of its configuration) or zone (zone files)
        #[arg(long, value_parser = format, default_value = "table")]
        format: Format,
        /// Of this zone alone
        #[arg(long)]
        zone: Option<String>,
        #[command(flatten)]
        common: cli::CommonArgs,
    },
}

/// What only a program that goes on running has a use for.
fn of_no_use(arg: clap::Arg) -> clap::Arg {
    arg.hide(true)
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| format!("expected {}", Format::NAMES))
}

fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args { command: Some(Command::Explain { name, kind, client, json, common }), .. } => cli::run(async move {
            Ok(cli::print(&gateway::explain_name(&common, &name, kind.as_deref(), client.as_deref(), json).await?)?)
        }),
        Args { command: Some(Command::Records { format, zone, common }), .. } => {
            cli::run(async move { Ok(cli::print(&gateway::list_records(&common, format, zone.as_deref()).await?)?) })
        }
        Args { common: Some(common), .. } => {
            if common.check {
                return cli::print_check(&common, gateway::KINDS, |snapshot, config| {
                    gateway::wanted(snapshot, config).1
                });
            }
            let config = config::load(&common.config)?;
            telemetry::log_to_stderr(common.log_format, &common.log_level)?;
            cli::run(gateway::run(common, config))
        }
        // clap asks for --config where there is no command.
        Args { common: None, command: None } => Ok(()),
    }
}
