//! What a query has found, in columns: a vector for each value would take as long as finding it.

use std::collections::BTreeMap;

use super::blobs::BlobPart;
use super::key::Key;

/// Records that were found, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Their keys in the source.
    pub keys: Vec<Key>,
    /// Their keys in the object store; none where that is the source.
    pub primary_keys: Vec<Key>,
    /// Their values; none where those were not wanted.
    pub values: Values,
}

/// Values that were found, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// What V8's serialiser wrote of each, one behind the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// The contents of Blob and File objects, by the place of their value.
    pub blobs: BTreeMap<usize, Vec<BlobPart>>,
}

impl Values {
    pub(super) fn push(&mut self, bytes: &[u8], blobs: Vec<BlobPart>) {
        if !blobs.is_empty() {
            self.blobs.insert(self.ends.len(), blobs);
        }
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }
}

/// One of [`Records`].
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key in the source.
    pub key: Key,
    /// Its key in the object store, where the source is an index.
    pub primary_key: Option<Key>,
    /// Its value, if it was wanted.
    pub value: Option<StoredValue>,
}

/// One of [`Values`].
#[derive(Clone, Debug, PartialEq)]
pub struct StoredValue {
    /// What V8's serialiser wrote.
    pub bytes: Vec<u8>,
    /// The contents of its Blob and File objects.
    pub blobs: Vec<BlobPart>,
}

impl IntoIterator for Records {
    type Item = Record;
    type IntoIter = Box<dyn Iterator<Item = Record>>;

    fn into_iter(self) -> Self::IntoIter {
        let mut primary_keys = self.primary_keys.into_iter();
        let mut values = self.values.into_iter();
        Box::new(self.keys.into_iter().map(move |key| Record {
            key,
            primary_key: primary_keys.next(),
            value: values.next(),
        }))
    }
}

impl IntoIterator for Values {
    type Item = StoredValue;
    type IntoIter = Box<dyn Iterator<Item = StoredValue>>;

    fn into_iter(mut self) -> Self::IntoIter {
        let mut start = 0;
        Box::new(self.ends.into_iter().enumerate().map(move |(place, end)| {
            let bytes = self.bytes[start..end].to_vec();
            start = end;
            StoredValue { bytes, blobs: self.blobs.remove(&place).unwrap_or_default() }
        }))
    }
}
