//! Time limits for the parts of a pull. They end a registry that answers slowly, or archives that cause much work.

use std::pin::Pin;
use std::time::Duration;

use super::PullError;
use crate::manifest::Descriptor;
use crate::reference::Reference;

/// The limit for all documents of an image and its signatures, including every wait for an unreachable registry.
pub const DOCUMENTS: Duration = Duration::from_secs(600);
/// The slowest network over which machines are installed.
const BYTES_A_SECOND: u64 = 128 << 10;
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// The limit for the layers, from the first request until the last one is unpacked.
pub fn for_layers(layers: &[Descriptor]) -> Duration {
    let bytes = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    DOCUMENTS.saturating_add(Duration::from_secs(bytes / BYTES_A_SECOND)).min(LONGEST)
}

/// The work is boxed. Otherwise its size would count again in each future that contains it, and stay on the stack.
pub async fn in_time<T>(
    image: &Reference,
    limit: Duration,
    work: Pin<Box<impl Future<Output = Result<T, PullError>>>>,
) -> Result<T, PullError> {
    let late = |_| PullError::TooLong { image: image.to_string(), limit };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_large_image_has_more_time_up_to_a_limit() {
        let layer = |size| Descriptor::of(&Digest::of(b""), size);
        for (layers, minutes) in [
            (vec![], 10),
            (vec![layer(78 << 20)], 20),
            (vec![layer(500 << 20), layer(1 << 30)], 213),
            (vec![layer(u64::MAX), layer(u64::MAX)], 360),
        ] {
            assert_eq!(for_layers(&layers).as_secs() / 60, minutes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_pull_is_named_by_its_image() {
        let image = "registry.example/tool:1".parse().unwrap();
        let error = in_time(&image, DOCUMENTS, Box::pin(std::future::pending::<Result<(), _>>())).await.unwrap_err();
        assert_eq!(error.to_string(), "image registry.example/tool:1 was not pulled within 10 minutes");
    }
}
