//! How long the parts of a pull may take. A registry that answers slowly, or with archives that make much work, ends here.

use std::pin::Pin;
use std::time::Duration;

use super::PullError;
use crate::manifest::Descriptor;
use crate::reference::Reference;

/// All documents of an image and its signatures, with every wait for a registry that is unreachable.
pub const DOCUMENTS: Duration = Duration::from_secs(600);
/// A slower network is not one to install machines over.
const BYTES_A_SECOND: u64 = 128 << 10;
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// For the layers, from the first request until the last one is unpacked.
pub fn for_layers(layers: &[Descriptor]) -> Duration {
    let bytes = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    DOCUMENTS.saturating_add(Duration::from_secs(bytes / BYTES_A_SECOND)).min(LONGEST)
}

/// The work is boxed: moved about inside other work, its size would count several times, and stay on the stack.
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
    fn a_large_image_has_more_time_but_not_for_ever() {
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
    async fn work_that_does_not_end_is_named_by_its_image() {
        let image = "registry.example/tool:1".parse().unwrap();
        let error = in_time(&image, DOCUMENTS, Box::pin(std::future::pending::<Result<(), _>>())).await.unwrap_err();
        assert_eq!(error.to_string(), "image registry.example/tool:1 was not there after 10 minutes");
    }
}
