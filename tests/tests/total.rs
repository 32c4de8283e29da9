//! Whatever stands in a manifest, translation, names, the zone and the table come to an end without a panic.
//!
//! The fixtures are the seeds. Values in them are swapped for odd ones, taken away or doubled, so
//! that what comes out is still close enough to an object to get far.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use k8s::{
    config::{self, Config},
    source::manifest,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One change: which of the document's values, counted from its beginning, and what becomes of it.
#[derive(Clone, Debug)]
struct Change {
    place: prop::sample::Index,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Set(Value),
    Remove,
    Double,
}

fn change() -> impl Strategy<Value = Change> {
    let odd = prop::sample::select(vec![
        json!(""),
        json!("."),
        json!("*"),
        json!("*."),
        json!("*.*.example"),
        json!("a..b"),
        json!("é.home.example"),
        json!("/"),
        json!("//"),
        json!("/%zz/../"),
        json!("[("),
        json!("\u{0}\r\n"),
        json!("x".repeat(300)),
        json!("-1"),
        json!(0),
        json!(-1),
        json!(70000),
        json!(u64::MAX),
        json!(true),
        json!(null),
        json!([]),
        json!({}),
        json!("default/home-tls"),
        json!("ExternalName"),
        json!("RegularExpression"),
        json!("ReplacePrefixMatch"),
        json!("192.168.8.21"),
        json!("::ffff:10.0.0.1"),
        json!("99h99m99s99ms"),
        json!("LoadBalancer"),
        json!("TLS"),
        json!("TCP"),
        json!("UDP"),
        json!("HTTPS"),
        json!("Passthrough"),
        json!("Selector"),
        json!("All"),
        json!("ListenerSet"),
        json!("TLSRoute"),
        json!("home"),
        json!(80),
        json!(443),
        json!("CNAME"),
        json!("TXT"),
        json!("a.cfargotunnel.com"),
        json!("a,*.b,,*"),
    ]);
    let what = prop_oneof![8 => odd.prop_map(What::Set), 1 => Just(What::Remove), 1 => Just(What::Double)];
    (any::<prop::sample::Index>(), what).prop_map(|(place, what)| Change { place, what })
}

/// The documents of every fixture, and the configuration that they are read with.
static FIXTURES: LazyLock<Vec<(Vec<Value>, Config)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&root).expect("the fixtures are here").flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("in.yaml")) else { continue };
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("fixtures are right YAML");
        all.push((entry.path(), documents));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() > 80, "the fixtures are here");
    let with_config = |(case, documents): (PathBuf, Vec<Value>)| {
        let own = case.join("config.yaml");
        let config = if own.exists() { own } else { root.join("config.yaml") };
        (documents, config::load(&config).expect("a right configuration"))
    };
    all.into_iter().map(with_config).collect()
});

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(count).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Changes the `place`th value, and says whether it was in here; counts `place` down to it.
fn apply(value: &mut Value, place: &mut usize, what: &What) -> bool {
    if *place == 0 {
        match what {
            What::Set(new) => *value = new.clone(),
            What::Remove => *value = Value::Null,
            What::Double => *value = json!([value.clone(), value.clone()]),
        }
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(elements) => {
            let found = elements.iter_mut().position(|element| apply(element, place, what));
            // A list with one of its elements twice is more often an object that can be read.
            if let (Some(found), What::Double) = (found, what)
                && let Some(Value::Array(both)) = elements.get(found).cloned()
            {
                elements.splice(found..=found, both);
            }
            found.is_some()
        }
        Value::Object(fields) => {
            let found = fields.iter_mut().find_map(|(name, field)| apply(field, place, what).then(|| name.clone()));
            if let (Some(name), What::Remove) = (&found, what)
                && fields.get(name).is_some_and(Value::is_null)
            {
                fields.remove(name);
            }
            found.is_some()
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_manifest_makes_anything_panic(
        fixture in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..6),
    ) {
        let (documents, config) = fixture.get(&FIXTURES);
        let mut values = documents.clone();
        for (document, Change { place, what }) in &changes {
            let n_documents = values.len();
            let document = &mut values[document.index(n_documents)];
            let mut place = place.index(count(document));
            apply(document, &mut place, what);
        }
        // Each on its own, so that one that cannot be read leaves the others.
        let objects = values.iter().filter_map(|value| manifest::read(&value.to_string()).ok()).flatten();
        tests::fuzz::follow(objects, config);
    }
}
