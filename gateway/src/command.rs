//! `gateway explain` and `gateway records`: of a directory of manifests, or of the gateway that runs.

use k8s::{
    admin,
    cli::CommonArgs,
    config::{self, Config},
    problem::Problem,
    source::directory,
};

use crate::{
    KINDS,
    explain::{Known, Question, explain},
    records::{self, Format},
    serve,
    view::Views,
    wanted,
};

/// # Errors
/// When the question cannot be read, or the running gateway does not answer.
pub async fn explain_name(
    args: &CommonArgs,
    name: &str,
    kind: Option<&str>,
    client: Option<&str>,
    json: bool,
) -> anyhow::Result<String> {
    let config = config::load(&args.config)?;
    let question = Question::parse(name, kind, client).map_err(anyhow::Error::msg)?;
    let Some((views, problems)) = of_directory(args, &config)? else {
        let format = if json { "json" } else { "text" };
        let parameters = [("name", Some(name)), ("type", kind), ("client", client), ("format", Some(format))];
        return admin::ask(config.admin.gateway, "/explain", &parameters).await;
    };
    let policy = serve::policy(&config);
    let known = Known { views: Some(&views), config: &config, policy: &policy, problems: &problems, objects: None };
    let explained = explain(&known, &question);
    Ok(if json { serde_json::to_string_pretty(&explained)? } else { explained.to_string() })
}

/// # Errors
/// When there is no such zone, or the running gateway does not answer.
pub async fn list_records(args: &CommonArgs, format: Format, zone: Option<&str>) -> anyhow::Result<String> {
    let config = config::load(&args.config)?;
    match of_directory(args, &config)? {
        Some((views, _)) => records::list(views.default_zones(), format, zone).map_err(anyhow::Error::msg),
        None => {
            let parameters = [("format", Some(format.name())), ("zone", zone)];
            admin::ask(config.admin.gateway, "/records", &parameters).await
        }
    }
}

/// What a gateway would answer from the directory, and what is wrong with it; None where none is named.
fn of_directory(args: &CommonArgs, config: &Config) -> anyhow::Result<Option<(Views, Vec<Problem>)>> {
    let Some(directory) = &args.manifests else { return Ok(None) };
    let files = directory::read_all(directory, &directory::Files::default())?;
    let (claims, problems) = wanted(&directory::snapshot(&files, KINDS), config);
    Ok(Some((Views::build(claims, config, 1), problems)))
}
