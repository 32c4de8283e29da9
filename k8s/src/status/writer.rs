//! Writes what differs, as long as this replica leads: a few statuses at a time, and no more often than needed.
//!
//! Nothing here is on the way of a request. Whoever has something to say sends the whole of it; what has changed since,
//! there or in the cluster, is looked at again, and nothing else is.

mod queue;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use self::queue::Queue;
use super::{
    Findings,
    leader::Leadership,
    observed::{Observation, Observed},
    patch::{patch, withdrawal},
};
use crate::{model::ObjectName, problem::Reason};

/// Statuses that were sent, by kind and by what came of it.
pub const WRITES: &str = "doorward_status_writes_total";

/// So many are on their way at a time …
const MOST_AT_ONCE: usize = 8;
/// … and they begin this far apart: the API server has others to serve.
const PACE: Duration = Duration::from_millis(10);
/// An object whose status cannot be written is tried again after this, then after twice as long …
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// … and so on up to this. So is one whose status somebody else keeps undoing.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// How soon a kind is tried again that may not be written.
const REFUSED: Duration = Duration::from_secs(30);

/// Where statuses go.
pub(super) trait Target: Clone + Send + Sync + 'static {
    /// Sends a merge patch of the subresource `status`. Returns what then stands there.
    fn patch(&self, object: &ObjectName, body: Value) -> impl Future<Output = Result<Observation, Failure>> + Send;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// 409: somebody has written since it was read.
    Conflict,
    /// 403, with the resource that a right is missing for.
    Forbidden(String),
    /// 404
    Gone,
    /// Whatever else; it may pass.
    Other(String),
}

/// Runs for ever. `controller`: whose entries in a route are ours.
pub(super) async fn write(
    target: impl Target,
    observed: Observed,
    mut wanted: watch::Receiver<Option<Arc<Findings>>>,
    mut leadership: Leadership,
    controller: Arc<str>,
) {
    metrics::describe_counter!(WRITES, "Statuses that were sent to the API server, by kind and result");
    let mut writer = Writer { observed, controller, wanted: None, tracks: HashMap::new(), refused: HashMap::new() };
    let mut queue = Queue::default();
    let mut sent = JoinSet::new();
    let mut leads = false;
    let mut next_at = Instant::now();
    loop {
        let now = Instant::now();
        queue.wake(now);
        let may_send = leads && leadership.is_ours() && writer.wanted.is_some() && sent.len() < MOST_AT_ONCE;
        if may_send
            && now >= next_at
            && let Some(object) = queue.take()
        {
            // A thousand objects may have nothing to be written.
            tokio::task::yield_now().await;
            let Some((body, hash)) = writer.to_write(&object) else { continue };
            if let Some(at) = writer.not_before(&object, hash).filter(|at| *at > now) {
                queue.delay(at, object);
            } else {
                next_at = now + PACE;
                queue.begin(object.clone());
                let target = target.clone();
                sent.spawn(async move {
                    let result = target.patch(&object, body).await;
                    (object, hash, result)
                });
            }
            continue;
        }
        let due = if may_send && !queue.is_empty() { Some(next_at) } else { queue.next_due() };
        tokio::select! {
            () = writer.observed.changed() => {
                let changed = writer.observed.take_changed();
                writer.forget_the_gone(&changed);
                if leads {
                    queue.add(changed);
                }
            }
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let new = wanted.borrow_and_update().clone();
                let changed = writer.replace(new);
                if leads {
                    queue.add(changed);
                }
            }
            () = leadership.changed() => {
                let led = std::mem::replace(&mut leads, leadership.is_ours());
                if leads && !led {
                    queue.add(writer.observed.names());
                } else if !leads {
                    queue.clear();
                }
            }
            Some(Ok((object, hash, result))) = sent.join_next(), if !sent.is_empty() => {
                queue.end(&object);
                if let Some(at) = writer.done(&object, hash, result) {
                    queue.delay(at, object);
                }
            }
            () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
        }
    }
}

struct Writer {
    observed: Observed,
    controller: Arc<str>,
    wanted: Option<Arc<Findings>>,
    /// Of objects that were written.
    tracks: HashMap<ObjectName, Track>,
    /// Kinds that may not be written, and when they are tried again.
    refused: HashMap<&'static str, Instant>,
}

/// How it went with one object.
struct Track {
    /// Of what was written last.
    hash: u64,
    /// How often that was not the end of it: it failed, or somebody has undone it.
    repeated: u32,
    not_before: Instant,
}

impl Track {
    /// Not any more when it has stood for long.
    fn is_fresh(&self, now: Instant) -> bool {
        now < self.not_before + 10 * RETRY_MOST
    }
}

impl Writer {
    /// Returns the objects that other things are said of.
    fn replace(&mut self, new: Option<Arc<Findings>>) -> BTreeSet<ObjectName> {
        let now = Instant::now();
        self.tracks.retain(|_, track| track.is_fresh(now));
        let old = std::mem::replace(&mut self.wanted, new);
        let Some(new) = &self.wanted else { return BTreeSet::new() };
        let Some(old) = old else { return self.observed.names().into_iter().collect() };
        let differing = |a: &Findings, b: &Findings| -> Vec<ObjectName> {
            a.statuses.iter().filter(|it| b.of(&it.object) != Some(it)).map(|it| it.object.clone()).collect()
        };
        let mut changed: BTreeSet<ObjectName> = differing(&old, new).into_iter().chain(differing(new, &old)).collect();
        // While a kind could not be listed nothing was withdrawn.
        if !is_whole(&old) && is_whole(new) {
            changed.extend(self.observed.names());
        }
        changed
    }

    /// Of what has that hash: something else is new, whatever became of the last.
    fn not_before(&self, object: &ObjectName, hash: u64) -> Option<Instant> {
        let kind = self.refused.get(object.kind).copied();
        self.tracks
            .get(object)
            .filter(|track| track.hash == hash)
            .map(|track| track.not_before)
            .into_iter()
            .chain(kind)
            .max()
    }

    /// The body to send, and a hash of what is meant by it. None when nothing is to be written now.
    fn to_write(&self, object: &ObjectName) -> Option<(Value, u64)> {
        let wanted = self.wanted.as_ref()?;
        let observation = self.observed.get(object)?;
        let Some(desired) = wanted.of(object) else {
            let body = withdrawal(&observation, &self.controller).filter(|_| is_whole(wanted))?;
            return Some((body, 0));
        };
        // What was translated is older than what stands there, or was another object: another translation is on its way.
        if desired.version.uid != observation.uid || desired.version.generation < observation.generation {
            return None;
        }
        let body = patch(&observation, desired, &self.controller, Timestamp::now())?;
        let mut hasher = DefaultHasher::new();
        desired.hash(&mut hasher);
        Some((body, hasher.finish()))
    }

    /// Returns when the object is to be looked at again, whether it changes before or not.
    fn done(&mut self, object: &ObjectName, hash: u64, result: Result<Observation, Failure>) -> Option<Instant> {
        let now = Instant::now();
        let said = match &result {
            Ok(_) => "written",
            Err(Failure::Conflict) => "conflict",
            Err(Failure::Forbidden(_)) => "forbidden",
            Err(Failure::Gone) => "gone",
            Err(Failure::Other(_)) => "failed",
        };
        metrics::counter!(WRITES, "kind" => object.kind, "result" => said).increment(1);
        match result {
            Ok(observation) => {
                self.repeat(object, hash, now);
                if self.refused.remove(object.kind).is_some() {
                    info!(kind = object.kind, "statuses may be written again");
                }
                self.observed.set(object.clone(), observation);
                None
            }
            // Whoever was faster is seen in a moment; this is for when the watch has stopped.
            Err(Failure::Conflict) => Some(now + RETRY_FIRST * 5),
            Err(Failure::Gone) => {
                self.tracks.remove(object);
                None
            }
            Err(Failure::Forbidden(error)) => {
                if self.refused.insert(object.kind, now + REFUSED).is_none() {
                    warn!(kind = object.kind, %error, "statuses may not be written; grant `patch` on the subresource `status`");
                }
                Some(now + REFUSED)
            }
            Err(Failure::Other(error)) => {
                let is_news = self.tracks.get(object).is_none_or(|track| track.hash != hash);
                let at = self.repeat(object, hash, now).max(now + RETRY_FIRST);
                if is_news {
                    warn!(%object, %error, "the status cannot be written; trying again");
                }
                Some(at)
            }
        }
    }

    /// Notes that it was written or tried. Returns when it may be so again.
    fn repeat(&mut self, object: &ObjectName, hash: u64, now: Instant) -> Instant {
        let known = self.tracks.get(object).filter(|track| track.hash == hash && track.is_fresh(now));
        let repeated = known.map_or(0, |track| track.repeated.saturating_add(1));
        let wait = match repeated {
            0 => Duration::ZERO,
            times => RETRY_FIRST.saturating_mul(2_u32.saturating_pow(times - 1)).min(RETRY_MOST),
        };
        let not_before = now + wait;
        self.tracks.insert(object.clone(), Track { hash, repeated, not_before });
        not_before
    }

    fn forget_the_gone(&mut self, changed: &BTreeSet<ObjectName>) {
        for object in changed.iter().filter(|object| self.observed.get(object).is_none()) {
            self.tracks.remove(object);
        }
    }
}

/// Whether everything was listed that routes are attached to: of what is not known nobody says that it is not there.
fn is_whole(wanted: &Findings) -> bool {
    !wanted.problems.iter().any(|problem| matches!(problem.reason, Reason::KindNotListed { .. }))
}

#[cfg(test)]
mod tests;
