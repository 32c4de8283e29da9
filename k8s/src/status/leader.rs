//! Which of several replicas writes: the holder of a Lease.
//!
//! Clocks of different machines are never compared. Who waits for another's lease counts, by its own clock, from the
//! moment when it saw the lease change; the holder counts from before it asked, and gives up earlier. So there are
//! never two, however late an answer comes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::target::said;

/// 1 while this replica writes statuses.
pub const LEADER: &str = "doorward_leader";

/// How long nobody else may take a lease that was renewed.
const LEASE: Duration = Duration::from_secs(15);
/// How long after it was renewed its holder counts on it.
const COUNTED_ON: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(5);
/// How soon one looks again who waits, or who could not renew.
const LOOK: Duration = Duration::from_secs(2);
/// How soon one looks again who was not the first.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How soon one looks again who has no right to.
const REFUSED: Duration = Duration::from_secs(30);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Until when this replica leads, as it stands now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    pub fn is_ours(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns after each renewal and each loss; never once the campaign has ended.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// For whoever tests what a leader does.
    #[cfg(test)]
    pub(super) fn of(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }
}

/// A campaign that runs.
pub(super) struct Campaign {
    pub(super) leadership: Leadership,
    leave: CancellationToken,
    task: JoinHandle<()>,
}

impl Campaign {
    /// For the lease `name` in the client's own namespace, as `me`, which no other replica may be called.
    pub(super) fn start(client: Client, name: String, me: String) -> Self {
        metrics::describe_gauge!(LEADER, "1 while this replica writes statuses");
        metrics::gauge!(LEADER).set(0.0);
        let (until, leadership) = watch::channel(None);
        let leave = CancellationToken::new();
        let task = tokio::spawn(campaign(Api::default_namespaced(client), name, me, until, leave.clone()));
        Self { leadership: Leadership(leadership), leave, task }
    }

    /// Gives the lease back, so that another may take it at once.
    pub(super) async fn leave(self) {
        self.leave.cancel();
        if timeout(PATIENCE, self.task).await.is_err() {
            warn!("the lease is not given back: the API server does not answer");
        }
    }
}

/// What to do about a lease that was read.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// It was another's, or nobody's.
    Take,
    Renew,
    Wait,
}

/// What one of several candidates remembers. Pure.
struct Candidate {
    me: String,
    /// The version of the lease that was seen last, and when it was first seen.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    fn step(&mut self, lease: Option<&Lease>, now: Instant) -> Step {
        let Some(lease) = lease else {
            // Whoever held it need not know yet that somebody has deleted it.
            let is_counted_on = self.seen.as_ref().is_some_and(|(_, since)| now.duration_since(*since) < LEASE);
            return if is_counted_on { Step::Wait } else { Step::Create };
        };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder == self.me {
            return Step::Renew;
        }
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                self.seen = Some((version, now));
                now
            }
        };
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
        // Whatever is written there, a holder counts on it for as long as we would.
        let is_over = now.duration_since(since) >= Duration::from_secs(seconds.unwrap_or_default()).max(LEASE);
        if holder.is_empty() || is_over { Step::Take } else { Step::Wait }
    }

    /// The lease as it stands once it is ours, `before` and now.
    fn held(&self, before: Option<Lease>, name: &str, now: Timestamp) -> Lease {
        let mut lease = before.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Lease::default()
        });
        let mut spec = lease.spec.take().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&*self.me) {
            let transitions = spec.lease_transitions.map_or(0, |before| before.saturating_add(1));
            let acquire_time = Some(MicroTime(now));
            let holder_identity = Some(self.me.clone());
            spec = LeaseSpec { holder_identity, acquire_time, lease_transitions: Some(transitions), ..spec };
        }
        spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
        spec.renew_time = Some(MicroTime(now));
        lease.spec = Some(spec);
        lease
    }
}

/// The lease as it is left: nobody's.
fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    // An empty name rather than none, as others that know Leases leave it.
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(now));
    lease
}

async fn campaign(
    leases: Api<Lease>,
    name: String,
    me: String,
    until: watch::Sender<Option<Instant>>,
    leave: CancellationToken,
) {
    let mut candidate = Candidate { me, seen: None };
    // As the API server told it last, while it is ours.
    let mut held: Option<Lease> = None;
    let mut complaint: Option<String> = None;
    loop {
        let asked = Instant::now();
        let outcome = timeout(PATIENCE, hold(&leases, &name, &mut candidate, held.clone())).await;
        let wait = match outcome {
            Ok(Ok(Some(lease))) => {
                held = Some(lease);
                complaint = None;
                lead(&until, Some(asked + COUNTED_ON));
                RENEW
            }
            Ok(Ok(None)) => {
                (held, complaint) = (None, None);
                lead(&until, None);
                LOOK
            }
            // Somebody was faster; what stands there now is read anew.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                held = None;
                AT_ONCE
            }
            // Somebody has deleted it.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && held.is_some() => {
                held = None;
                AT_ONCE
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                let error = status.message.clone();
                complain(
                    &mut complaint,
                    error,
                    "no statuses are written; grant `get`, `create` and `update` on leases",
                );
                REFUSED
            }
            Ok(Err(error)) => {
                complain(&mut complaint, said(&error), "the lease cannot be had now");
                LOOK
            }
            Err(_) => {
                complain(&mut complaint, "no answer".to_owned(), "the lease cannot be had now");
                LOOK
            }
        };
        let next = Instant::now() + wait;
        loop {
            let ends = *until.borrow();
            tokio::select! {
                () = leave.cancelled() => {
                    if until.send_replace(None).is_some() {
                        metrics::gauge!(LEADER).set(0.0);
                        give_back(&leases, &name, held).await;
                    }
                    return;
                }
                () = sleep_until(ends.unwrap_or(next)), if ends.is_some_and(|ends| ends < next) => lead(&until, None),
                () = sleep_until(next) => break,
            }
        }
    }
}

/// The lease, if it is ours now. One that was renewed before needs not be read again.
async fn hold(
    leases: &Api<Lease>,
    name: &str,
    candidate: &mut Candidate,
    held: Option<Lease>,
) -> kube::Result<Option<Lease>> {
    let parameters = PostParams::default();
    let current = match held {
        Some(held) => Some(held),
        None => leases.get_opt(name).await?,
    };
    match candidate.step(current.as_ref(), Instant::now()) {
        Step::Create => {
            let lease = candidate.held(None, name, Timestamp::now());
            leases.create(&parameters, &lease).await.map(Some)
        }
        // The version in it makes sure that nobody was faster.
        Step::Renew | Step::Take => {
            let lease = candidate.held(current, name, Timestamp::now());
            leases.replace(name, &parameters, &lease).await.map(Some)
        }
        Step::Wait => Ok(None),
    }
}

async fn give_back(leases: &Api<Lease>, name: &str, held: Option<Lease>) {
    let Some(lease) = held else { return };
    match leases.replace(name, &PostParams::default(), &released(lease, Timestamp::now())).await {
        Ok(_) => info!(lease = name, "given back"),
        Err(error) => warn!(
            lease = name,
            error = said(&error),
            "not given back; another replica takes it in {} s",
            LEASE.as_secs()
        ),
    }
}

fn lead(until: &watch::Sender<Option<Instant>>, end: Option<Instant>) {
    let before = until.send_replace(end);
    if before.is_some() != end.is_some() {
        metrics::gauge!(LEADER).set(if end.is_some() { 1.0 } else { 0.0 });
        info!("{}", if end.is_some() { "leading: this replica writes statuses" } else { "not leading any more" });
    }
}

/// Once, until it is another.
fn complain(said: &mut Option<String>, error: String, what: &str) {
    if said.as_ref() != Some(&error) {
        warn!(%error, "{what}");
        *said = Some(error);
    }
}

/// The name of this pod, which a container that begins again in it has too, and so something that no other has.
pub(super) fn identity() -> String {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let host = host.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("doorward").to_owned();
    // A generator that fails gives zeroes, and the name alone is enough then.
    let mut random = [0_u8; 4];
    let _ = SystemRandom::new().fill(&mut random);
    format!("{host}-{:08x}", u32::from_be_bytes(random))
}

/// The name of the lease: who writes for one controller need not wait for who writes for another.
pub(super) fn lease_name(controller: &str) -> String {
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        it @ ('a'..='z' | '0'..='9' | '.') => it,
        _ => '-',
    };
    let name: String = controller.chars().map(letter).take(253).collect();
    // A part of a name begins and ends with a letter or a number.
    let parts = name.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join(".");
    if name.is_empty() { "doorward".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
