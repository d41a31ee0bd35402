//! Any kernel command line is read. What was understood is rendered, and reading that gives the same result.
#![no_main]

use cmdline::Arguments;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let arguments = Arguments::parse(text).arguments;
    let _ = (arguments.to_string(), arguments.check());
    let again = Arguments::parse(&arguments.render()).arguments;
    assert_eq!(again.render(), Arguments::parse(&again.render()).arguments.render());
});
