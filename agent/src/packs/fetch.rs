//! Gets the file of a pack. The image has its digest, so it does not matter who sends it.

use std::path::Path;
use std::time::Duration;

use api::packs::Pack;
use machine::Chain;
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use trust::Trust;

/// As many as iPXE makes for a segment of the ramdisk.
pub const ATTEMPTS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// The longest silence in the middle of a file.
const SILENCE: Duration = Duration::from_secs(30);
/// The largest pack of a standard kernel has 7 MB. It is in memory at once.
const LARGEST: u64 = 64 << 20;
/// What a pack takes of the memory, as a multiple of its size: itself, and its files, of which the most are modules.
const MEMORY: u64 = 5;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the pack would have {0} bytes, more than {LARGEST}; build the packs again")]
    Large(u64),
    #[error("it takes about {needed} bytes of memory, and {free} are free; give the machine more, or leave the pack out")]
    Memory { needed: u64, free: u64 },
    #[error("cannot set up HTTP")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{url} cannot be read")]
    Request { url: String, source: reqwest::Error },
    #[error("{url} sent nothing for {} s", SILENCE.as_secs())]
    Silent { url: String },
    #[error("{url} is not the file that the image was made with ({what}); make the ISO image again, or put the file back")]
    Other { url: String, what: String },
}

impl FetchError {
    /// Whether a later attempt may have another end.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Request { source, .. } => source.status().is_none_or(|status| status.is_server_error()),
            Self::Silent { .. } => true,
            Self::Large(_) | Self::Memory { .. } | Self::Client(_) | Self::Other { .. } => false,
        }
    }
}

/// The whole file, which has the digest of the index. `free` is the memory that it may take, in bytes.
///
/// # Errors
/// After so many attempts, or at once if the file is another one or too large.
pub async fn whole(url: &str, pack: &Pack, free: u64, attempts: u32) -> Result<Vec<u8>, FetchError> {
    if pack.size > LARGEST {
        return Err(FetchError::Large(pack.size));
    }
    let needed = pack.size * MEMORY;
    if needed > free {
        return Err(FetchError::Memory { needed, free });
    }
    let client = client().map_err(FetchError::Client)?;
    let mut attempt = 1;
    loop {
        let error = match once(&client, url, pack).await {
            Err(error) if error.may_pass() => error,
            result => return result,
        };
        let Some(pause) = pause_after(attempt, attempts) else { return Err(error) };
        log::warn!("driver pack {}: {}; the next attempt is in {} s", pack.name, Chain(&error), pause.as_secs());
        sleep(pause).await;
        attempt += 1;
    }
}

/// `None` after the last attempt.
fn pause_after(attempt: u32, attempts: u32) -> Option<Duration> {
    let doubled = FIRST_PAUSE.saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    (attempt < attempts).then(|| doubled.min(LONGEST_PAUSE))
}

/// boots is on the machine's own network, so no proxy is asked.
fn client() -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let authority = Path::new(machine::files::SERVER_CA);
    let extra = trust::certificates_if_there(authority.exists().then_some(authority))?;
    let tls = Trust { extra, ..Trust::default() }.client_config()?;
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).connect_timeout(CONNECTED_WITHIN).no_proxy();
    Ok(builder.build()?)
}

async fn once(client: &reqwest::Client, url: &str, pack: &Pack) -> Result<Vec<u8>, FetchError> {
    let request = |source: reqwest::Error| FetchError::Request { url: url.to_owned(), source: source.without_url() };
    let silent = |_| FetchError::Silent { url: url.to_owned() };
    let other = |what: String| FetchError::Other { url: url.to_owned(), what };
    let answer = timeout(SILENCE, client.get(url).send()).await.map_err(silent)?.map_err(request)?;
    let mut answer = answer.error_for_status().map_err(request)?;
    let mut bytes = Vec::with_capacity(pack.size as usize); // `whole` refuses a large one
    while let Some(piece) = timeout(SILENCE, answer.chunk()).await.map_err(silent)?.map_err(request)? {
        if (bytes.len() + piece.len()) as u64 > pack.size {
            return Err(other(format!("it has more than {} bytes", pack.size)));
        }
        bytes.extend_from_slice(&piece);
    }
    let is: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if is == pack.sha256 { Ok(bytes) } else { Err(other(format!("its SHA-256 is {is}, wanted is {}", pack.sha256))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_asked_for_about_a_minute() {
        let pauses: Vec<u64> = (1..).map_while(|n| pause_after(n, ATTEMPTS)).map(|pause| pause.as_secs()).collect();
        assert_eq!((pauses, pause_after(1, 1)), (vec![1, 2, 4, 8, 10, 10, 10, 10, 10], None));
    }
}
