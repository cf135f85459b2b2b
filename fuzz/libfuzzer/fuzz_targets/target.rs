//! libFuzzer over the target that this binary is named after.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let target = bletchley_fuzz::target(env!("CARGO_BIN_NAME")).expect("this binary is named after a target");
    (target.check)(bytes);
    Corpus::Keep
});
