//! A Warning on each object that something is wrong with, as `kubectl describe` shows it.
//!
//! The API server forgets an Event after an hour. One that still holds is published again then, and by nobody before:
//! its name is made of what it says, so that a leader that has just begun meets those of the one before.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use super::{
    Findings,
    leader::Leadership,
    observed::Observed,
    patch::shortened,
    target::{resource, said},
};
use crate::problem::Problem;

/// Two Events are this far apart: somebody may break a thousand objects at once.
const PACE: Duration = Duration::from_millis(200);
/// After this an Event is gone that the API server keeps for an hour.
const AGAIN: Duration = Duration::from_secs(61 * 60);
/// How soon it is tried again to publish any, where that fails.
const RETRY: Duration = Duration::from_secs(30);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a name may have beside the hash.
const LONGEST_NAME: usize = 230;

/// Runs for ever. `controller` and `me`: who says it.
pub(super) async fn publish(
    client: Client,
    observed: Observed,
    mut findings: watch::Receiver<Option<Arc<Findings>>>,
    mut leadership: Leadership,
    controller: Arc<str>,
    me: String,
) {
    let mut told: HashMap<u64, Instant> = HashMap::new();
    let mut due: VecDeque<Problem> = VecDeque::new();
    let mut next_at = Instant::now();
    let mut is_failing = false;
    let mut leads = false;
    // When the first of those that were told is gone.
    let mut gone_at = Instant::now() + AGAIN;
    loop {
        tokio::select! {
            changed = findings.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = leadership.changed() => {
                if std::mem::replace(&mut leads, leadership.is_ours()) == leads {
                    continue;
                }
            }
            () = sleep_until(gone_at) => {}
            () = sleep_until(next_at), if leads && !due.is_empty() => {
                let Some(problem) = due.pop_front() else { continue };
                let Some(event) = event(&problem, &observed, &controller, &me, Timestamp::now()) else { continue };
                next_at = Instant::now() + PACE;
                match create(&client, event).await {
                    Ok(()) => {
                        is_failing = false;
                        told.insert(hash(&problem), Instant::now());
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut is_failing, true) {
                            warn!(%error, "Events cannot be published; `kubectl describe` does not show what is wrong. Without the right to, grant `create` on events of events.k8s.io");
                        }
                        due.push_front(problem);
                        next_at = Instant::now() + RETRY;
                    }
                }
                continue;
            }
        }
        let now = Instant::now();
        let newest = findings.borrow_and_update().clone();
        let problems = newest.iter().flat_map(|newest| &newest.problems);
        let holding: HashMap<u64, &Problem> = problems.map(|problem| (hash(problem), problem)).collect();
        // What was solved and comes again is news.
        told.retain(|hash, at| holding.contains_key(hash) && now < *at + AGAIN);
        due = newest.iter().flat_map(|it| &it.problems).filter(|it| !told.contains_key(&hash(it))).cloned().collect();
        gone_at = told.values().min().copied().unwrap_or(now) + AGAIN;
    }
}

fn hash(problem: &Problem) -> u64 {
    let mut hasher = DefaultHasher::new();
    problem.to_string().hash(&mut hasher);
    hasher.finish()
}

/// None for what is no observed object: for a file, or a kind as a whole.
fn event(problem: &Problem, observed: &Observed, controller: &str, me: &str, now: Timestamp) -> Option<Event> {
    let object = &problem.object;
    let resource = resource(object.kind)?;
    let observation = observed.get(object)?;
    // Of a cluster-wide object they are where everybody looks for them.
    let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
    let note = shortened(&problem.reason.to_string());
    let mut hasher = DefaultHasher::new();
    (&observation.uid, problem.reason.name(), &note, controller).hash(&mut hasher);
    let cut = object.name.get(..LONGEST_NAME).unwrap_or(&object.name);
    let name = format!("{}.{:016x}", cut.trim_end_matches(['.', '-']), hasher.finish());
    Some(Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() },
        action: Some("Translate".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(problem.reason.name().to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: (!object.namespace.is_empty()).then(|| object.namespace.to_string()),
            name: Some(object.name.to_string()),
            uid: Some(observation.uid.to_string()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(me.chars().take(128).collect()),
        type_: Some("Warning".to_owned()),
        ..Event::default()
    })
}

/// # Errors
/// What stands in the way of every Event.
async fn create(client: &Client, event: Event) -> Result<(), String> {
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    match timeout(PATIENCE, events.create(&PostParams::default(), &event)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            // It was told within the hour.
            409 => Ok(()),
            // The namespace is on its way out, or gone.
            403 if status.message.contains("is being terminated") => Ok(()),
            // Of this one, or its namespace is gone.
            400..=499 if !matches!(status.code, 401 | 403 | 429) => {
                debug!(error = %status.message, "an Event was refused");
                Ok(())
            }
            _ => Err(status.message.clone()),
        },
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ObjectName, ServiceName},
        problem::Reason,
        status::observed::Observation,
    };

    fn problem(name: &str, service: &str) -> Problem {
        let service = ServiceName::new("default", service);
        Problem::new(&ObjectName::new("HTTPRoute", "default", name), Reason::ServiceMissing { service })
    }

    fn made(problem: &Problem, uid: &str) -> Option<Event> {
        let observed = Observed::default();
        observed.set(problem.object.clone(), Observation { uid: uid.into(), ..Observation::default() });
        event(problem, &observed, "doorward.dev/gateway", "router-1", Timestamp::UNIX_EPOCH)
    }

    fn name(problem: &Problem, uid: &str) -> String {
        made(problem, uid).and_then(|event| event.metadata.name).expect("a name")
    }

    #[test]
    fn an_event_says_the_problem_of_the_object_and_is_named_after_what_it_says() {
        let event = made(&problem("app", "gone"), "7d1a").expect("an observed kind");
        let regarding = event.regarding.expect("an object");
        assert_eq!(
            (regarding.api_version.as_deref(), regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("gateway.networking.k8s.io/v1"), Some("HTTPRoute"), Some("7d1a"))
        );
        assert_eq!(event.reason.as_deref(), Some("ServiceMissing"));
        assert_eq!(event.note.as_deref(), Some("references Service default/gone, which does not exist"));
        // Another leader meets it, and what is another problem, or another object's, has another name.
        let first = name(&problem("app", "gone"), "7d1a");
        assert_eq!(first, name(&problem("app", "gone"), "7d1a"));
        for other in [
            name(&problem("app", "gone"), "8e2b"),
            name(&problem("app", "other"), "7d1a"),
            name(&problem("api", "gone"), "7d1a"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_long_name_is_cut_to_one_that_the_api_takes() {
        let long = format!("{}.{}", "a".repeat(LONGEST_NAME - 1), "b".repeat(10));
        let name = name(&problem(&long, "gone"), "7d1a");
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }

    #[test]
    fn of_what_is_no_object_there_is_no_event() {
        let object = ObjectName::new("Cluster", "", "Gateway");
        let error = "conversion webhook failed".to_owned();
        assert!(made(&Problem::new(&object, Reason::KindNotListed { error }), "7d1a").is_none());
    }
}
