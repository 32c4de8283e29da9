//! Watches a directory of YAML manifests.
//!
//! What cannot be read keeps the objects it last gave, and is a problem until it is right again: a
//! directory, a file, or one document of a file. A file that is gone takes its objects with it.

mod objects;
mod stamp;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing::warn;

pub use self::objects::snapshot;
use self::{
    objects::{Said, nameless, sayings, store_after},
    stamp::Seen,
};
use super::{
    Kinds, Update,
    manifest::{self, Document},
    object::Store,
};
use crate::{background, model::ObjectName};

/// A tree of manifests as it was last read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: BTreeMap<PathBuf, Arc<File>>,
    /// Those that could be read.
    seen: BTreeMap<PathBuf, Seen>,
    /// Directories that cannot be read, and why. The files that were last seen below them are above.
    closed: BTreeMap<PathBuf, String>,
}

impl PartialEq for Files {
    /// Whether they say the same. Most files are the same ones, and then what they say need not be compared.
    fn eq(&self, other: &Self) -> bool {
        self.closed == other.closed
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|((path, file), (other_path, other_file))| {
                path == other_path && (Arc::ptr_eq(file, other_file) || file == other_file)
            })
    }
}

/// A manifest as it was last read.
#[derive(Clone, Default, PartialEq)]
struct File {
    /// None where it could not be read, so that it is read anew even if it says what it said before.
    text: Option<String>,
    documents: Vec<Document>,
    /// The same by name.
    says: BTreeMap<ObjectName, Said>,
    /// What is wrong with it, and with no document by name: mostly why nothing of it can be read now.
    wrong: Option<String>,
}

impl File {
    /// `error` is why it cannot be read.
    fn new(text: Option<String>, documents: Vec<Document>, error: Option<String>) -> Self {
        let says = sayings(&documents);
        let wrong = error.or_else(|| nameless(&documents));
        Self { text, documents, says, wrong }
    }
}

/// Never shows the text, which may be that of a Secret.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("documents", &self.documents).field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

/// Editors write a file in several steps; this long after the last one it is read.
const HOLD_OFF: Duration = Duration::from_millis(50);
/// How often the directory is read without being told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);
/// Until it is read which endpoints are gone, requests are sent there.
const PATIENCE: Duration = Duration::from_millis(100);
/// Many times what ten thousand objects need.
const MOST_BYTES: u64 = 64 << 20;

/// Sends the first snapshot once everything was read, then follows changes until the receiver is gone.
pub(super) async fn follow(root: PathBuf, kinds: Kinds, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
    // The sender is kept here too: where nothing can be watched, nothing wakes this, and polling goes on.
    let (touched, mut touches) = watch::channel(());
    let _watcher = watch(&root, touched.clone());

    let root = Arc::<Path>::from(root);
    let here = Arc::clone(&root);
    // Nothing is served yet that this could give way to.
    let read =
        spawn_blocking(move || read_all(&here, &Files::default()).map(|files| Known::after(&Known::default(), files)))
            .await?;
    let mut known = Arc::new(read.with_context(|| format!("cannot read {}", root.display()))?);
    if updates.send(Update::Snapshot(Arc::new(known.store.snapshot(kinds)))).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = updates.closed() => return Ok(()),
            _ = touches.changed() => tokio::time::sleep(HOLD_OFF).await,
            () = tokio::time::sleep(POLL) => {}
        }
        touches.mark_unchanged();
        let (here, last) = (Arc::clone(&root), Arc::clone(&known));
        let read = background::run_within(PATIENCE, move || {
            let now = read_again(&here, &last);
            let changes = changes(&last, &now, kinds);
            (now, changes)
        });
        let (now, changes) = read.await?;
        background::discard(std::mem::replace(&mut known, Arc::new(now)));
        for update in changes {
            if updates.send(update).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// What was last read, and what it comes to.
#[derive(Default)]
struct Known {
    files: Files,
    store: Store,
}

impl Known {
    fn after(last: &Self, files: Files) -> Self {
        let store = if files == last.files { last.store.clone() } else { store_after(last, &files) };
        Self { files, store }
    }
}

fn read_again(root: &Path, last: &Known) -> Known {
    let files = read_all(root, &last.files).unwrap_or_else(|error| Files {
        closed: BTreeMap::from([(root.to_owned(), error.to_string())]),
        ..last.files.clone()
    });
    Known::after(last, files)
}

/// What is told of a change: endpoints first.
fn changes(last: &Known, now: &Known, kinds: Kinds) -> Vec<Update> {
    let (last, now) = (&last.store, &now.store);
    let services = if kinds.endpoints { last.services_with_other_slices(now) } else { BTreeSet::new() };
    let endpoints = services.into_iter().map(|service| {
        let slices = now.slices_of(&service);
        Update::Endpoints { service, slices }
    });
    let snapshot = (!last.routes_alike(now)).then(|| Update::Snapshot(Arc::new(now.snapshot(kinds))));
    endpoints.chain(snapshot).collect()
}

/// Tells of every event below `root` that can have changed a manifest, for as long as the watcher lives.
/// None, or one that sees only a part, where the system allows no more: polling finds the rest.
fn watch(root: &Path, touched: watch::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event| {
        if may_change(&event) {
            touched.send_replace(());
        }
    };
    let polling = |error| warn!(directory = %root.display(), %error, "changes are noticed by polling only");
    let mut watcher = notify::recommended_watcher(tell).map_err(polling).ok()?;
    watcher.watch(root, RecursiveMode::Recursive).unwrap_or_else(polling);
    Some(watcher)
}

/// Opening and reading a file are events too: to read again because of them would never end.
fn may_change(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(Event { kind: EventKind::Access(access), .. }) => *access == AccessKind::Close(AccessMode::Write),
        Ok(_) => true,
        // Events were lost, or cannot be had.
        Err(_) => true,
    }
}

/// Reads every manifest below `root`, keeping what `previous` knows of files and directories that are wrong now.
///
/// # Errors
/// When `root` itself cannot be read.
pub fn read_all(root: &Path, previous: &Files) -> io::Result<Files> {
    read_at(root, previous, Instant::now())
}

fn read_at(root: &Path, previous: &Files, now: Instant) -> io::Result<Files> {
    let mut listing = Listing::default();
    list(root, &[], &mut listing)?;
    let Listing { manifests, closed } = listing;
    let (mut files, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for path in manifests {
        let known = previous.files.get(&path);
        let before = previous.seen.get(&path);
        let same = before.filter(|before| fs::metadata(&path).is_ok_and(|it| before.is_still(&it)));
        let (file, its) = match known.zip(same) {
            Some((file, same)) => (Arc::clone(file), Some(*same)),
            None => read_one(&path, known, before, now),
        };
        seen.extend(its.map(|its| (path.clone(), its)));
        files.insert(path, file);
    }
    for (path, file) in &previous.files {
        if path.ancestors().any(|above| closed.contains_key(above)) {
            files.entry(path.clone()).or_insert_with(|| Arc::clone(file));
        }
    }
    Ok(Files { files, seen, closed })
}

fn read_one(
    path: &Path,
    previous: Option<&Arc<File>>,
    before: Option<&Seen>,
    now: Instant,
) -> (Arc<File>, Option<Seen>) {
    let known = || previous.map(|previous| previous.documents.clone()).unwrap_or_default();
    let read = open(path).and_then(|(file, metadata)| Ok((io::read_to_string(file)?, metadata)));
    let (text, metadata) = match read {
        Ok(read) => read,
        Err(error) => return (Arc::new(File::new(None, known(), Some(error.to_string()))), None),
    };
    let seen = Some(Seen::now(&metadata, before, now));
    if let Some(same) = previous.filter(|previous| previous.text.as_ref() == Some(&text)) {
        return (Arc::clone(same), seen);
    }
    let (documents, error) = match manifest::documents(&text) {
        Ok(documents) => (keeping(known(), documents), None),
        Err(error) => (known(), Some(error)),
    };
    (Arc::new(File::new(Some(text), documents, error)), seen)
}

/// A document that is wrong goes on saying what it said before. While one does not even say what it is, it may be
/// any of those that are missing, so these stay as well.
fn keeping(before: Vec<Document>, mut now: Vec<Document>) -> Vec<Document> {
    let mut before: BTreeMap<_, _> =
        before.into_iter().filter_map(|document| Some((document.name.clone()?, document))).collect();
    for document in &mut now {
        let last = document.name.as_ref().and_then(|name| before.remove(name));
        if let Some(last) = last.filter(|_| document.error.is_some()) {
            document.objects = last.objects;
        }
    }
    if now.iter().any(|document| document.name.is_none()) {
        now.extend(before.into_values());
    }
    now
}

pub(super) fn read_text(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path)?.0)
}

/// A file to be read, and what it is. A pipe would have the reader wait for ever, and a device has no end.
fn open(path: &Path) -> io::Result<(fs::File, fs::Metadata)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MOST_BYTES {
        return Err(io::Error::other(format!("it has {} bytes, and {MOST_BYTES} are read at most", metadata.len())));
    }
    Ok((file, metadata))
}

/// What there is to read in a tree.
#[derive(Default)]
struct Listing {
    manifests: Vec<PathBuf>,
    /// Directories that cannot be read, and why.
    closed: BTreeMap<PathBuf, String>,
}

/// Hidden entries are left out: `..data` of a mounted ConfigMap holds every file a second time.
/// `above` are the directories this one is in, so that a link to one of them is not followed for ever.
fn list(directory: &Path, above: &[PathBuf], listing: &mut Listing) -> io::Result<()> {
    let here = directory.canonicalize()?;
    if above.contains(&here) {
        return Ok(());
    }
    let above = [above, &[here]].concat();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let is_manifest = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        let read = match is_directory(&entry) {
            Ok(true) => list(&path, &above, listing),
            Ok(false) | Err(_) if is_manifest => {
                listing.manifests.push(path);
                continue;
            }
            other => other.map(drop),
        };
        if let Err(error) = read
            && error.kind() != io::ErrorKind::NotFound
        {
            listing.closed.insert(path, error.to_string());
        }
    }
    Ok(())
}

/// Asks the directory it is in, which says it even of an entry that nobody may touch; only a link must be followed.
fn is_directory(entry: &fs::DirEntry) -> io::Result<bool> {
    let kind = entry.file_type()?;
    if !kind.is_symlink() {
        return Ok(kind.is_dir());
    }
    match fs::metadata(entry.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        target => target.map(|target| target.is_dir()),
    }
}

#[cfg(test)]
mod tests;
