//! Any bytes as a connection of HTTP/1: what is taken is read in the same way by two other parsers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tests::fuzz::http1(bytes);
});
