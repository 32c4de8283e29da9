//! What the fuzzer starts from, and what it has found, on stable Rust: `tests/fuzz/seeds` and the fixtures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tests::fuzz;

/// How many of the fuzzer's kind of inputs are made of its seeds.
const MUTATIONS: usize = 20_000;

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

#[test]
fn what_http_1_is_taken_is_read_in_the_same_way_by_others() {
    let seeds: Vec<Vec<u8>> = files("fuzz/seeds/http1").iter().map(|path| fs::read(path).expect("readable")).collect();
    let n_requests: usize = seeds.iter().map(|seed| fuzz::http1(seed)).sum();
    assert!(n_requests > 12, "only {n_requests} are taken");
    let mut random = Random(1);
    let n_requests: usize = (0..MUTATIONS).map(|_| checked(&random.mutated(&seeds), fuzz::http1)).sum();
    assert!(n_requests > MUTATIONS / 10, "only {n_requests} are taken");
}

#[test]
fn what_http_2_costs_is_counted_however_it_comes() {
    let seeds: Vec<Vec<u8>> = files("fuzz/seeds/http2").iter().map(|path| fs::read(path).expect("readable")).collect();
    seeds.iter().for_each(|seed| fuzz::http2(seed));
    let mut random = Random(1);
    for _ in 0..MUTATIONS / 4 {
        checked(&random.mutated(&seeds), fuzz::http2);
    }
}

/// Shows what it was that did not hold.
fn checked<T>(bytes: &[u8], check: impl Fn(&[u8]) -> T + std::panic::RefUnwindSafe) -> T {
    std::panic::catch_unwind(|| check(bytes)).unwrap_or_else(|_| panic!("{}", bytes.escape_ascii()))
}

/// The same numbers each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).expect("small")
    }

    /// One of the seeds after one to four changes.
    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let pieces: [&[u8]; 20] = [
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b"\0",
            b":",
            b";",
            b",",
            b"0",
            b"%2e",
            b"\x7f",
            b"\xff",
            b"A: b\r\n",
            b"Content-Length: 1\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"0\r\n\r\n",
            b"<",
            b"_",
        ];
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = bytes.len().min(at + self.below(12));
            match self.below(5) {
                0 => drop(bytes.splice(at..at, pieces[self.below(pieces.len())].iter().copied())),
                1 => drop(bytes.splice(at..end, pieces[self.below(pieces.len())].iter().copied())),
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = u8::try_from(self.below(256)).expect("a byte");
                    }
                }
            }
        }
        bytes
    }
}
