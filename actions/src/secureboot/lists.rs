//! Signature lists (`EFI_SIGNATURE_LIST`, UEFI 2.10, section 32.4.1) and what stands before them in an update that has a time
//! (`EFI_VARIABLE_AUTHENTICATION_2`, section 8.2.2).

use crate::partitions::le;

/// `EFI_TIME`
const TIME: usize = 16;
/// `WIN_CERTIFICATE_UEFI_GUID` without the certificate.
const CERTIFICATE: usize = 24;
const REVISION: u64 = 0x200;
const TYPE_GUID: u64 = 0x0ef1;
/// `EFI_CERT_TYPE_PKCS7_GUID`
const PKCS7: [u8; 16] = [0x9d, 0xd2, 0xaf, 0x4a, 0xdf, 0x68, 0xee, 0x49, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7];
/// `EFI_CERT_X509_GUID`
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// `EFI_CERT_SHA256_GUID`
const SHA256: [u8; 16] = [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];
const LIST_HEADER: usize = 28;
const OWNER: usize = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("its signature lists contradict themselves at byte {0}: make them again with cert-to-efi-sig-list")]
    Damaged(usize),
    #[error("it has no keys")]
    Empty,
    #[error("it does not begin with the header of a signed update: is it a .esl file?")]
    NotAuth,
    #[error("a platform key must be signed by itself: make PK.auth with sign-efi-sig-list")]
    UnsignedPlatformKey,
}

/// What the variable is written with, and the lists in it.
pub type Prepared = (Vec<u8>, Vec<u8>);

/// A signed update, which is written as it is.
pub fn of_auth(data: &[u8]) -> Result<Prepared, ListError> {
    let length = le(data, TIME, 4).and_then(|length| usize::try_from(length).ok()).ok_or(ListError::NotAuth)?;
    let is_header = le(data, TIME + 4, 2) == Some(REVISION)
        && le(data, TIME + 6, 2) == Some(TYPE_GUID)
        && data.get(TIME + 8..TIME + CERTIFICATE) == Some(&PKCS7)
        && length > CERTIFICATE;
    let lists = TIME.checked_add(length).and_then(|at| data.get(at..)).filter(|_| is_header).ok_or(ListError::NotAuth)?;
    check(lists)?;
    Ok((data.to_vec(), lists.to_vec()))
}

/// Lists without a signature. In setup mode the firmware wants the header and does not look at the signature, but for PK.
pub fn unsigned(lists: &[u8], is_platform_key: bool) -> Result<Prepared, ListError> {
    check(lists)?;
    if is_platform_key {
        return Err(ListError::UnsignedPlatformKey);
    }
    // The first second of 2020, in which no clock is: later updates have a later time.
    let mut data = vec![0xe4, 0x07, 1, 1];
    data.resize(TIME, 0);
    data.extend((CERTIFICATE as u32).to_le_bytes());
    data.extend((REVISION as u16).to_le_bytes());
    data.extend((TYPE_GUID as u16).to_le_bytes());
    data.extend(PKCS7);
    data.extend(lists);
    Ok((data, lists.to_vec()))
}

fn check(lists: &[u8]) -> Result<(), ListError> {
    let mut at = 0;
    while at < lists.len() {
        let (length, _) = list(lists, at).ok_or(ListError::Damaged(at))?;
        at += length;
    }
    if lists.is_empty() { Err(ListError::Empty) } else { Ok(()) }
}

/// The length of the list that begins there, and how many keys it has.
fn list(lists: &[u8], at: usize) -> Option<(usize, usize)> {
    let number = |offset: usize| usize::try_from(le(lists, at + offset, 4)?).ok();
    let (length, header, entry) = (number(16)?, number(20)?, number(24)?);
    let entries = length.checked_sub(LIST_HEADER)?.checked_sub(header)?;
    let fits = lists.len() - at >= length && entry > OWNER && entries > 0 && entries.is_multiple_of(entry);
    fits.then(|| (length, entries / entry)) // an entry without a size does not fit
}

/// How many keys of which kind.
pub fn describe(lists: &[u8]) -> String {
    let (mut certificates, mut hashes, mut others) = (0, 0, 0);
    let mut at = 0;
    while let Some((length, count)) = list(lists, at) {
        match lists.get(at..at + 16) {
            Some(kind) if kind == X509 => certificates += count,
            Some(kind) if kind == SHA256 => hashes += count,
            _ => others += count,
        }
        at += length;
    }
    let parts = [(certificates, "certificates"), (hashes, "SHA-256 hashes"), (others, "other keys")];
    let words: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    words.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn esl(entries: usize) -> Vec<u8> {
        let mut list = SHA256.to_vec();
        list.extend(((LIST_HEADER + 48 * entries) as u32).to_le_bytes());
        list.extend([0, 0, 0, 0, 48, 0, 0, 0]);
        list.resize(LIST_HEADER + 48 * entries, 7);
        list
    }

    #[test]
    fn lists_are_checked_to_their_last_byte() {
        let two = [esl(1), esl(3)].concat();
        assert_eq!(check(&two), Ok(()));
        assert_eq!(describe(&two), "4 SHA-256 hashes");
        for end in 1..two.len() {
            let whole = end == esl(1).len();
            assert_eq!(check(&two[..end]).is_ok(), whole, "{end}");
        }
        assert_eq!(check(&[]), Err(ListError::Empty));
        assert_eq!(unsigned(&esl(1), true), Err(ListError::UnsignedPlatformKey));
    }

    #[test]
    fn a_list_whose_entries_have_no_size_is_damaged() {
        let mut list = esl(1);
        list[24..28].fill(0);
        assert_eq!(check(&list), Err(ListError::Damaged(0)));
        assert_eq!(describe(&list), "");
    }

    #[test]
    fn an_unsigned_list_gets_the_header_of_an_update() {
        let (data, lists) = unsigned(&esl(2), false).unwrap();
        assert_eq!((data.len(), lists.len()), (TIME + CERTIFICATE + lists.len(), esl(2).len()));
        assert_eq!(of_auth(&data), Err(ListError::NotAuth), "it has no signature, so it is not a signed update");
        assert_eq!(of_auth(&esl(2)), Err(ListError::NotAuth));
    }
}
