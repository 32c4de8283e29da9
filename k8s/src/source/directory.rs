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
use notify::Watcher;
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
    text: String,
    objects: Vec<Object>,
    error: Option<String>,
}

/// Editors write a file in several steps; this long after the last one it is read.
const HOLD_OFF: Duration = Duration::from_millis(50);
/// How often the directory is read without being told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);

/// Sends the first snapshot once everything was read, then follows changes until the receiver is gone.
pub(super) async fn follow(root: PathBuf, kinds: Kinds, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
    let (touched, mut touches) = watch::channel(());
    let mut watcher = notify::recommended_watcher(move |_| {
        // The receiver lives as long as the watcher does.
        let _ = touched.send(());
    })
    .context("cannot watch for changes of files")?;
    if let Err(error) = watcher.watch(&root, notify::RecursiveMode::Recursive) {
        warn!(directory = %root.display(), %error, "changes are noticed by polling only");
    }

    let mut files = read_all(&root, &Files::new()).with_context(|| format!("cannot read {}", root.display()))?;
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
        match read_all(&root, &files) {
            Ok(new) if new == files => continue,
            Ok(new) => files = new,
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

/// Reads every manifest below `root`, keeping what `previous` knows of files that are wrong now.
pub fn read_all(root: &Path, previous: &Files) -> io::Result<Files> {
    let mut paths = Vec::new();
    list(root, &mut paths)?;
    Ok(paths.into_iter().map(|path| (path.clone(), read_one(&path, previous.get(&path)))).collect())
}

fn read_one(path: &Path, previous: Option<&File>) -> File {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return File { error: Some(error.to_string()), ..previous.cloned().unwrap_or_default() },
    };
    if let Some(same) = previous.filter(|previous| previous.text == text) {
        return same.clone();
    }
    match manifest::read(&text) {
        Ok(objects) => File { text, objects, error: None },
        Err(error) => {
            let objects = previous.map(|previous| previous.objects.clone()).unwrap_or_default();
            File { text, objects, error: Some(error) }
        }
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
