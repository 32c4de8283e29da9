//! Watches a directory of YAML manifests.
//!
//! What cannot be read keeps the objects it last gave, and is a problem until it is right again: a
//! directory, a file, or one document of a file. A file that is gone takes its objects with it.

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
    Kinds, Update,
    manifest::{self, Document},
    object::Store,
};
use crate::{
    model::ObjectName,
    problem::{Problem, Reason},
    snapshot::Snapshot,
};

/// A tree of manifests as it was last read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    files: BTreeMap<PathBuf, Arc<File>>,
    /// Directories that cannot be read, and why. The files that were last seen below them are above.
    closed: BTreeMap<PathBuf, String>,
}

impl PartialEq for Files {
    /// Most files are the same ones, and then what they say need not be compared.
    fn eq(&self, other: &Self) -> bool {
        self.closed == other.closed
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|((path, file), (other_path, other_file))| {
                path == other_path && (Arc::ptr_eq(file, other_file) || file == other_file)
            })
    }
}

/// A manifest as it was last read.
#[derive(Clone, Debug, Default, PartialEq)]
struct File {
    /// None where it could not be read, so that it is read anew even if it says what it said before.
    text: Option<String>,
    documents: Vec<Document>,
    /// Why nothing of it can be read now.
    error: Option<String>,
}

/// Editors write a file in several steps; this long after the last one it is read.
const HOLD_OFF: Duration = Duration::from_millis(50);
/// How often the directory is read without being told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(2);
/// Many times what ten thousand objects need.
const MOST_BYTES: u64 = 64 << 20;

/// Sends the first snapshot once everything was read, then follows changes until the receiver is gone.
pub(super) async fn follow(root: PathBuf, kinds: Kinds, updates: mpsc::Sender<Update>) -> anyhow::Result<()> {
    // The sender is kept here too: where nothing can be watched, nothing wakes this, and polling goes on.
    let (touched, mut touches) = watch::channel(());
    let _watcher = watch(&root, touched.clone());

    let read = read_again(&root, &Arc::default()).await?;
    let mut files = Arc::new(read.with_context(|| format!("cannot read {}", root.display()))?);
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
        let read = read_again(&root, &files).await?;
        let now = read.unwrap_or_else(|error| Files {
            closed: BTreeMap::from([(root.clone(), error.to_string())]),
            ..Files::clone(&files)
        });
        if now == *files {
            continue;
        }
        files = Arc::new(now);
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

/// Reads every manifest below `root`, keeping what `previous` knows of files and directories that are wrong now.
///
/// # Errors
/// When `root` itself cannot be read.
pub fn read_all(root: &Path, previous: &Files) -> io::Result<Files> {
    let mut listing = Listing::default();
    list(root, &[], &mut listing)?;
    let Listing { manifests, closed } = listing;
    let mut files: BTreeMap<_, _> = manifests
        .into_iter()
        .map(|path| {
            let file = read_one(&path, previous.files.get(&path));
            (path, file)
        })
        .collect();
    for (path, file) in &previous.files {
        if path.ancestors().any(|above| closed.contains_key(above)) {
            files.entry(path.clone()).or_insert_with(|| Arc::clone(file));
        }
    }
    Ok(Files { files, closed })
}

fn read_one(path: &Path, previous: Option<&Arc<File>>) -> Arc<File> {
    let known = || previous.map(|previous| previous.documents.clone()).unwrap_or_default();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => return Arc::new(File { text: None, documents: known(), error: Some(error.to_string()) }),
    };
    if let Some(same) = previous.filter(|previous| previous.text.as_ref() == Some(&text)) {
        return Arc::clone(same);
    }
    let (documents, error) = match manifest::documents(&text) {
        Ok(documents) => (keeping(known(), documents), None),
        Err(error) => (known(), Some(error)),
    };
    Arc::new(File { text: Some(text), documents, error })
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

/// A pipe would have the reader wait for ever, and a device has no end.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(io::Error::other(format!("it has {} bytes, and {MOST_BYTES} are read at most", metadata.len())));
    }
    fs::read_to_string(path)
}

/// The objects of all files. Where two hold the same object, the later path wins.
pub fn snapshot(files: &Files, kinds: Kinds) -> Snapshot {
    store_of(files).snapshot(kinds)
}

fn store_of(files: &Files) -> Store {
    let mut store = Store::default();
    let mut places: BTreeMap<&ObjectName, Vec<String>> = BTreeMap::new();
    for (path, file) in &files.files {
        for Document { name, objects, .. } in &file.documents {
            for object in objects {
                store.apply(object.clone());
            }
            if let Some(name) = name.as_ref().filter(|_| !objects.is_empty()) {
                places.entry(name).or_default().push(path.display().to_string());
            }
        }
    }
    let mut problem = |name: &ObjectName, reason| store.problems.insert(name.clone(), Problem::new(name, reason));
    for (name, places) in places.into_iter().filter(|(_, places)| places.len() > 1) {
        problem(name, Reason::Duplicate { places: places.join(" and ") });
    }
    for (path, file) in &files.files {
        for Document { name, error, .. } in &file.documents {
            if let (Some(name), Some(error)) = (name, error) {
                problem(name, Reason::Unreadable { error: format!("{}: {error}", path.display()) });
            }
        }
        if let Some(error) = file.error.clone().or_else(|| nameless(&file.documents)) {
            problem(&ObjectName::new("File", "", &path.display().to_string()), Reason::Unreadable { error });
        }
    }
    for (path, error) in &files.closed {
        let name = ObjectName::new("Directory", "", &path.display().to_string());
        problem(&name, Reason::Unreadable { error: error.clone() });
    }
    store
}

/// What is wrong with documents that do not say what they are: a problem of their file.
fn nameless(documents: &[Document]) -> Option<String> {
    let errors = documents.iter().filter(|document| document.name.is_none()).filter_map(|it| it.error.as_deref());
    let errors: Vec<_> = errors.collect();
    let (first, more) = errors.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(", and {} more are wrong", more.len()) };
    Some(format!("{first}{more}; until that is right, objects that are gone from the file stay"))
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
mod tests {
    use super::*;

    const ALL: Kinds = Kinds { secrets: true, endpoints: true, dns_endpoints: true };
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

    fn slice(address: &str) -> String {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: [{{port: 8080}}]\n"
        )
    }

    /// Whole: who reads while a file is written sees a part of it, or nothing.
    fn put(path: &Path, text: &str) {
        let aside = path.with_extension("aside");
        fs::write(&aside, text).expect("written");
        fs::rename(aside, path).expect("moved");
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

        put(&path, &format!("{SERVICE}---\nkind: ["));
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
        let right = read_all(directory.path(), &Files::default()).expect("readable");
        assert_eq!(n_problems(&right), 0);
        fs::rename(&elsewhere, directory.path().join("away")).expect("moved");
        let unreadable = read_all(directory.path(), &right).expect("readable");
        assert_eq!(n_problems(&unreadable), 1);
        fs::rename(directory.path().join("away"), &elsewhere).expect("moved");
        assert_eq!(n_problems(&read_all(directory.path(), &unreadable).expect("readable")), 0);
    }

    #[test]
    fn a_document_that_is_wrong_keeps_what_it_last_said_and_stops_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.yaml");
        let text = |services: &[(&str, &str)]| {
            services
                .iter()
                .map(|(name, port)| {
                    format!(
                        "---\napiVersion: v1\nkind: Service\nmetadata: {{{name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
                    )
                })
                .collect::<String>()
        };
        let mut files = Files::default();
        let mut seen_of = |services: &[(&str, &str)]| {
            fs::write(&path, text(services)).expect("written");
            files = read_all(directory.path(), &files).expect("readable");
            let Snapshot { services, problems, .. } = snapshot(&files, ALL);
            let port = |service: &k8s_openapi::api::core::v1::Service| {
                service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).map_or(0, |ports| ports[0].port)
            };
            let ports: Vec<_> = services
                .iter()
                .map(|it| format!("{}:{}", it.metadata.name.as_deref().unwrap_or_default(), port(it)))
                .collect();
            (ports.join(" "), problems.iter().map(|it| format!("{it}\n")).collect::<String>())
        };
        let path = path.display();
        assert_eq!(seen_of(&[("name: a", "80"), ("name: b", "80")]), ("a:80 b:80".to_owned(), String::new()));
        assert_eq!(
            seen_of(&[("name: a", "web"), ("name: b", "81")]),
            (
                "a:80 b:81".to_owned(),
                format!(
                    "Service default/a: cannot be read: {path}: spec.ports[0].port: invalid type: string \"web\", expected i32\n"
                )
            )
        );
        // That which has no name may be either of those that are missing.
        assert_eq!(
            seen_of(&[("nam: a", "80"), ("name: c", "80"), ("nam: d", "80")]),
            (
                "a:80 b:81 c:80".to_owned(),
                format!(
                    "File {path}: cannot be read: document 1: Service has no metadata.name, and 1 more are wrong; until that is right, objects that are gone from the file stay\nService default/a: cannot be read: {path}: spec.ports[0].port: invalid type: string \"web\", expected i32\n"
                )
            )
        );
        assert_eq!(seen_of(&[("name: c", "82")]), ("c:82".to_owned(), String::new()));
    }

    #[test]
    fn an_object_in_two_places_is_a_problem_that_names_both() {
        let directory = tempfile::tempdir().expect("a directory");
        let [a, b] = ["a.yaml", "b.yaml"].map(|name| directory.path().join(name));
        fs::write(&a, SERVICE).expect("written");
        fs::write(&b, format!("{}---\n{}", SERVICE.replace("80", "81"), SERVICE.replace("web", "other")))
            .expect("written");
        let files = read_all(directory.path(), &Files::default()).expect("readable");
        let seen = snapshot(&files, ALL);
        let ports = seen.services.iter().filter_map(|service| service.spec.as_ref()?.ports.as_ref());
        assert_eq!(ports.map(|ports| ports[0].port).collect::<Vec<_>>(), [80, 81]);
        let problems: Vec<_> = seen.problems.iter().map(ToString::to_string).collect();
        let places = format!("{} and {}", a.display(), b.display());
        assert_eq!(
            problems,
            [format!("Service default/web: is written in {places}; the last one counts, remove the others")]
        );
        fs::remove_file(&a).expect("removed");
        assert!(snapshot(&read_all(directory.path(), &files).expect("readable"), ALL).problems.is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_read_keeps_what_was_known_below_it_and_stops_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let [apps, elsewhere] = ["apps", ".elsewhere"].map(|name| directory.path().join(name));
        fs::create_dir(&elsewhere).expect("created");
        fs::write(elsewhere.join("web.yaml"), SERVICE).expect("written");
        let link = |to: &Path| {
            let _ = fs::remove_file(&apps);
            std::os::unix::fs::symlink(to, &apps).expect("linked");
        };
        let services = |files: &Files| {
            let Snapshot { services, problems, .. } = snapshot(files, ALL);
            let names: Vec<_> = services.iter().filter_map(|service| service.metadata.name.clone()).collect();
            (names.join(" "), problems.iter().map(ToString::to_string).collect::<String>())
        };
        let read = |previous: &Files| read_all(directory.path(), previous).expect("readable");
        link(&elsewhere);
        let known = read(&Files::default());
        assert_eq!(services(&known), ("web".to_owned(), String::new()));

        // A link to itself cannot be read by anybody, where a mode keeps out only some.
        link(&apps);
        fs::write(directory.path().join("more.yaml"), SERVICE.replace("web", "more")).expect("written");
        let closed = read(&known);
        let (names, problem) = services(&closed);
        assert_eq!(names, "more web");
        assert!(problem.starts_with(&format!("Directory {}: cannot be read: ", apps.display())), "{problem}");
        assert_eq!(read(&closed), closed);

        link(&elsewhere);
        assert_eq!(services(&read(&closed)), ("more web".to_owned(), String::new()));
        fs::remove_file(&apps).expect("removed");
        assert_eq!(services(&read(&closed)), ("more".to_owned(), String::new()));
        assert!(read_all(&apps, &known).is_err(), "without the root there is nothing to go on with");
    }

    #[test]
    fn what_is_no_file_is_a_problem_and_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let [pipe, device, large] = ["pipe.yaml", "device.yaml", "large.yaml"].map(|name| directory.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        std::os::unix::fs::symlink("/dev/zero", &device).expect("linked");
        fs::File::create(&large).and_then(|file| file.set_len(MOST_BYTES + 1)).expect("a file with a hole");
        let files = read_all(directory.path(), &Files::default()).expect("readable");
        let problems: Vec<String> = snapshot(&files, ALL).problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                format!("File {}: cannot be read: it is not a regular file", device.display()),
                format!(
                    "File {}: cannot be read: it has 67108865 bytes, and 67108864 are read at most",
                    large.display()
                ),
                format!("File {}: cannot be read: it is not a regular file", pipe.display()),
            ]
        );
    }

    #[test]
    fn a_link_to_a_directory_above_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("web.yaml"), SERVICE).expect("written");
        for name in ["a", "b", "c"] {
            std::os::unix::fs::symlink(directory.path(), directory.path().join(name)).expect("linked");
        }
        let files = read_all(directory.path(), &Files::default()).expect("readable");
        assert_eq!((files.files.len(), files.closed.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_root_that_goes_away_is_a_problem_until_it_is_back() {
        let above = tempfile::tempdir().expect("a directory");
        let [root, away] = ["root", "away"].map(|name| above.path().join(name));
        fs::create_dir(&root).expect("created");
        fs::write(root.join("web.yaml"), SERVICE).expect("written");
        let (sender, mut updates) = mpsc::channel(8);
        tokio::spawn(follow(root.clone(), ALL, sender));
        for (from, to, n_problems) in [(&root, &root, 0), (&root, &away, 1), (&away, &root, 0)] {
            fs::rename(from, to).expect("moved");
            let Update::Snapshot(seen) = next(&mut updates).await else { panic!("a snapshot") };
            assert_eq!((seen.services.len(), seen.problems.len()), (1, n_problems));
        }
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
        read_all(directory.path(), &Files::default()).expect("readable");
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

        put(&path, &slice("10.0.0.2"));
        let Update::Endpoints { service, slices } = next(&mut updates).await else { panic!("endpoints") };
        assert_eq!(
            (service.to_string(), slices[0].endpoints[0].addresses[0].as_str()),
            ("default/web".to_owned(), "10.0.0.2")
        );
    }
}
