//! One frame through `Router::forward` in every configuration of the shared cases: it must not panic, its bytes must make
//! sense afterwards, and the packet accounting must add up.
#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(case) = input::case(data)
        && let Err(broken) = input::fuzz::replay(&case)
    {
        panic!("{broken}: keep this as tests/data/fuzz/NAME.txt\n{}", case.to_text());
    }
});
