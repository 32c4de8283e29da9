//! What files say together, and where they contradict each other. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{File, Files, Known};
use crate::{
    model::ObjectName,
    problem::{Problem, Reason},
    snapshot::Snapshot,
    source::{Kinds, manifest::Document, object::Object, object::Store},
};

/// What one file says of one object.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Said {
    /// Of several the last one.
    object: Option<Object>,
    /// How many documents of this name give objects.
    documents: usize,
    /// What is wrong with the last document that is wrong.
    error: Option<String>,
}

/// By name: of documents as their authors name them, and of the objects they give, which is mostly the same.
pub(super) fn sayings(documents: &[Document]) -> BTreeMap<ObjectName, Said> {
    let mut says: BTreeMap<ObjectName, Said> = BTreeMap::new();
    for Document { name, objects, error } in documents {
        for object in objects {
            says.entry(object.name()).or_default().object = Some(object.clone());
        }
        if let Some(name) = name {
            let said = says.entry(name.clone()).or_default();
            said.documents += usize::from(!objects.is_empty());
            said.error = error.clone().or_else(|| said.error.take());
        }
    }
    says
}

/// The objects of all files. Where two hold the same object, the later path wins.
pub fn snapshot(files: &Files, kinds: Kinds) -> Snapshot {
    store_after(&Known::default(), files).snapshot(kinds)
}

/// What all files say. Only those objects are looked at that a file says something of which is new, or gone, since
/// `last`: the others are as they were.
pub(super) fn store_after(last: &Known, files: &Files) -> Store {
    let mut store = last.store.clone();
    let not_in = |files: &Files, (path, file): &(&PathBuf, &Arc<File>)| {
        files.files.get(*path).is_none_or(|it| !Arc::ptr_eq(it, file))
    };
    let gone: Vec<_> = last.files.files.iter().filter(|it| not_in(files, it)).collect();
    let new: Vec<_> = files.files.iter().filter(|it| not_in(&last.files, it)).collect();
    let names: BTreeSet<&ObjectName> = gone.iter().chain(&new).flat_map(|(_, file)| file.says.keys()).collect();
    let said_before = gone.iter().flat_map(|(_, file)| &file.says);
    let was: BTreeMap<&ObjectName, &Object> =
        said_before.filter_map(|(name, it)| Some((name, it.object.as_ref()?))).collect();
    let mut said: BTreeMap<&ObjectName, Vec<(&Path, &Said)>> = BTreeMap::new();
    for (path, file) in &files.files {
        for (name, what) in of_these(&names, &file.says) {
            said.entry(name).or_default().push((path, what));
        }
    }

    // Two paths may look alike, so what is wrong with files and directories is said anew.
    store.problems.retain(|name, _| !["Directory", "File"].contains(&name.kind) && !names.contains(name));
    for name in &names {
        let says = said.get(name).map(Vec::as_slice).unwrap_or_default();
        match says.iter().rev().find_map(|(_, said)| said.object.as_ref()) {
            // One that says what it said before stays the same one, for those who compare.
            Some(object) if store.get(object.kind(), &object.key()) == Some(object) => {}
            Some(object) => drop(store.apply(object.clone())),
            None => was.get(name).into_iter().for_each(|it| drop(store.delete(it.kind(), &it.key()))),
        }
        let places = says.iter().flat_map(|(path, said)| std::iter::repeat_n(path, said.documents));
        let places: Vec<String> = places.map(|path| path.display().to_string()).collect();
        let error =
            says.iter().rev().find_map(|(path, said)| Some(format!("{}: {}", path.display(), said.error.as_ref()?)));
        let duplicate = (places.len() > 1).then(|| Reason::Duplicate { places: places.join(" and ") });
        let reason = error.map(|error| Reason::Unreadable { error }).or(duplicate);
        store.problems.extend(reason.map(|reason| ((*name).clone(), Problem::new(name, reason))));
    }
    let of_files = files.files.iter().filter_map(|(path, file)| Some((named("File", path), file.wrong.clone()?)));
    let of_directories = files.closed.iter().map(|(path, error)| (named("Directory", path), error.clone()));
    for (name, error) in of_files.chain(of_directories) {
        store.problems.insert(name.clone(), Problem::new(&name, Reason::Unreadable { error }));
    }
    store
}

/// What is said of these names, whichever are fewer.
fn of_these<'a>(
    names: &BTreeSet<&ObjectName>,
    says: &'a BTreeMap<ObjectName, Said>,
) -> Vec<(&'a ObjectName, &'a Said)> {
    if names.len() < says.len() {
        names.iter().filter_map(|name| says.get_key_value(*name)).collect()
    } else {
        says.iter().filter(|(name, _)| names.contains(name)).collect()
    }
}

fn named(kind: &'static str, path: &Path) -> ObjectName {
    ObjectName::new(kind, "", &path.display().to_string())
}

/// What is wrong with documents that do not say what they are: a problem of their file.
pub(super) fn nameless(documents: &[Document]) -> Option<String> {
    let errors = documents.iter().filter(|document| document.name.is_none()).filter_map(|it| it.error.as_deref());
    let errors: Vec<_> = errors.collect();
    let (first, more) = errors.split_first()?;
    let more = if more.is_empty() { String::new() } else { format!(", and {} more are wrong", more.len()) };
    Some(format!("{first}{more}; until that is right, objects that are gone from the file stay"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::{directory::keeping, manifest};

    const DOCUMENTS: [&str; 9] = [
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 81}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: web}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]\n",
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: 'fd00::1'}], ports: [{port: 80}]}]\n",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-0-IPv4, labels: {kubernetes.io/service-name: a}}\naddressType: IPv4\nendpoints: []\n",
        "kind: [\n",
    ];
    const PATHS: [&str; 3] = ["m/a.yaml", "m/b.yaml", "m/c/c.yaml"];

    /// What happens to the tree: a file says these documents, cannot be read, or is gone; a directory cannot be read.
    #[derive(Clone, Debug)]
    enum Change {
        Written(usize, Vec<usize>),
        Unreadable(usize),
        Gone(usize),
        Closed(bool),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let path = 0..PATHS.len();
        prop_oneof![
            6 => (path.clone(), prop::collection::vec(0..DOCUMENTS.len(), 0..4)).prop_map(|(path, documents)| Change::Written(path, documents)),
            1 => path.clone().prop_map(Change::Unreadable),
            1 => path.prop_map(Change::Gone),
            1 => any::<bool>().prop_map(Change::Closed),
        ]
    }

    fn after(files: &Files, change: &Change) -> Files {
        let mut files = files.clone();
        let known =
            |files: &Files, path: &Path| files.files.get(path).map(|file| file.documents.clone()).unwrap_or_default();
        match change {
            Change::Written(path, documents) => {
                let path = PathBuf::from(PATHS[*path]);
                let text = documents.iter().map(|it| DOCUMENTS[*it]).collect::<Vec<_>>().join("---\n");
                let known = known(&files, &path);
                let file = match manifest::documents(&text) {
                    Ok(documents) => File::new(Some(text), keeping(known, documents), None),
                    Err(error) => File::new(Some(text), known, Some(error)),
                };
                files.files.insert(path, Arc::new(file));
            }
            Change::Unreadable(path) => {
                let path = PathBuf::from(PATHS[*path]);
                let file = File::new(None, known(&files, &path), Some("it is locked".to_owned()));
                files.files.insert(path, Arc::new(file));
            }
            Change::Gone(path) => drop(files.files.remove(Path::new(PATHS[*path]))),
            Change::Closed(true) => drop(files.closed.insert("m/c".into(), "it is locked".to_owned())),
            Change::Closed(false) => files.closed.clear(),
        }
        files
    }

    proptest! {
        #[test]
        fn after_every_change_files_say_what_they_would_say_if_they_were_all_new(
            changes in prop::collection::vec(any_change(), 1..12),
        ) {
            let mut known = Known::default();
            for change in &changes {
                known = Known::after(&known, after(&known.files, change));
                prop_assert_eq!(&known.store, &store_after(&Known::default(), &known.files));
            }
        }
    }

    #[test]
    fn an_object_that_says_what_it_said_is_the_same_one() {
        let write = |known: &Known, documents: &[usize]| {
            Known::after(known, after(&known.files, &Change::Written(0, documents.to_vec())))
        };
        let first = write(&Known::default(), &[0, 3]);
        let second = write(&first, &[1, 3]);
        let services =
            |known: &Known| known.store.snapshot(Kinds { tls: true, endpoints: true, dns_endpoints: true }).services;
        let same: Vec<bool> = services(&first).iter().zip(&services(&second)).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(same, [false, true]);
    }
}
