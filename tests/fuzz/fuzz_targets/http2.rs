//! Any bytes as a connection of HTTP/2: what is counted has an end, and does not depend on how the bytes come.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tests::fuzz::http2(bytes);
});
