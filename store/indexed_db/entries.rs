//! Where a record stands in the indexes, kept beside the record: so that an old record can be taken
//! out of them without looking into its value.
//!
//! Invariant: identifiers of indexes are never given twice, so that what is left of an index that
//! is gone does no harm.

use super::key::NotAKey;

/// Appends one entry: the index, the length of the index's key, that key.
pub(super) fn write(entries: &mut Vec<u8>, index: u32, key: &[u8]) {
    let length = u32::try_from(key.len()).expect("SQLite takes no key of 4 GiB");
    entries.extend_from_slice(&index.to_be_bytes());
    entries.extend_from_slice(&length.to_be_bytes());
    entries.extend_from_slice(key);
}

/// Takes the first entry off.
pub(super) fn read<'a>(entries: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, NotAKey> {
    if entries.is_empty() {
        return Ok(None);
    }
    let (index, rest) = entries.split_first_chunk().ok_or(NotAKey)?;
    let (length, rest) = rest.split_first_chunk().ok_or(NotAKey)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (key, rest) = rest.split_at_checked(length).ok_or(NotAKey)?;
    *entries = rest;
    Ok(Some((u32::from_be_bytes(*index), key)))
}
