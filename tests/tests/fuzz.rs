//! What the fuzzer starts from, and what it has found, on stable Rust: `tests/fuzz/seeds` and the fixtures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tests::fuzz;

/// The files of a directory of this package, in order.
fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&directory).expect("a directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_query_that_the_fuzzer_knows_is_answered_rightly() {
    let mut n_common = 0;
    for path in files("fuzz/seeds/dns") {
        println!("{}", path.display());
        let query = fs::read(&path).expect("readable");
        n_common += usize::from(fuzz::dns_wire(&query));
        fuzz::dns_reference(&query);
    }
    assert!(n_common >= 10, "only {n_common} are what is asked all day");
}

#[test]
fn every_manifest_that_the_fuzzer_knows_is_read_without_a_panic() {
    let fixtures = files("fixtures").into_iter().map(|case| case.join("in.yaml")).filter(|path| path.exists());
    for path in files("fuzz/seeds/manifest").into_iter().chain(fixtures) {
        println!("{}", path.display());
        fuzz::manifests(&String::from_utf8_lossy(&fs::read(&path).expect("readable")));
    }
}
