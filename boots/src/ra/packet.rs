//! ICMPv6 messages; the kernel adds the checksum.

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// Hop limit unspecified, no managed or other configuration, and a router lifetime of 0: no default router.
#[must_use]
pub fn advertisement(mac: Option<[u8; 6]>) -> Vec<u8> {
    let mut out = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0];
    out.extend([0; 8]); // reachable and retransmit times: unspecified
    if let Some(mac) = mac {
        out.extend([SOURCE_LINK_LAYER_ADDRESS, 1]); // length in units of 8 bytes
        out.extend(mac);
    }
    out
}

/// A whole solicitation; its options are of no interest.
#[must_use]
pub fn is_solicitation(message: &[u8]) -> bool {
    matches!(message, [ROUTER_SOLICITATION, 0, ..]) && message.len() >= 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_offers_nothing() {
        let bytes = advertisement(Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(bytes.len(), 24);
        assert_eq!(bytes.get(6..8), Some(&[0, 0][..]), "router lifetime");
        assert_eq!(bytes.get(16..), Some(&[1, 1, 2, 0, 0, 0, 0, 1][..]));
    }

    #[test]
    fn solicitations_are_recognised() {
        assert!(is_solicitation(&[133, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!is_solicitation(&[134, 0, 0, 0, 0, 0, 0, 0]));
        assert!(!is_solicitation(&[133, 0, 0]));
        assert!(!is_solicitation(&[]));
    }
}
