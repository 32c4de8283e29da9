//! Directories that change, are broken, and are right again.

use super::*;
use crate::snapshot::Snapshot;

const ALL: Kinds = Kinds { tls: true, endpoints: true, dns_endpoints: true };
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
    fs::write(&b, format!("{}---\n{}", SERVICE.replace("80", "81"), SERVICE.replace("web", "other"))).expect("written");
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
            format!("File {}: cannot be read: it has 67108865 bytes, and 67108864 are read at most", large.display()),
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

#[test]
fn a_file_that_nobody_has_written_to_is_not_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("web.yaml");
    fs::write(&path, SERVICE).expect("written");
    let began = Instant::now();
    let read = |previous: &Files, seconds| {
        read_at(directory.path(), previous, began + Duration::from_secs(seconds)).expect("readable")
    };
    let says = |files: &Files| files.files[&path].text.clone().expect("readable");
    // Who reads the file finds out that this is not what it says.
    let with_another = |mut files: Files| {
        files.files.insert(path.clone(), Arc::new(File::new(Some("{}".to_owned()), Vec::new(), None)));
        files
    };
    let first = with_another(read(&Files::default(), 0));
    assert_eq!(says(&read(&first, 60)), SERVICE, "it may have been written to twice");
    let later = with_another(read(&first, 60));
    assert_eq!(says(&read(&later, 120)), "{}");
    put(&path, &SERVICE.replace("80", "81"));
    assert_eq!(says(&read(&later, 120)), SERVICE.replace("80", "81"));
}
