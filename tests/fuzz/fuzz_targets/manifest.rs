//! Any text as a file of manifests: the whole way to routes and zones, without a panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    tests::fuzz::manifests(&String::from_utf8_lossy(text));
});
