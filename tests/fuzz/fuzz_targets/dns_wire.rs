//! Any bytes as a query: the common path says what the reference says.

#![no_main]

libfuzzer_sys::fuzz_target!(|query: &[u8]| {
    tests::fuzz::dns_wire(query);
});
