//! Writes what is planned, while this replica leads.

use std::{collections::BTreeMap, fmt, time::Duration};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{Action, AllWritten, Owner, Plan, Seen, Written, forget, name_of, plan, refusals::Refusals};
use crate::{
    config::GatewayServiceConfig,
    model::ObjectName,
    status::leader::Leadership,
    translate::{
        infrastructure::{MANAGED_BY, container_ports, owner_of},
        key_of,
    },
};

/// The API server knows by it which fields are ours.
const FIELD_MANAGER: &str = "doorward";
/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// Keeps the Services and EndpointSlices of Gateways as they should be, while this replica leads. Ends when nothing more
/// is seen.
pub(in crate::status) async fn keep(
    client: Client,
    config: GatewayServiceConfig,
    mut seen: watch::Receiver<Seen>,
    mut leadership: Leadership,
    refusals: watch::Sender<Refusals>,
) {
    loop {
        while !leadership.is_ours() {
            leadership.changed().await;
        }
        let lost = async {
            while leadership.is_ours() {
                leadership.changed().await;
            }
        };
        tokio::select! {
            () = lead(&client, &config, &mut seen, &refusals) => return,
            () = lost => {}
        }
    }
}

/// Ends when nothing more is seen.
async fn lead(
    client: &Client,
    config: &GatewayServiceConfig,
    seen: &mut watch::Receiver<Seen>,
    refusals: &watch::Sender<Refusals>,
) {
    let mut failing = Failing::default();
    let mut wait = RETRY_FIRST;
    // What another leader has written need not have come here yet.
    let mut written = loop {
        match live(client, config).await {
            Ok(written) => break written,
            Err(error) => failing.failed("the Services of Gateways", &error),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MOST);
    };
    failing.done("the Services of Gateways");
    let mut tried = Tried::default();
    loop {
        let now = seen.borrow_and_update().clone();
        forget(&mut written, &now, Instant::now());
        let Plan { actions, without_ports } = plan(&now, &written, config);
        let mut refused: Refusals = without_ports.into_iter().map(|gateway| (gateway, none_left(config))).collect();
        // When there is something to do again, though nothing has changed.
        let mut due: Option<Instant> = None;
        for action in actions {
            let what = action.to_string();
            let gateway = action.gateway().cloned();
            if let Some(at) = tried.not_before(&what, &action, Instant::now()) {
                due = due.into_iter().chain([at]).min();
            } else {
                let result = perform(client, config, action.clone()).await;
                let refusal = result.as_ref().err().and_then(Failure::refusal);
                let again = tried.note(&what, action, refusal, Instant::now());
                match result {
                    Ok(record) => {
                        failing.done(&what);
                        written.extend(record);
                    }
                    Err(error) => {
                        due = due.into_iter().chain([again]).min();
                        failing.failed(&what, &error);
                    }
                }
            }
            refused.extend(gateway.zip(tried.refusal(&what)));
        }
        refusals.send_if_modified(|told| {
            let is_news = *told != refused;
            *told = refused;
            is_news
        });
        tokio::select! {
            changed = seen.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}

fn none_left(config: &GatewayServiceConfig) -> String {
    let (first, last) = (config.ports.start(), config.ports.end());
    format!(
        "every container port from {first} to {last} is given; name more of them in gatewayApi.service.ports of the configuration"
    )
}

impl Action {
    /// Of which something is said where it fails.
    fn gateway(&self) -> Option<&ObjectName> {
        match self {
            Self::Apply { gateway, .. } => Some(gateway),
            Self::ApplySlice(_) | Self::Delete { .. } => None,
        }
    }
}

/// What was done last of each thing, or tried: what fails and what somebody keeps undoing is done less and less often.
#[derive(Default)]
struct Tried(BTreeMap<String, Try>);

struct Try {
    action: Action,
    refusal: Option<String>,
    wait: Duration,
    not_before: Instant,
}

impl Tried {
    /// None: now.
    fn not_before(&self, what: &str, action: &Action, now: Instant) -> Option<Instant> {
        let same = self.0.get(what).filter(|it| it.action == *action)?;
        Some(same.not_before).filter(|at| now < *at)
    }

    /// Returns when the same may be done again.
    fn note(&mut self, what: &str, action: Action, refusal: Option<String>, now: Instant) -> Instant {
        // What has stood for long was not undone.
        self.0.retain(|_, it| now < it.not_before + 10 * RETRY_MOST);
        let same = self.0.get(what).filter(|it| it.action == action);
        let wait = same.map_or(RETRY_FIRST, |it| (it.wait * 2).min(RETRY_MOST));
        let not_before = now + wait;
        self.0.insert(what.to_owned(), Try { action, refusal, wait, not_before });
        not_before
    }

    fn refusal(&self, what: &str) -> Option<String> {
        self.0.get(what)?.refusal.clone()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { service, .. } => write!(f, "Service {}", name_of(service)),
            Self::ApplySlice(slice) => {
                let (namespace, name) = key_of(&slice.metadata);
                write!(f, "EndpointSlice {namespace}/{name}")
            }
            Self::Delete { service, .. } => write!(f, "Service {service}"),
        }
    }
}

/// What could not be written, and why: each is said once, and that it is over.
#[derive(Default)]
struct Failing(BTreeMap<String, String>);

impl Failing {
    fn failed(&mut self, what: &str, error: &Failure) {
        let text = error.to_string();
        if self.0.get(what) != Some(&text) {
            warn!(what, error = text, "cannot be written; trying again");
            self.0.insert(what.to_owned(), text);
        }
    }

    fn done(&mut self, what: &str) {
        if self.0.remove(what).is_some() {
            info!(what, "is written again");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent,
    #[error("there is one of that name that is not this Gateway's own: rename one of them")]
    Foreign,
}

impl Failure {
    /// What the API server will say again. That somebody else has the name translation says.
    fn refusal(&self) -> Option<String> {
        match self {
            Self::Refused(kube::Error::Api(status))
                if (400..500).contains(&status.code) && !matches!(status.code, 401 | 409 | 429) =>
            {
                Some(status.message.clone())
            }
            Self::Refused(_) | Self::Silent | Self::Foreign => None,
        }
    }
}

async fn answered<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    Ok(timeout(PATIENCE, answer).await.map_err(|_| Failure::Silent)??)
}

/// What the Services record in the API server itself.
async fn live(client: &Client, config: &GatewayServiceConfig) -> Result<AllWritten, Failure> {
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let services = answered(Api::<Service>::all(client.clone()).list(&labels)).await?;
    Ok(services.items.iter().filter_map(|service| record(service, config)).collect())
}

fn record(service: &Service, config: &GatewayServiceConfig) -> Option<(Owner, Written)> {
    let written = Written { numbers: container_ports(service, config), at: Instant::now() };
    Some(((key_of(&service.metadata).0.to_owned(), owner_of(service)?.to_owned()), written))
}

/// What the API server has of a Gateway's container ports after that, where it is known.
async fn perform(
    client: &Client,
    config: &GatewayServiceConfig,
    action: Action,
) -> Result<Option<(Owner, Written)>, Failure> {
    match action {
        Action::Apply { owner, service, .. } => {
            let (namespace, name) = key_of(&service.metadata);
            let api = Api::<Service>::namespaced(client.clone(), namespace);
            // To apply is to take over. One that is there by now is seen before long, where it is this Gateway's.
            if service.metadata.uid.is_none()
                && let Some(there) = answered(api.get_opt(name)).await?
            {
                return if owner_of(&there) == Some(&owner.1) {
                    Ok(record(&there, config))
                } else {
                    Err(Failure::Foreign)
                };
            }
            let there = apply(&api, &*service).await?;
            info!(service = %name_of(&there), "the Service of a Gateway was written");
            Ok(record(&there, config))
        }
        Action::ApplySlice(slice) => {
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            apply(&Api::<EndpointSlice>::namespaced(client.clone(), namespace), &*slice).await?;
            Ok(None)
        }
        Action::Delete { service, uid } => {
            let api = Api::<Service>::namespaced(client.clone(), &service.namespace);
            let preconditions = Preconditions { uid: Some(uid), resource_version: None };
            let only_that = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match answered(api.delete(&service.name, &only_that)).await {
                Err(Failure::Refused(kube::Error::Api(status))) if status.code == 404 => Ok(None),
                deleted => deleted.map(|_| None),
            }
        }
    }
}

/// With the uid in it another object of that name is refused.
async fn apply<K>(api: &Api<K>, object: &K) -> Result<K, Failure>
where
    K: Resource + Clone + fmt::Debug + DeserializeOwned + Serialize,
{
    let name = object.meta().name.as_deref().unwrap_or_default();
    answered(api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceName;

    #[test]
    fn what_somebody_keeps_undoing_is_done_less_and_less_often_and_another_thing_at_once() {
        let action = |uid: &str| Action::Delete { service: ServiceName::new("shop", "home"), uid: uid.to_owned() };
        let (mut tried, start) = (Tried::default(), Instant::now());
        let mut now = start;
        let mut times = 0;
        while now < start + Duration::from_secs(3600) {
            match tried.not_before("home", &action("1"), now) {
                Some(at) => now = at,
                None => {
                    times += 1;
                    tried.note("home", action("1"), Some("no".to_owned()), now);
                }
            }
        }
        assert!((120..130).contains(&times), "{times}");
        assert_eq!(tried.refusal("home").as_deref(), Some("no"));
        assert_eq!(tried.not_before("home", &action("2"), now), None);
        // One that has stood for long begins anew.
        let later = now + 20 * RETRY_MOST;
        tried.note("other", action("2"), None, later);
        assert_eq!(tried.note("home", action("1"), None, later), later + RETRY_FIRST);
    }
}
