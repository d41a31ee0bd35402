//! When this program was built, as far as a reproducible build can contain that: `SOURCE_DATE_EPOCH`, or this release's
//! date.

/// Seconds since 1970.
pub const BUILT: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => decimal(text),
    None => RELEASED,
};
const RELEASED: u64 = 1_795_392_000; // 2026-11-23

const fn decimal(text: &str) -> u64 {
    match u64::from_str_radix(text, 10) {
        Ok(seconds) => seconds,
        Err(_) => RELEASED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_date_that_is_not_a_number_becomes_the_release_date() {
        assert_eq!((decimal("1800000000"), decimal("yesterday")), (1_800_000_000, RELEASED));
    }
}
