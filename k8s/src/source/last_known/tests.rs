//! What is kept of a cluster and when, and what a start makes of it.

use std::{fs, os::unix::fs::PermissionsExt, time::SystemTime};

use tempfile::TempDir;

use super::*;
use crate::{source::manifest, telemetry};

const KINDS: Kinds = Kinds { tls: false, endpoints: true, dns_endpoints: true };

fn services(names: &[&str]) -> Snapshot {
    let yaml = |name: &&str| {
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80}}]}}}}\n---\n")
    };
    let yaml: String = names.iter().map(yaml).collect();
    crate::source::snapshot(manifest::read(&yaml).expect("right"), KINDS)
}

fn slice(address: &str) -> Update {
    let yaml = format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a-1, labels: {{kubernetes.io/service-name: a}}}}, addressType: IPv4, endpoints: [{{addresses: [{address}]}}]}}"
    );
    let Object::EndpointSlice(slice) = manifest::read(&yaml).expect("right").remove(0) else { panic!("a slice") };
    Update::Endpoints { service: crate::model::ServiceName::new("default", "a"), slices: vec![slice] }
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.services.iter().filter_map(|service| service.metadata.name.as_deref()).collect()
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a place for temporary files");
    let path = directory.path().join("made/here/gateway.state");
    (directory, path)
}

/// A program with the state at `path`: where its source speaks, and what its reader hears.
struct Program {
    source: mpsc::Sender<Update>,
    updates: mpsc::Receiver<Update>,
    keeper: Keeper,
    followed: Followed,
}

impl Program {
    async fn start(path: &Path) -> Self {
        let (source, found) = mpsc::channel(1);
        let (sender, updates) = mpsc::channel(16);
        let restored = restore(path, KINDS).await;
        let followed = Followed::default();
        let keeper = keep(Some(path.to_owned()), KINDS, restored, followed.clone(), found, sender);
        Self { source, updates, keeper, followed }
    }

    async fn send(&self, update: Update) {
        assert!(self.source.send(update).await.is_ok(), "it follows its source");
    }

    async fn list(&mut self, names: &[&str]) -> Arc<Snapshot> {
        self.send(Update::Snapshot(Arc::new(services(names)))).await;
        self.snapshot().await
    }

    async fn snapshot(&mut self) -> Arc<Snapshot> {
        match self.updates.recv().await {
            Some(Update::Snapshot(snapshot)) => snapshot,
            other => panic!("not a snapshot: {other:?}"),
        }
    }

    async fn leave(self) {
        drop(self.updates);
        self.keeper.finish().await;
    }
}

#[tokio::test]
async fn what_was_known_last_comes_first_and_then_what_is() {
    let (_directory, path) = place();
    let mut first = Program::start(&path).await;
    assert_eq!(first.list(&["a", "b"]).await.as_of, None);
    first.send(slice("10.0.0.1")).await;
    assert!(matches!(first.updates.recv().await, Some(Update::Endpoints { .. })));
    let before = SystemTime::now();
    first.leave().await;

    let mut second = Program::start(&path).await;
    let restored = second.snapshot().await;
    assert_eq!(names(&restored), ["a", "b"]);
    assert_eq!(restored.endpoint_slices.len(), 1, "endpoints came after the last snapshot, and were kept");
    let age = before.duration_since(restored.as_of.expect("it is restored")).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
    let now = second.list(&["b", "c"]).await;
    assert_eq!((names(&now), now.as_of), (vec!["b", "c"], None));
    second.leave().await;
    let third = Program::start(&path).await.snapshot().await;
    assert_eq!(names(&third), ["b", "c"]);
}

#[tokio::test]
async fn only_a_cluster_that_is_listed_replaces_the_file_and_only_where_it_differs() {
    let (_directory, path) = place();
    let mut first = Program::start(&path).await;
    first.list(&["a"]).await;
    first.leave().await;
    let text = fs::read(&path).expect("written");

    let mut second = Program::start(&path).await;
    second.snapshot().await;
    second.leave().await;
    assert_eq!(fs::read(&path).expect("there"), text, "nothing was listed");

    let mut third = Program::start(&path).await;
    let restored = third.snapshot().await;
    let followed = third.followed.clone();
    let on_disk = Some(restore(&path, KINDS).await.expect("it is there").on_disk);
    let mut state = StateFile { path: path.clone(), kinds: KINDS, on_disk, followed, complaints: BTreeSet::new() };
    assert!(state.write(Arc::new(services(&["a"])), Why::Due).await);
    assert_eq!(fs::read(&path).expect("there"), text, "nothing has changed");
    third.list(&["a"]).await;
    // Times are kept in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    third.leave().await;
    let later = Program::start(&path).await.snapshot().await;
    assert_eq!(names(&later), names(&restored));
    assert!(later.as_of > restored.as_of, "it was so when the third one left");
}

#[tokio::test]
async fn what_is_not_followed_any_more_was_so_when_it_last_was() {
    let (_directory, path) = place();
    let mut program = Program::start(&path).await;
    program.list(&["a"]).await;
    program.followed.set(Kind::Service, false);
    let lost = SystemTime::now();
    program.followed.set(Kind::Ingress, false);
    program.followed.set(Kind::Ingress, true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let followed = program.followed.clone();
    program.leave().await;
    let restored = Program::start(&path).await.snapshot().await;
    assert!(restored.as_of.is_some_and(|as_of| as_of <= lost));
    followed.set(Kind::Service, true);
    assert!(followed.last() > lost);
}

#[tokio::test]
async fn a_file_that_somebody_took_away_or_changed_is_written_again() {
    let (_directory, path) = place();
    let mut state =
        StateFile { path, kinds: KINDS, on_disk: None, followed: Followed::default(), complaints: BTreeSet::new() };
    let snapshot = Arc::new(services(&["a"]));
    assert!(state.write(Arc::clone(&snapshot), Why::Due).await);
    let text = fs::read(&state.path).expect("written");
    let path = state.path.clone();
    fs::remove_file(&path).expect("there");
    assert!(state.write(Arc::clone(&snapshot), Why::Due).await && path.exists());
    fs::write(&path, &text[1..]).expect("writable");
    assert!(state.write(Arc::clone(&snapshot), Why::Due).await);
    assert!(restore(&path, KINDS).await.is_some());
    // An hour later the same is written with its time.
    let text = fs::read(&path).expect("written");
    assert!(state.write(Arc::clone(&snapshot), Why::Due).await);
    assert_eq!(fs::read(&path).expect("written"), text);
    state.on_disk.as_mut().expect("written").as_of -= REFRESH;
    // The file has milliseconds.
    let now = || telemetry::rfc3339(SystemTime::now());
    let written = now();
    while now() == written {
        tokio::task::yield_now().await;
    }
    assert!(state.write(snapshot, Why::Due).await);
    assert_ne!(fs::read(&path).expect("written"), text);
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_nothing_lies_beside_it() {
    let (_directory, path) = place();
    let mut program = Program::start(&path).await;
    program.list(&["a"]).await;
    program.leave().await;
    assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
    let beside = fs::read_dir(path.parent().expect("a directory")).expect("readable");
    assert_eq!(beside.count(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_as_none() {
    let (_directory, path) = place();
    let mut program = Program::start(&path).await;
    program.list(&["a"]).await;
    program.leave().await;
    let text = fs::read(&path).expect("written");
    for end in 0..text.len() {
        fs::write(&path, &text[..end]).expect("writable");
        assert!(restore(&path, KINDS).await.is_none(), "cut at {end}");
    }
    fs::write(&path, [&text[..], &[0xff]].concat()).expect("writable");
    assert!(restore(&path, KINDS).await.is_none(), "no text");
    fs::remove_file(&path).expect("there");
    fs::create_dir(&path).expect("free");
    assert!(restore(&path, KINDS).await.is_none(), "a directory");
    fs::remove_dir(&path).expect("empty");
    fs::write(&path, text).expect("writable");
    assert!(restore(&path, KINDS).await.is_some(), "as it was");
}

#[tokio::test]
async fn what_a_killed_program_left_behind_is_deleted_and_what_another_writes_now_is_not() {
    let (_directory, path) = place();
    let [old, new, other] =
        [".gateway.state.tmp-old", ".gateway.state.tmp-new", "gateway.state.bak"].map(|name| path.with_file_name(name));
    // One that cannot be deleted keeps no other one.
    let stuck = path.with_file_name(".gateway.state.tmp-directory");
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::create_dir(&stuck).expect("made");
    for file in [&old, &new, &other] {
        fs::write(file, "doorward-state 1 ").expect("writable");
    }
    for file in [&old, &other, &stuck] {
        let file = fs::File::open(file).expect("there");
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("ours");
    }
    assert!(restore(&path, KINDS).await.is_none());
    assert!(!old.exists() && new.exists() && other.exists() && stuck.exists());
}

#[tokio::test]
async fn where_nothing_can_be_written_it_is_said_once_and_tried_again() {
    let (directory, path) = place();
    let in_the_way = directory.path().join("made");
    fs::write(&in_the_way, "a file").expect("writable");
    let mut state =
        StateFile { path, kinds: KINDS, on_disk: None, followed: Followed::default(), complaints: BTreeSet::new() };
    for _ in 0..3 {
        assert!(!state.write(Arc::new(services(&["a"])), Why::Due).await);
    }
    assert_eq!(state.complaints.len(), 1);
    fs::remove_file(in_the_way).expect("there");
    assert!(state.write(Arc::new(services(&["a"])), Why::Due).await);
    assert!(state.complaints.is_empty() && state.path.exists());
}

/// Notes what would be written, and fails where it is told to.
struct Notes {
    started: Instant,
    fails: bool,
    written: mpsc::UnboundedSender<(u64, usize)>,
}

impl Sink for Notes {
    async fn write(&mut self, snapshot: Arc<Snapshot>, _: Why) -> bool {
        let second = self.started.elapsed().as_secs();
        self.written.send((second, snapshot.services.len())).is_ok() && !self.fails
    }
}

type Written = mpsc::UnboundedReceiver<(u64, usize)>;

/// A writer that is told of new snapshots by `watch`, and the seconds and sizes of what it writes.
fn writer(fails: bool) -> (watch::Sender<Option<Arc<Snapshot>>>, CancellationToken, Written) {
    let (newest, to_write) = watch::channel(None);
    let (written, seen) = mpsc::unbounded_channel();
    let leave = CancellationToken::new();
    let notes = Notes { started: Instant::now(), fails, written };
    tokio::spawn(write_newest(to_write, leave.clone(), notes));
    (newest, leave, seen)
}

fn of_size(size: usize) -> Option<Arc<Snapshot>> {
    Some(Arc::new(services(&vec!["a", "b", "c", "d", "e", "f", "g", "h", "i"][..size])))
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_few_writes_and_the_last_is_among_them() {
    let (newest, _leave, mut written) = writer(false);
    for size in 1..=9 {
        newest.send_replace(of_size(size));
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    // One at once, the others at the ends of the pauses, and no more when nothing changes.
    tokio::time::sleep(Duration::from_secs(600)).await;
    drop(newest);
    let mut all = Vec::new();
    while let Some(write) = written.recv().await {
        all.push(write);
    }
    // What is written when it ends is what is there already, which StateFile sees.
    assert_eq!(all, [(0, 1), (5, 6), (10, 9), (608, 9)]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_change_is_written_every_hour() {
    let (newest, _leave, mut written) = writer(false);
    tokio::time::sleep(Duration::from_secs(9000)).await;
    newest.send_replace(of_size(1));
    for second in [9000, 12_605, 16_210] {
        assert_eq!(written.recv().await, Some((second, 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_writes_the_last_at_once() {
    let (newest, leave, mut written) = writer(false);
    newest.send_replace(of_size(1));
    assert_eq!(written.recv().await, Some((0, 1)));
    newest.send_replace(of_size(2));
    leave.cancel();
    assert_eq!(written.recv().await, Some((0, 2)));
    assert_eq!(written.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_is_tried_again_though_nothing_changes() {
    let (newest, _leave, mut written) = writer(true);
    newest.send_replace(of_size(1));
    for second in [0, 65, 130] {
        assert_eq!(written.recv().await, Some((second, 1)));
    }
}
