//! The pages of the admin port that are `gateway`'s own: `/explain`, `/records`, and its part of `/metrics`.

use std::sync::Arc;

use k8s::{
    admin::{Admin, Content, OwnPages, Parameters},
    config::Config,
};

use crate::{
    SharedViews,
    explain::{Known, Question, explain},
    metrics::Metrics,
    records::{self, Format},
    reference::Policy,
};

const USAGE: &str = "ask /explain?name=grafana.home.example, and where it matters &type=HTTPS and &client=192.168.8.7";

pub(crate) fn pages(
    views: &SharedViews,
    config: &Arc<Config>,
    policy: &Arc<Policy>,
    metrics: &Arc<Metrics>,
) -> OwnPages {
    let (config, policy, metrics) = (Arc::clone(config), Arc::clone(policy), Arc::clone(metrics));
    let (explained, listed) = (Arc::clone(views), Arc::clone(views));
    let explain_page = move |query: &Parameters, admin: &Admin| {
        let name = query.first("name").ok_or(USAGE)?;
        let question = Question::parse(name, query.first("type"), query.first("client"))?;
        let (views, problems) = (explained.load(), admin.problems());
        let known = Known {
            views: views.as_deref(),
            config: &config,
            policy: &policy,
            problems: &problems,
            objects: admin.objects(),
        };
        let explained = explain(&known, &question);
        match query.first("format") {
            Some("text") => Ok(Content::Text(format!("{explained}\n"))),
            _ => serde_json::to_value(explained).map(Content::Json).map_err(|error| error.to_string()),
        }
    };
    let records_page = move |query: &Parameters, _: &Admin| {
        let text = query.first("format").unwrap_or("table");
        let format = Format::parse(text).ok_or_else(|| format!("{text:?} is no format: ask for {}", Format::NAMES))?;
        let views = listed.load();
        let views = views.as_deref().ok_or("not ready: waiting for the first complete list of objects")?;
        let list = records::list(views.default_zones(), format, query.first("zone"))?;
        match format {
            Format::Json => serde_json::from_str(&list).map(Content::Json).map_err(|error| error.to_string()),
            Format::Table | Format::Hosts | Format::Dnsmasq | Format::Zone => Ok(Content::Text(list)),
        }
    };
    OwnPages {
        pages: vec![("/explain", Box::new(explain_page)), ("/records", Box::new(records_page))],
        metrics: Some(Box::new(move || metrics.render())),
    }
}
