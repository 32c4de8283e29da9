//! What is written when, against an API server that is a table.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::Ordering::Relaxed},
};

use serde_json::json;

use super::*;
use crate::{
    gateway_api::ParentReference,
    problem::Problem,
    status::{Condition, Desired, ParentStatus, Status, Version},
};

const CONTROLLER: &str = "doorward.dev/gateway";

/// Objects with a version and a status, which are observed as by a watch; and what was sent.
#[derive(Clone, Default)]
struct Table(Arc<Shared>);

#[derive(Default)]
struct Shared {
    objects: Mutex<BTreeMap<ObjectName, (u64, Value)>>,
    sent: Mutex<Vec<(ObjectName, Value)>>,
    observed: Observed,
    /// What is answered instead.
    failure: Mutex<Option<Failure>>,
    /// The most that were under way at a time, and how many are.
    most: std::sync::atomic::AtomicUsize,
    now: std::sync::atomic::AtomicUsize,
}

impl Table {
    /// As somebody else writes it.
    fn set(&self, object: &ObjectName, status: Value) {
        let mut objects = self.0.objects.lock().expect("nobody panics with it");
        let version = objects.get(object).map_or(1, |(version, _)| version + 1);
        self.0.observed.set(object.clone(), observation(version, &status));
        objects.insert(object.clone(), (version, status));
    }

    fn status(&self, object: &ObjectName) -> Value {
        self.0.objects.lock().expect("nobody panics with it").get(object).map(|it| it.1.clone()).unwrap_or_default()
    }

    fn sent(&self) -> usize {
        self.0.sent.lock().expect("nobody panics with it").len()
    }

    fn fail(&self, failure: Option<Failure>) {
        *self.0.failure.lock().expect("nobody panics with it") = failure;
    }
}

impl Target for Table {
    async fn patch(&self, object: &ObjectName, body: Value) -> Result<Observation, Failure> {
        self.0.most.fetch_max(self.0.now.fetch_add(1, Relaxed) + 1, Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.0.now.fetch_sub(1, Relaxed);
        self.0.sent.lock().expect("nobody panics with it").push((object.clone(), body.clone()));
        if let Some(failure) = self.0.failure.lock().expect("nobody panics with it").clone() {
            return Err(failure);
        }
        let mut objects = self.0.objects.lock().expect("nobody panics with it");
        let (version, status) = objects.get_mut(object).ok_or(Failure::Gone)?;
        let read = body["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
        if read != Some(*version) {
            return Err(Failure::Conflict);
        }
        *version += 1;
        *status = body["status"].clone();
        Ok(observation(*version, status))
    }
}

fn observation(version: u64, status: &Value) -> Observation {
    let status = if status.is_null() { String::new() } else { status.to_string() };
    Observation {
        resource_version: version.to_string().into(),
        status: status.into(),
        generation: 1,
        ..Observation::default()
    }
}

struct Running {
    table: Table,
    newest: watch::Sender<Option<Arc<Findings>>>,
    until: watch::Sender<Option<Instant>>,
}

/// A writer that leads.
fn running() -> Running {
    let (table, newest) = (Table::default(), watch::Sender::new(None));
    let until = watch::Sender::new(None);
    let leadership = Leadership::of(until.subscribe());
    tokio::spawn(write(table.clone(), table.0.observed.clone(), newest.subscribe(), leadership, CONTROLLER.into()));
    let running = Running { table, newest, until };
    running.lead(true);
    running
}

impl Running {
    fn lead(&self, leads: bool) {
        self.until.send_replace(leads.then(|| Instant::now() + Duration::from_secs(1_000_000)));
    }

    fn want(&self, routes: &[(&ObjectName, &'static str)]) {
        self.want_generation(routes, 1, Vec::new());
    }

    fn want_generation(&self, routes: &[(&ObjectName, &'static str)], generation: i64, problems: Vec<Problem>) {
        let desired = |(object, reason): &(&ObjectName, &'static str)| Desired {
            object: (*object).clone(),
            version: Version { generation, ..Version::default() },
            status: Status::Route {
                parents: vec![ParentStatus {
                    parent: home(),
                    conditions: vec![Condition::fails("Accepted", reason, "")],
                }],
            },
        };
        self.newest.send_replace(Some(Arc::new(Findings::new(routes.iter().map(desired).collect(), problems))));
    }

    /// The reason in the entry of ours.
    fn reason(&self, object: &ObjectName) -> Option<String> {
        let status = self.table.status(object);
        let ours = status["parents"].as_array()?.iter().find(|it| it["controllerName"] == CONTROLLER)?.clone();
        Some(ours["conditions"][0]["reason"].as_str()?.to_owned())
    }
}

fn home() -> ParentReference {
    ParentReference { name: "home".to_owned(), ..ParentReference::default() }
}

fn route(name: &str) -> ObjectName {
    ObjectName::new("HTTPRoute", "default", name)
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_within_a_second_and_not_again() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(1).await;
    assert_eq!((running.reason(&app).as_deref(), running.table.sent()), (Some("NoMatchingParent"), 1));
    running.want(&[(&app, "NoMatchingParent")]);
    // A watch tells of every write, of our own too.
    running.table.set(&app, running.table.status(&app));
    seconds(3600).await;
    assert_eq!(running.table.sent(), 1);
    running.want(&[(&app, "NotAllowedByListeners")]);
    seconds(1).await;
    assert_eq!((running.reason(&app).as_deref(), running.table.sent()), (Some("NotAllowedByListeners"), 2));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_writes_nothing_and_whoever_begins_to_lead_writes_what_is_missing() {
    let (running, app) = (running(), route("app"));
    running.lead(false);
    running.table.set(&app, Value::Null);
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(60).await;
    assert_eq!(running.table.sent(), 0);
    running.lead(true);
    seconds(1).await;
    assert_eq!(running.table.sent(), 1);
    // A lease that has run out without a word counts no more than one that was lost.
    running.until.send_replace(Some(Instant::now() + Duration::from_secs(5)));
    seconds(6).await;
    running.want(&[(&app, "NotAllowedByListeners")]);
    seconds(60).await;
    assert_eq!(running.table.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_route_that_names_us_no_more_loses_our_entry_and_no_other() {
    let (running, app, other) = (running(), route("app"), route("other"));
    let theirs = json!({"parentRef": {"name": "home"}, "controllerName": "example.com/other", "conditions": []});
    running.table.set(&app, json!({"parents": [theirs]}));
    running.table.set(&other, json!({"parents": [theirs]}));
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(1).await;
    assert_eq!(running.table.status(&app)["parents"][0], theirs);
    assert!(running.reason(&app).is_some());
    // While Gateways cannot be listed nobody knows.
    let error = "conversion webhook failed".to_owned();
    let kind = ObjectName::new("Cluster", "", "Gateway");
    running.want_generation(&[], 1, vec![Problem::new(&kind, Reason::KindNotListed { error })]);
    seconds(60).await;
    assert!(running.reason(&app).is_some());
    running.want(&[]);
    seconds(1).await;
    assert_eq!(running.table.status(&app), json!({"parents": [theirs]}));
    assert_eq!(running.table.sent(), 2, "and nothing of the other");
}

#[tokio::test(start_paused = true)]
async fn before_the_first_translation_nothing_is_withdrawn() {
    let (running, app) = (running(), route("app"));
    let status = json!({"parents": [{"parentRef": {"name": "home"}, "controllerName": CONTROLLER, "conditions": []}]});
    running.table.set(&app, status.clone());
    seconds(60).await;
    assert_eq!((running.table.sent(), running.table.status(&app)), (0, status));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_faster_is_written_after_and_not_over() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    running.want(&[(&app, "NoMatchingParent")]);
    // It is under way by now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let theirs = json!({"parentRef": {"name": "home"}, "controllerName": "example.com/other", "conditions": []});
    running.table.set(&app, json!({"parents": [theirs]}));
    seconds(1).await;
    assert_eq!(running.table.status(&app)["parents"][0], theirs);
    assert_eq!((running.reason(&app).as_deref(), running.table.sent()), (Some("NoMatchingParent"), 2));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_has_changed_waits_for_its_translation() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    running.table.0.observed.set(app.clone(), Observation { generation: 2, ..observation(2, &Value::Null) });
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(60).await;
    assert_eq!(running.table.sent(), 0);
    running.want_generation(&[(&app, "NoMatchingParent")], 2, Vec::new());
    seconds(1).await;
    assert_eq!(running.table.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_made_anew_waits_for_its_translation() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    let new = Observation { uid: "2".into(), ..observation(1, &Value::Null) };
    running.table.0.observed.set(app.clone(), new);
    // Of the one before, which had been changed more often.
    running.want_generation(&[(&app, "NoMatchingParent")], 7, Vec::new());
    seconds(60).await;
    assert_eq!(running.table.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_less_and_less_often_and_what_changes_again_at_once() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    running.table.fail(Some(Failure::Other("no space".to_owned())));
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(3600).await;
    let sent = running.table.sent();
    assert!((60..70).contains(&sent), "{sent}");
    running.table.fail(None);
    running.want(&[(&app, "NotAllowedByListeners")]);
    seconds(1).await;
    assert_eq!(running.reason(&app).as_deref(), Some("NotAllowedByListeners"));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_written_is_asked_for_once_in_a_while_and_written_when_it_may_be() {
    let running = running();
    let routes: Vec<ObjectName> = (0..500).map(|number| route(&number.to_string())).collect();
    running.table.fail(Some(Failure::Forbidden("no".to_owned())));
    for route in &routes {
        running.table.set(route, Value::Null);
    }
    running.want(&routes.iter().map(|route| (route, "NoMatchingParent")).collect::<Vec<_>>());
    seconds(300).await;
    let sent = running.table.sent();
    assert!(sent < 15 * MOST_AT_ONCE, "{sent}");
    running.table.fail(None);
    seconds(REFUSED.as_secs() + 60).await;
    assert!(routes.iter().all(|route| running.reason(route).is_some()));
    assert!(running.table.0.most.load(Relaxed) <= MOST_AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_keeps_undoing_is_written_less_and_less_often() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    running.want(&[(&app, "NoMatchingParent")]);
    for _ in 0..36_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if running.reason(&app).is_some() {
            running.table.set(&app, json!({"parents": []}));
        }
    }
    let sent = running.table.sent();
    assert!((50..80).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_forgotten() {
    let (running, app) = (running(), route("app"));
    running.table.set(&app, Value::Null);
    // What is observed while it is written is looked at once more.
    seconds(1).await;
    running.table.0.objects.lock().expect("nobody panics with it").clear();
    running.want(&[(&app, "NoMatchingParent")]);
    seconds(3600).await;
    assert_eq!(running.table.sent(), 1);
    running.table.set(&app, json!({"parents": []}));
    seconds(1).await;
    assert!(running.reason(&app).is_some());
}
