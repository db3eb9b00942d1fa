//! Finds the keys of a value in what V8's serialiser wrote of it, so that a put needs no clone.
//!
//! What is not certain from the bytes alone is left to `js/indexed_db/put.js`, which makes a clone
//! and evaluates key paths on it as the specification says.
//!
//! Invariant: what is found here is what the specification finds in the clone.

use super::{IndexedDbIndexKeys, IndexedDbKey};
use crate::serialized::{Reader, VERSIONS};

const UNIQUE: u8 = 1;
const COMPOUND: u8 = 2;
const MULTI_ENTRY: u8 = 4;
const GENERATED: u8 = 8;

/// The keys of a record.
pub(super) struct FoundKeys {
    /// `None` if it is not in the value.
    pub(super) key: Option<IndexedDbKey>,
    pub(super) indexes: Vec<IndexedDbIndexKeys>,
}

/// What is at a place where a key is looked for.
enum Found {
    Key(IndexedDbKey),
    Undefined,
    NoKey,
}

/// One of an object store's key paths, as `recipe` in `js/indexed_db/key_path.js` writes it.
struct KeyPath<'a> {
    /// 0 is the object store itself.
    index: u32,
    flags: u8,
    /// Each is a count of identifiers, and for each its length and its ASCII text.
    paths: Vec<Vec<&'a [u8]>>,
}

/// The keys that `recipe` asks for; `None` if that is not certain.
pub(super) fn find(recipe: &[u8], bytes: &[u8]) -> Option<FoundKeys> {
    let mut recipe = Reader(recipe);
    let mut found = FoundKeys { key: None, indexes: Vec::new() };
    if recipe.is_empty() {
        return Some(found);
    }
    let value = match *bytes {
        [0xff, version, ref value @ ..] if VERSIONS.contains(&version) => Reader(value),
        _ => return None,
    };
    let mut generated = None;
    while !recipe.is_empty() {
        let path = recipe.key_path()?;
        // Where the generated key will be, only the clone tells what the other paths find.
        if generated.is_some() && path.paths.iter().any(|path| path.first() == generated.as_ref()) {
            return None;
        }
        match (path.index, evaluate(value, &path)?) {
            (0, Found::Key(key)) => found.key = Some(key),
            (0, Found::Undefined) if path.flags & GENERATED != 0 => {
                match (&path.paths.first()?[..], value.peek()?) {
                    ([only], b'o') => generated = Some(*only),
                    _ => return None,
                }
            }
            (0, _) => return None,
            (index, key) => {
                let keys = if let Found::Key(key) = key { vec![key] } else { vec![] };
                let unique = path.flags & UNIQUE != 0;
                found.indexes.push(IndexedDbIndexKeys { index, unique, keys });
            }
        }
    }
    Some(found)
}

/// The header and the body of a value without references from one part of it to another, which
/// would mean others within a larger value; `None` if that is not certain.
pub(super) fn self_contained(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes.split_at_checked(2)? {
        ([0xff, version], body) if VERSIONS.contains(version) => {
            let mut rest = Reader(body);
            rest.skip_value()?;
            rest.is_empty().then_some((&bytes[..2], body))
        }
        _ => None,
    }
}

/// <https://w3c.github.io/IndexedDB/#extract-a-key-from-a-value-using-a-key-path>
fn evaluate(value: Reader<'_>, path: &KeyPath<'_>) -> Option<Found> {
    if path.flags & COMPOUND == 0 {
        let place = value.descend(path.paths.first()?)?;
        // An array is an entry for each element.
        let is_array = place.is_some_and(|place| place.peek() == Some(b'A'));
        return match place {
            _ if is_array && path.flags & MULTI_ENTRY != 0 => None,
            Some(mut place) => place.key(),
            None => Some(Found::Undefined),
        };
    }
    let mut keys = Vec::with_capacity(path.paths.len());
    let mut is_key = true;
    for path in &path.paths {
        let Some(mut place) = value.descend(path)? else { return Some(Found::Undefined) };
        match place.key()? {
            Found::Key(key) => keys.push(key),
            Found::Undefined => return Some(Found::Undefined),
            Found::NoKey => is_key = false,
        }
    }
    Some(if is_key { Found::Key(IndexedDbKey::Array(keys)) } else { Found::NoKey })
}

impl<'a> Reader<'a> {
    fn key_path(&mut self) -> Option<KeyPath<'a>> {
        let index = u32::from_le_bytes(*self.0.first_chunk()?);
        self.take(4)?;
        let (flags, count) = (self.byte()?, self.byte()?);
        let mut paths = Vec::with_capacity(count.into());
        for _ in 0..count {
            let mut path = Vec::with_capacity(2);
            for _ in 0..self.byte()? {
                let length = self.byte()?;
                path.push(self.take(length.into())?);
            }
            paths.push(path);
        }
        Some(KeyPath { index, flags, paths })
    }

    /// The value of a property of a property ...; within `Some`, `None` if there is none.
    fn descend(mut self, path: &[&[u8]]) -> Option<Option<Self>> {
        for name in path {
            match self.property(name)? {
                Some(value) => self = value,
                None => return Some(None),
            }
        }
        Some(Some(self))
    }

    fn property(mut self, name: &[u8]) -> Option<Option<Self>> {
        if self.tag()? != b'o' {
            return None;
        }
        while self.peek()? != b'{' {
            if self.is_named(name)? {
                return Some(Some(self));
            }
            self.skip_value()?;
        }
        Some(None)
    }

    /// Reads the name of a property.
    fn is_named(&mut self, name: &[u8]) -> Option<bool> {
        match self.tag()? {
            b'"' => Some(self.text()? == name),
            b'c' => {
                let units = self.text()?.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit));
                Some(units.eq(name.iter().map(|byte| u16::from(*byte))))
            }
            b'I' | b'U' => self.number().map(|_| false),
            b'N' => self.take(8).map(|_| false),
            _ => None,
        }
    }

    /// <https://w3c.github.io/IndexedDB/#convert-a-value-to-a-key>, but for arrays and buffers.
    fn key(&mut self) -> Option<Found> {
        let key = match self.tag()? {
            b'I' => IndexedDbKey::Number(self.integer()?.into()),
            b'U' => IndexedDbKey::Number(f64::from(self.number()?)),
            b'N' => match self.double()? {
                number if number.is_nan() => return Some(Found::NoKey),
                number => IndexedDbKey::Number(number),
            },
            b'D' => match self.double()? {
                time if time.is_nan() => return Some(Found::NoKey),
                time => IndexedDbKey::Date(time),
            },
            b'"' => IndexedDbKey::String(self.text()?.iter().map(|unit| (*unit).into()).collect()),
            b'c' => {
                let units = self.text()?.as_chunks().0.iter();
                IndexedDbKey::String(units.map(|unit| u16::from_le_bytes(*unit)).collect())
            }
            b'_' => return Some(Found::Undefined),
            b'0' | b'T' | b'F' | b'o' => return Some(Found::NoKey),
            _ => return None,
        };
        Some(Found::Key(key))
    }
}
