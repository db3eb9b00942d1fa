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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(all: Vec<(u32, Vec<u8>)>) {
            let mut entries = Vec::new();
            for (index, key) in &all {
                write(&mut entries, *index, key);
            }
            let mut rest = &entries[..];
            for (index, key) in &all {
                prop_assert_eq!(read(&mut rest), Ok(Some((*index, &key[..]))));
            }
            prop_assert_eq!(read(&mut rest), Ok(None));
        }

        #[test]
        fn whatever_is_read_is_written_with_the_same_bytes(mut bytes: Vec<u8>, short: bool) {
            // A length that fits into the bytes.
            if short && bytes.len() > 7 {
                bytes[4..7].fill(0);
            }
            let (mut rest, mut written) = (&bytes[..], Vec::new());
            while let Ok(Some((index, key))) = read(&mut rest) {
                write(&mut written, index, key);
            }
            prop_assert_eq!(&written[..], &bytes[..bytes.len() - rest.len()]);
        }
    }
}
