//! SNTP packets (RFC 4330, RFC 5905): the question, and the checks of an answer.

use std::time::Duration;

pub const PORT: u16 = 123;
const LEN: usize = 48;
/// Seconds from 1900, where NTP counts from, to 1970.
const UNIX: u64 = 2_208_988_800;
const CLIENT_V4: u8 = 0x23;
const SERVER: u8 = 4;
/// A time this long after the build of this program is wrong: the server is broken, or counts from another era.
const FARTHEST: u64 = 20 * 365 * 86400;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("it is not an NTP answer")]
    NotAnAnswer,
    #[error("it answers another question")]
    NotOurs,
    #[error("the server's own clock is not set")]
    Unsynchronized,
    #[error("the server refuses (kiss code {})", .0.escape_ascii())]
    Kiss([u8; 4]),
    #[error("the time it gives ({0} s since 1970) is not plausible")]
    Absurd(u64),
}

/// The answer repeats `cookie`. A random number reveals less than the machine's clock.
pub fn request(cookie: u64) -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[0] = CLIENT_V4;
    packet[40..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// The server's time when the answer was sent, since 1970.
pub fn read(packet: &[u8], cookie: u64, built: u64) -> Result<Duration, Rejected> {
    let packet = packet.first_chunk::<LEN>().ok_or(Rejected::NotAnAnswer)?;
    let word = |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes).unwrap_or(0);
    let [first, stratum, ..] = *packet;
    if first & 7 != SERVER || !(1..=4).contains(&(first >> 3 & 7)) {
        return Err(Rejected::NotAnAnswer);
    }
    if u64::from(word(24)) << 32 | u64::from(word(28)) != cookie {
        return Err(Rejected::NotOurs);
    }
    if stratum == 0 {
        return Err(Rejected::Kiss(word(12).to_be_bytes()));
    }
    let (seconds, fraction) = (u64::from(word(40)), u64::from(word(44)));
    if first >> 6 == 3 || stratum > 15 || (seconds, fraction) == (0, 0) {
        return Err(Rejected::Unsynchronized);
    }
    // From RFC 4330, 3: without the highest bit it is the era that begins in 2036.
    let seconds = if seconds >> 31 == 1 { seconds } else { seconds + (1 << 32) };
    let unix = seconds.saturating_sub(UNIX);
    if unix < built || unix > built + FARTHEST {
        return Err(Rejected::Absurd(unix));
    }
    let nanoseconds = (fraction * 1_000_000_000) >> 32;
    Ok(Duration::new(unix, u32::try_from(nanoseconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: u64 = 0x0123_4567_89ab_cdef;
    const BUILT: u64 = 1_795_392_000;

    fn answer(unix: u64) -> [u8; LEN] {
        let mut packet = [0; LEN];
        (packet[0], packet[1]) = (0x24, 2);
        packet[24..32].copy_from_slice(&request(COOKIE)[40..]);
        let seconds = u32::try_from((unix + UNIX) & 0xffff_ffff).unwrap();
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet[44] = 0x80;
        packet
    }

    #[test]
    fn a_plausible_answer_gives_the_time() {
        let later = |unix: u64| Ok(Duration::new(unix, 500_000_000));
        assert_eq!(read(&answer(BUILT + 100), COOKIE, BUILT), later(BUILT + 100));
        assert_eq!(read(&answer(2_100_000_000), COOKIE, BUILT), later(2_100_000_000), "beyond 2036");
    }

    #[test]
    fn a_wrong_answer_is_refused_with_its_mistake() {
        type Change = fn(&mut [u8; LEN]);
        let cases: [(&str, Change, Rejected); 7] = [
            ("a request", |packet| packet[0] = 0x23, Rejected::NotAnAnswer),
            ("version 7", |packet| packet[0] = 0x3c, Rejected::NotAnAnswer),
            ("another question's", |packet| packet[31] ^= 1, Rejected::NotOurs),
            ("leap 3", |packet| packet[0] = 0xe4, Rejected::Unsynchronized),
            ("stratum 16", |packet| packet[1] = 16, Rejected::Unsynchronized),
            ("no time", |packet| packet[40..].fill(0), Rejected::Unsynchronized),
            (
                "go away",
                |packet| {
                    packet[1] = 0;
                    packet[12..16].copy_from_slice(b"RATE");
                },
                Rejected::Kiss(*b"RATE"),
            ),
        ];
        for (case, change, expected) in cases {
            let mut packet = answer(BUILT + 100);
            change(&mut packet);
            assert_eq!(read(&packet, COOKIE, BUILT), Err(expected), "{case}");
        }
        assert_eq!(read(&[0x24; 47], COOKIE, BUILT), Err(Rejected::NotAnAnswer));
        assert_eq!(read(&answer(BUILT - 1), COOKIE, BUILT), Err(Rejected::Absurd(BUILT - 1)));
        assert!(matches!(read(&answer(0), COOKIE, BUILT), Err(Rejected::Absurd(_))));
        assert!(matches!(read(&answer(BUILT + FARTHEST + 1), COOKIE, BUILT), Err(Rejected::Absurd(_))));
    }
}
