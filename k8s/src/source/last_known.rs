//! What was last known of a cluster, kept in a file: who starts while the API server is away serves that.
//!
//! Every update passes [`keep`] on its way to the reader. A source sends no snapshot before all is listed (of a kind
//! that cannot be, what was last known stands in), so a cluster of which only a part is known yet never replaces what
//! is in the file.

mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::file::{Checksum, Contents};
use super::{
    Followed, Kinds, Update,
    object::{Kind, Object},
};
use crate::{
    problem::{Problem, Reason},
    snapshot::Snapshot,
    telemetry,
};

/// When what is served was sent by the source; in seconds since 1970. Of a restored state: when it was last known to be
/// what the cluster has.
pub const TIMESTAMP: &str = "doorward_snapshot_timestamp_seconds";
/// 1 while what is served comes from the file, 0 once it comes from the source.
pub const RESTORED: &str = "doorward_snapshot_restored";
pub const WRITE_FAILURES: &str = "doorward_state_write_failures_total";

/// Two writes have at least this between them: a cluster that starts changes all the time.
const PAUSE: Duration = Duration::from_secs(5);
/// How soon a write that has failed is tried again, if nothing changes before.
const RETRY: Duration = Duration::from_secs(60);
/// How old the file's time may become while nothing changes.
const REFRESH: Duration = Duration::from_secs(3600);
/// Who leaves does not wait longer for a disk.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What a file gave.
pub(super) struct Restored {
    snapshot: Arc<Snapshot>,
    /// What the cluster had then.
    pub(super) known: BTreeMap<Kind, Vec<Object>>,
    on_disk: OnDisk,
}

/// What the file holds.
#[derive(Clone, Copy, Debug)]
struct OnDisk {
    as_of: SystemTime,
    objects: Checksum,
    size: u64,
}

/// None, with a word in the log, where there is no file or nothing in it can be used.
pub(super) async fn restore(path: &Path, kinds: Kinds) -> Option<Restored> {
    let path = path.to_owned();
    // A file may be large or slow, and a task that blocks holds up others.
    tokio::task::spawn_blocking(move || restore_now(&path, kinds)).await.ok()?
}

fn restore_now(path: &Path, kinds: Kinds) -> Option<Restored> {
    file::tidy(path);
    match file::read(path) {
        Ok(Some(contents)) => Some(restored(path, contents, kinds)),
        Ok(None) => {
            debug!(file = %path.display(), "no last known state");
            None
        }
        Err(error) => {
            warn!(file = %path.display(), "the last known state cannot be used: {error}; going on without it");
            None
        }
    }
}

fn restored(path: &Path, contents: Contents, kinds: Kinds) -> Restored {
    let Contents { as_of, documents, unknown, objects: checksum, size } = contents;
    let (mut objects, mut problems) = (Vec::new(), Vec::new());
    for document in documents {
        match (document.name, document.error) {
            (_, None) => objects.extend(document.objects),
            (Some(name), Some(error)) => {
                let error = format!("{}: {error}", path.display());
                problems.push(Problem::new(&name, Reason::Unreadable { error }));
            }
            (None, Some(error)) => warn!(file = %path.display(), "the last known state: {error}; left out"),
        }
    }
    if unknown > 0 {
        warn!(file = %path.display(), "the last known state has {unknown} object(s) of kinds that this version does not know; left out");
    }
    // None was written; whoever put one there is not believed.
    objects.retain(|object| object.kind() != Kind::Secret);
    let mut known: BTreeMap<Kind, Vec<Object>> = BTreeMap::new();
    for object in &objects {
        known.entry(object.kind()).or_default().push(object.clone());
    }
    let snapshot = Snapshot { problems, as_of: Some(as_of), ..super::snapshot(objects, kinds) };
    Restored { snapshot: Arc::new(snapshot), known, on_disk: OnDisk { as_of, objects: checksum, size } }
}

/// The task that writes, if any.
#[must_use]
pub struct Keeper(Option<(CancellationToken, JoinHandle<()>)>);

impl Keeper {
    /// Returns when what was last known is in the file. To be called by who leaves.
    pub async fn finish(self) {
        let Some((leave, task)) = self.0 else { return };
        leave.cancel();
        if tokio::time::timeout(LAST_WRITE, task).await.is_err() {
            warn!("the last known state is not written: its directory does not answer");
        }
    }
}

/// Sends what was restored, and then every update of the source; writes to `path` what they come to, with the time when
/// the source was last `followed` as a whole.
pub(super) fn keep(
    path: Option<PathBuf>,
    kinds: Kinds,
    restored: Option<Restored>,
    followed: Followed,
    source: mpsc::Receiver<Update>,
    updates: mpsc::Sender<Update>,
) -> Keeper {
    describe();
    let on_disk = restored.as_ref().map(|restored| restored.on_disk);
    let (newest, writing) = path
        .map(|path| {
            let (newest, to_write) = watch::channel(None);
            let leave = CancellationToken::new();
            let state = StateFile { path, kinds, on_disk, followed, complaints: BTreeSet::new() };
            let task = tokio::spawn(write_newest(to_write, leave.clone(), state));
            (newest, (leave, task))
        })
        .unzip();
    tokio::spawn(pass(restored.map(|restored| restored.snapshot), source, updates, newest));
    Keeper(writing)
}

fn describe() {
    metrics::describe_gauge!(
        TIMESTAMP,
        "When what is served last changed, or was last known to be right if restored, in seconds since 1970"
    );
    metrics::describe_gauge!(RESTORED, "1 while what is served is the last known state from the file");
    metrics::describe_counter!(WRITE_FAILURES, "Writes of the last known state that have failed");
    metrics::counter!(WRITE_FAILURES).increment(0);
}

/// Ends when the source has ended or the reader is gone. `newest`: where what is to be written goes, if anything is.
async fn pass(
    restored: Option<Arc<Snapshot>>,
    mut source: mpsc::Receiver<Update>,
    updates: mpsc::Sender<Update>,
    newest: Option<watch::Sender<Option<Arc<Snapshot>>>>,
) {
    let mut is_restored = false;
    if let Some(snapshot) = restored {
        let as_of = snapshot.as_of.unwrap_or(SystemTime::UNIX_EPOCH);
        info!("serving the last known state of {} until the cluster is listed", telemetry::rfc3339(as_of));
        show(as_of, true);
        is_restored = true;
        if updates.send(Update::Snapshot(snapshot)).await.is_err() {
            return;
        }
    }
    loop {
        let update = tokio::select! {
            () = updates.closed() => return,
            update = source.recv() => update,
        };
        let Some(update) = update else { return };
        if matches!(update, Update::Snapshot(_)) {
            if std::mem::take(&mut is_restored) {
                info!("the cluster is listed; the last known state is not served any more");
            }
            show(SystemTime::now(), false);
        }
        if let Some(newest) = &newest {
            newest.send_modify(|newest| follow(newest, &update));
        }
        if updates.send(update).await.is_err() {
            return;
        }
    }
}

/// What is known after an update.
fn follow(newest: &mut Option<Arc<Snapshot>>, update: &Update) {
    match (update, newest) {
        (Update::Snapshot(snapshot), newest) => *newest = Some(Arc::clone(snapshot)),
        // No snapshot may come that has these.
        (Update::Endpoints { service, slices }, Some(snapshot)) => {
            Arc::make_mut(snapshot).endpoint_slices.insert(service.clone(), slices.clone());
        }
        (Update::Endpoints { .. }, None) => {}
    }
}

fn show(as_of: SystemTime, is_restored: bool) {
    let seconds = as_of.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |age| age.as_secs_f64());
    metrics::gauge!(TIMESTAMP).set(seconds);
    metrics::gauge!(RESTORED).set(if is_restored { 1.0 } else { 0.0 });
}

/// Where [`write_newest`] writes.
trait Sink: Send {
    /// Whether it is there now.
    fn write(&mut self, snapshot: Arc<Snapshot>, why: Why) -> impl Future<Output = bool> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It may be another one, or be old.
    Due,
    /// Nobody will write after that.
    Last,
}

/// Writes at once what comes after a pause, and at the pause's end the newest of what came in it; and the newest of
/// all when nothing can follow. While nothing changes, every hour the same.
async fn write_newest(
    mut newest: watch::Receiver<Option<Arc<Snapshot>>>,
    leave: CancellationToken,
    mut sink: impl Sink,
) {
    // What came of the last write, if there was one.
    let mut is_written = None;
    let mut pause_ends = Instant::now();
    loop {
        let again = if is_written == Some(false) { RETRY } else { REFRESH };
        tokio::select! {
            () = leave.cancelled() => break,
            changed = newest.changed() => if changed.is_err() { break },
            () = sleep_until(pause_ends + again), if is_written.is_some() => {}
        }
        tokio::select! {
            () = leave.cancelled() => break,
            () = sleep_until(pause_ends) => {}
        }
        let Some(snapshot) = newest.borrow_and_update().clone() else { continue };
        is_written = Some(sink.write(snapshot, Why::Due).await);
        pause_ends = Instant::now() + PAUSE;
    }
    let last = newest.borrow().clone();
    if let Some(snapshot) = last {
        sink.write(snapshot, Why::Last).await;
    }
}

struct StateFile {
    path: PathBuf,
    kinds: Kinds,
    /// None while there is no file, or none that can be used.
    on_disk: Option<OnDisk>,
    followed: Followed,
    /// Errors that were said since the last success.
    complaints: BTreeSet<io::ErrorKind>,
}

impl Sink for StateFile {
    /// Only where the objects are others than those on the disk, or their time has become old.
    async fn write(&mut self, snapshot: Arc<Snapshot>, why: Why) -> bool {
        let (path, kinds, on_disk) = (self.path.clone(), self.kinds, self.on_disk);
        let as_of = self.followed.last();
        let written = tokio::task::spawn_blocking(move || {
            let objects = file::objects(&snapshot, kinds)?;
            write_now(&path, on_disk, &objects, as_of, why)
        });
        let written = written.await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(on_disk) => {
                if !std::mem::take(&mut self.complaints).is_empty() {
                    info!(file = %self.path.display(), "the last known state is written again");
                }
                self.on_disk = Some(on_disk);
                true
            }
            Err(error) => {
                metrics::counter!(WRITE_FAILURES).increment(1);
                if self.complaints.insert(error.kind()) {
                    warn!(
                        file = %self.path.display(), %error,
                        "the last known state cannot be written; {}. A start without the API server would serve an older one, or nothing",
                        what_to_do(error.kind())
                    );
                }
                false
            }
        }
    }
}

fn write_now(path: &Path, on_disk: Option<OnDisk>, objects: &[u8], as_of: SystemTime, why: Why) -> io::Result<OnDisk> {
    let checksum = Checksum::of(objects);
    // Somebody may have taken the file away, or put another in its place.
    if let Some(on_disk) = on_disk.filter(|it| it.objects == checksum && file::is_there(path, it.size)) {
        let age = as_of.duration_since(on_disk.as_of).unwrap_or_default();
        let is_old = match why {
            Why::Due => age >= REFRESH,
            Why::Last => !age.is_zero(),
        };
        if !is_old {
            return Ok(on_disk);
        }
    }
    let text = file::encode(as_of, objects);
    file::write(path, &text)?;
    Ok(OnDisk { as_of, objects: checksum, size: text.len() as u64 })
}

fn what_to_do(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let this program write in `stateDirectory`, or mount a volume there"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "make room in `stateDirectory`"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "name a directory as `stateDirectory`",
        _ => "see that `stateDirectory` names a directory in which this program may write",
    }
}

#[cfg(test)]
mod tests;
