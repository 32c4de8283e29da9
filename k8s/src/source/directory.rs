//! Watches a directory of YAML manifests.
//!
//! A file that cannot be read or parsed keeps the objects it last gave, and is a problem until it
//! is right again. A file that is gone takes its objects with it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::{
    Kinds, Update, manifest,
    object::{Object, Store},
};
use crate::{
    model::ObjectName,
    problem::{Problem, Reason},
    snapshot::Snapshot,
};

/// Every manifest by its path.
pub type Files = BTreeMap<PathBuf, File>;

/// A manifest as it was last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// None where it could not be read, so that it is read anew even if it says what it said before.
    text: Option<String>,
    objects: Vec<Object>,
    error: Option<String>,
}

/// Editors write a file in several steps; this long after the last one it is read.
const HOLD_OFF: Duration = Duration::from_millis(50);
/// How often the directory is read without being told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);

/// Sends the first snapshot once everything was read, then follows changes until the receiver is gone.
pub(super) async fn follow(root: PathBuf, kinds: Kinds, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
    // The sender is kept here too: where nothing can be watched, nothing wakes this, and polling goes on.
    let (touched, mut touches) = watch::channel(());
    let _watcher = watch(&root, touched.clone());

    let mut files = Arc::new(Files::new());
    let first = read_again(&root, &files).await?.with_context(|| format!("cannot read {}", root.display()))?;
    files = Arc::new(first);
    let mut store = store_of(&files);
    if updates.send(Update::Snapshot(Arc::new(store.snapshot(kinds)))).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = updates.closed() => return Ok(()),
            _ = touches.changed() => tokio::time::sleep(HOLD_OFF).await,
            () = tokio::time::sleep(POLL) => {}
        }
        touches.mark_unchanged();
        match read_again(&root, &files).await? {
            Ok(new) if new == *files => continue,
            Ok(new) => files = Arc::new(new),
            Err(error) => {
                warn!(directory = %root.display(), %error, "cannot be read; what it held stays in force");
                continue;
            }
        }
        let new = store_of(&files);
        if kinds.endpoints {
            for service in store.services_with_other_slices(&new) {
                let slices = new.slices_of(&service);
                if updates.send(Update::Endpoints { service, slices }).await.is_err() {
                    return Ok(());
                }
            }
        }
        let alike = store.routes_alike(&new);
        store = new;
        if !alike && updates.send(Update::Snapshot(Arc::new(store.snapshot(kinds)))).await.is_err() {
            return Ok(());
        }
    }
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

/// Files may be many or slow, and a task that blocks holds up others.
async fn read_again(root: &Path, previous: &Arc<Files>) -> anyhow::Result<io::Result<Files>> {
    let (root, previous) = (root.to_owned(), Arc::clone(previous));
    Ok(tokio::task::spawn_blocking(move || read_all(&root, &previous)).await?)
}

/// Reads every manifest below `root`, keeping what `previous` knows of files that are wrong now.
pub fn read_all(root: &Path, previous: &Files) -> io::Result<Files> {
    let mut paths = Vec::new();
    list(root, &mut paths)?;
    Ok(paths.into_iter().map(|path| (path.clone(), read_one(&path, previous.get(&path)))).collect())
}

fn read_one(path: &Path, previous: Option<&File>) -> File {
    let known = || previous.map(|previous| previous.objects.clone()).unwrap_or_default();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return File { text: None, objects: known(), error: Some(error.to_string()) },
    };
    if let Some(same) = previous.filter(|previous| previous.text.as_ref() == Some(&text)) {
        return same.clone();
    }
    match manifest::read(&text) {
        Ok(objects) => File { text: Some(text), objects, error: None },
        Err(error) => File { text: Some(text), objects: known(), error: Some(error) },
    }
}

/// The objects of all files. Where two files hold the same object, the later path wins.
pub fn snapshot(files: &Files, kinds: Kinds) -> Snapshot {
    store_of(files).snapshot(kinds)
}

fn store_of(files: &Files) -> Store {
    let mut store = Store::default();
    for (path, file) in files {
        for object in &file.objects {
            store.apply(object.clone());
        }
        if let Some(error) = &file.error {
            let name = ObjectName::new("File", "", &path.display().to_string());
            let problem = Problem::new(&name, Reason::Unreadable { error: error.clone() });
            store.problems.insert(name, problem);
        }
    }
    store
}

/// Hidden entries are left out: `..data` of a mounted ConfigMap holds every file a second time.
fn list(directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            list(&path, paths)?;
        } else if [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Kinds = Kinds { secrets: true, endpoints: true };
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

    fn slice(address: &str) -> String {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: [{{port: 8080}}]\n"
        )
    }

    async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
        tokio::time::timeout(Duration::from_secs(10), updates.recv()).await.expect("an update in time").expect("open")
    }

    #[tokio::test]
    async fn a_broken_file_keeps_its_objects_and_is_a_problem_until_it_is_right() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.yaml");
        fs::write(&path, SERVICE).expect("written");
        let (sender, mut updates) = mpsc::channel(8);
        tokio::spawn(follow(directory.path().to_owned(), ALL, sender));
        let Update::Snapshot(first) = next(&mut updates).await else { panic!("a snapshot first") };
        assert_eq!((first.services.len(), first.problems.len()), (1, 0));

        fs::write(&path, format!("{SERVICE}---\nkind: [")).expect("written");
        let Update::Snapshot(broken) = next(&mut updates).await else { panic!("a snapshot") };
        assert_eq!((broken.services.len(), broken.problems.len()), (1, 1));
        assert!(broken.problems[0].to_string().starts_with(&format!("File {}: cannot be read: ", path.display())));

        fs::remove_file(&path).expect("removed");
        let Update::Snapshot(gone) = next(&mut updates).await else { panic!("a snapshot") };
        assert_eq!((gone.services.len(), gone.problems.len()), (0, 0));
    }

    #[test]
    fn a_file_that_can_be_read_again_is_no_problem_though_it_says_what_it_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let [path, elsewhere] = ["web.yaml", "elsewhere"].map(|name| directory.path().join(name));
        fs::write(&elsewhere, SERVICE).expect("written");
        // A link into nothing cannot be read by anybody, where a mode keeps out only some.
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        let n_problems = |files: &Files| {
            let snapshot = snapshot(files, ALL);
            assert_eq!(snapshot.services.len(), 1, "what it last said stays in force");
            snapshot.problems.len()
        };
        let right = read_all(directory.path(), &Files::new()).expect("readable");
        assert_eq!(n_problems(&right), 0);
        fs::rename(&elsewhere, directory.path().join("away")).expect("moved");
        let unreadable = read_all(directory.path(), &right).expect("readable");
        assert_eq!(n_problems(&unreadable), 1);
        fs::rename(directory.path().join("away"), &elsewhere).expect("moved");
        assert_eq!(n_problems(&read_all(directory.path(), &unreadable).expect("readable")), 0);
    }

    #[test]
    fn only_events_that_can_change_a_manifest_have_it_read_again() {
        use notify::event::{CreateKind, DataChange, MetadataKind, ModifyKind, RemoveKind, RenameMode};
        for (kind, expected) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (EventKind::Access(AccessKind::Read), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), true),
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), true),
            // A file that could not be read may be readable now.
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Permissions)), true),
            (EventKind::Remove(RemoveKind::Folder), true),
            // The queue has overflowed.
            (EventKind::Other, true),
        ] {
            assert_eq!(may_change(&Ok(Event::new(kind))), expected, "{kind:?}");
        }
        assert!(may_change(&Err(notify::Error::generic("lost"))));
    }

    #[test]
    fn reading_the_tree_is_no_change_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("web.yaml"), SERVICE).expect("written");
        let (told, events) = std::sync::mpsc::channel();
        let mut watcher = notify::recommended_watcher(told).expect("a watcher");
        watcher.watch(directory.path(), RecursiveMode::Recursive).expect("watched");
        read_all(directory.path(), &Files::new()).expect("readable");
        // Events come in order, so those of reading come before this one.
        let end = directory.path().join("end");
        fs::create_dir(&end).expect("created");
        let event = || events.recv_timeout(Duration::from_secs(10)).expect("an event in time");
        let change = std::iter::repeat_with(event).find(may_change).expect("endless").expect("no error");
        assert!(change.kind.is_create() && change.paths == [end], "{change:?}");
    }

    #[tokio::test]
    async fn a_write_below_the_root_wakes_the_reader() {
        let directory = tempfile::tempdir().expect("a directory");
        let (touched, mut touches) = watch::channel(());
        let _watcher = watch(directory.path(), touched).expect("a watcher");
        fs::write(directory.path().join("web.yaml"), SERVICE).expect("written");
        tokio::time::timeout(Duration::from_secs(10), touches.changed()).await.expect("told in time").expect("open");
    }

    #[tokio::test]
    async fn a_change_of_endpoints_alone_is_no_snapshot() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("service.yaml"), SERVICE).expect("written");
        let path = directory.path().join("slice.yaml");
        fs::write(&path, slice("10.0.0.1")).expect("written");
        let (sender, mut updates) = mpsc::channel(8);
        tokio::spawn(follow(directory.path().to_owned(), ALL, sender));
        let Update::Snapshot(first) = next(&mut updates).await else { panic!("a snapshot first") };
        assert_eq!(first.endpoint_slices.len(), 1);

        fs::write(&path, slice("10.0.0.2")).expect("written");
        let Update::Endpoints { service, slices } = next(&mut updates).await else { panic!("endpoints") };
        assert_eq!(
            (service.to_string(), slices[0].endpoints[0].addresses[0].as_str()),
            ("default/web".to_owned(), "10.0.0.2")
        );
    }
}
