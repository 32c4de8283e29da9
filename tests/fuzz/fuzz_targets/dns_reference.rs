//! Any bytes as a query: an answer that can be read, or none to what is no query.

#![no_main]

libfuzzer_sys::fuzz_target!(|query: &[u8]| {
    tests::fuzz::dns_reference(query);
});
