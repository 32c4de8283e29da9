//! Logs, the metric registry, and the problems that both report.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::{cli::LogFormat, problem::Problem};

pub const BUILD_INFO: &str = "doorward_build_info";
pub const PROBLEMS: &str = "doorward_problems";

/// From half a millisecond for what a homelab serves in no time, to two minutes for what streams.
pub const SECONDS_BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// Starts logging on standard error, so that standard output stays free for access logs and answers.
///
/// The error says what is wrong with `level`.
pub fn log_to_stderr(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = filter(level)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
        LogFormat::Text => subscriber.init(),
    }
    Ok(())
}

/// What is named in `level` is logged as it says there, libraries too.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    // What libraries log about single requests and queries is ours to say, once and with the object's name. Of what
    // clients get wrong h2 and rustls warn each time, and so as often as somebody likes.
    let quiet = "hickory_server=off,hickory_net=off,hickory_proto=off,pingora_core=error,pingora_proxy=error,kube_runtime=off,kube_client=off,h2=off,hyper=warn,rustls=off";
    EnvFilter::try_new(format!("{quiet},{level}"))
        .map_err(|error| anyhow::anyhow!("log level {level:?}: {error}; expected error, warn, info, debug or trace"))
}

/// Installs the registry that `/metrics` shows. Must run inside tokio, and once.
pub fn install_metrics(program: &'static str) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .install_recorder()?;
    metrics::gauge!(BUILD_INFO, "program" => program, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::describe_gauge!(PROBLEMS, "Objects, or parts of them, that do not take effect");
    let upkeep = handle.clone();
    tokio::spawn(async move {
        // Histograms grow until somebody drains them, and nobody may ever scrape.
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Logs what is new and what is gone, once each, and counts what is there by kind and reason. Both are sorted.
pub fn report_problems(old: &[Problem], new: &[Problem]) {
    for problem in new.iter().filter(|problem| old.binary_search(problem).is_err()) {
        warn!(object = %problem.object, "problem: {problem}");
    }
    for problem in old.iter().filter(|problem| new.binary_search(problem).is_err()) {
        info!(object = %problem.object, "solved: {problem}");
    }
    let mut counts: BTreeMap<(&'static str, &'static str), f64> =
        old.iter().map(|problem| ((problem.object.kind, problem.reason.name()), 0.0)).collect();
    for problem in new {
        *counts.entry((problem.object.kind, problem.reason.name())).or_default() += 1.0;
    }
    for ((kind, reason), count) in counts {
        metrics::gauge!(PROBLEMS, "kind" => kind, "reason" => reason).set(count);
    }
}

/// Says at most once a minute what could otherwise fill the log.
pub fn now_and_then(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() > Duration::from_secs(60));
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// `2026-11-23T19:15:02.123Z`.
pub fn rfc3339(time: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_silent_speaks_where_it_is_named() {
        let said = |level: &str| filter(level).expect("a filter").to_string();
        let has = |level: &str, directive: &str| said(level).split(',').any(|it| it == directive);
        assert!(has("info", "rustls=off") && has("debug", "h2=off"), "{}", said("debug"));
        assert!(has("info,rustls=warn", "rustls=warn") && !has("info,rustls=warn", "rustls=off"));
    }
}
