//! Keys as bytes whose order is IndexedDB's: <https://w3c.github.io/IndexedDB/#key-construct>.
//!
//! Each type has a tag, in the order of the types: number, date, string, binary, array. No key is
//! the beginning of another, so that bytes may follow a key without changing the order.
//!
//! Invariant: `a < b` as IndexedDB compares keys if and only if the bytes of `a` are less than
//! those of `b`; what is decoded equals what was encoded, and a key has one encoding only.

const NUMBER: u8 = 0x10;
const DATE: u8 = 0x20;
const STRING: u8 = 0x30;
const BINARY: u8 = 0x40;
const ARRAY: u8 = 0x50;

/// Ends strings, binary keys and arrays; less than whatever may go on in its place.
const END: u8 = 0x00;
/// Follows a zero byte of a binary key, which would otherwise end it.
const ESCAPED: u8 = 0xff;
/// Greater than every tag: what begins with a key is less than that key followed by this.
const AFTER: u8 = 0xff;

/// Code units below this have one byte.
const ONE_BYTE: u16 = 0x7f;
/// Code units below this have two bytes.
const TWO_BYTES: u16 = ONE_BYTE + 0x4000;

/// The last millisecond that a date may have.
const MAX_TIME: f64 = 8.64e15;

/// How deep arrays may be nested, as in Chromium. Deeper ones are not valid keys.
pub const MAX_DEPTH: usize = 2000;

/// A key: <https://w3c.github.io/IndexedDB/#key-construct>.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// Any number but NaN. Negative zero is stored as zero, which it equals.
    Number(f64),
    /// Milliseconds since the epoch, as a date has them: whole, and up to 8.64e15 from it.
    Date(f64),
    /// UTF-16 code units, lone surrogates included.
    String(Vec<u16>),
    /// The bytes of a buffer.
    Binary(Vec<u8>),
    /// Keys, compared one after the other.
    Array(Vec<Key>),
    /// Stands in the index keys of a record for the primary key that a key generator will give.
    Generated,
}

/// Bytes that no version of this encoding writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no key")]
pub struct NotAKey;

impl Key {
    /// The bytes of a key without [`Key::Generated`].
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(&Key::Number(0.0))
    }

    /// The bytes of a key, with `generated` in the place of [`Key::Generated`].
    pub fn encode_with(&self, generated: &Key) -> Vec<u8> {
        // Room for a number, which would need more twice.
        let mut bytes = Vec::with_capacity(16);
        // Arrays whose elements are not all written. Not recursion: scripts choose the depth.
        let mut open = Vec::new();
        let mut next = Some(self);
        loop {
            match next {
                Some(Key::Number(number)) => encode_number(NUMBER, *number, &mut bytes),
                Some(Key::Date(time)) => encode_number(DATE, *time, &mut bytes),
                Some(Key::String(units)) => encode_string(units, &mut bytes),
                Some(Key::Binary(binary)) => encode_binary(binary, &mut bytes),
                Some(Key::Array(elements)) => {
                    bytes.push(ARRAY);
                    open.push(elements.iter());
                }
                Some(Key::Generated) => bytes.extend(generated.encode_with(&Key::Number(0.0))),
                None => bytes.push(END),
            }
            let Some(elements) = open.last_mut() else { return bytes };
            next = elements.next();
            if next.is_none() {
                open.pop();
            }
        }
    }

    /// The key that `bytes` are.
    ///
    /// # Errors
    ///
    /// [`NotAKey`], also if something follows the key.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAKey> {
        match Self::decode_first(bytes)? {
            (key, []) => Ok(key),
            _ => Err(NotAKey),
        }
    }

    /// Adds the key that `bytes` are. A number, as most keys are, is written where it is to stay: a
    /// processor waits long for what it has just written in other pieces than it reads.
    pub(super) fn decode_to(bytes: &[u8], keys: &mut Vec<Self>) -> Result<(), NotAKey> {
        match bytes {
            [NUMBER, number @ ..] if number.len() == size_of::<f64>() => {
                keys.push(Key::Number(decode_number(&mut &*number)?));
            }
            _ => keys.push(Self::decode(bytes)?),
        }
        Ok(())
    }

    /// The key that `bytes` begin with, and what follows it.
    ///
    /// # Errors
    ///
    /// [`NotAKey`]
    pub fn decode_first(mut bytes: &[u8]) -> Result<(Self, &[u8]), NotAKey> {
        let mut open: Vec<Vec<Key>> = Vec::new();
        loop {
            let (&tag, rest) = bytes.split_first().ok_or(NotAKey)?;
            bytes = rest;
            let mut key = match tag {
                NUMBER => Key::Number(decode_number(&mut bytes)?),
                DATE => Key::Date(decode_time(&mut bytes)?),
                STRING => Key::String(decode_string(&mut bytes)?),
                BINARY => Key::Binary(decode_binary(&mut bytes)?),
                ARRAY if open.len() < MAX_DEPTH => {
                    open.push(Vec::new());
                    continue;
                }
                END => Key::Array(open.pop().ok_or(NotAKey)?),
                _ => return Err(NotAKey),
            };
            match open.last_mut() {
                Some(elements) => elements.push(std::mem::replace(&mut key, Key::Generated)),
                None => return Ok((key, bytes)),
            }
        }
    }
}

/// Less than whatever follows what begins with `key`, and greater than all of that.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.extend_from_slice(key);
    bytes.push(AFTER);
    bytes
}

/// IEEE 754 orders positive numbers like their bits, and negative ones the other way round.
fn encode_number(tag: u8, number: f64, bytes: &mut Vec<u8>) {
    let bits = (number + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    bytes.push(tag);
    bytes.extend_from_slice(&ordered.to_be_bytes());
}

fn decode_number(bytes: &mut &[u8]) -> Result<f64, NotAKey> {
    let (ordered, rest) = bytes.split_first_chunk().ok_or(NotAKey)?;
    *bytes = rest;
    let ordered = u64::from_be_bytes(*ordered);
    let bits = if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered };
    let number = f64::from_bits(bits);
    // Negative zero is written as zero.
    let is_key = !(number.is_nan() || number == 0.0 && number.is_sign_negative());
    if is_key { Ok(number) } else { Err(NotAKey) }
}

/// <https://tc39.es/ecma262/#sec-timeclip>
fn decode_time(bytes: &mut &[u8]) -> Result<f64, NotAKey> {
    let time = decode_number(bytes)?;
    if time.abs() <= MAX_TIME && time.fract() == 0.0 { Ok(time) } else { Err(NotAKey) }
}

fn encode_string(units: &[u16], bytes: &mut Vec<u8>) {
    bytes.reserve(units.len() + 2);
    bytes.push(STRING);
    for &unit in units {
        if unit < ONE_BYTE {
            bytes.push(unit as u8 + 1);
        } else if unit < TWO_BYTES {
            let [high, low] = (unit - ONE_BYTE).to_be_bytes();
            bytes.extend_from_slice(&[high | 0x80, low]);
        } else {
            let [high, low] = unit.to_be_bytes();
            bytes.extend_from_slice(&[0xc0, high, low]);
        }
    }
    bytes.push(END);
}

fn decode_string(bytes: &mut &[u8]) -> Result<Vec<u16>, NotAKey> {
    let mut units = Vec::new();
    loop {
        let (unit, rest) = match **bytes {
            [END, ref rest @ ..] => {
                *bytes = rest;
                return Ok(units);
            }
            [byte @ ..0x80, ref rest @ ..] => (u16::from(byte) - 1, rest),
            [high @ ..0xc0, low, ref rest @ ..] => {
                (u16::from_be_bytes([high & 0x3f, low]) + ONE_BYTE, rest)
            }
            [0xc0, high, low, ref rest @ ..] => {
                let unit = u16::from_be_bytes([high, low]);
                if unit < TWO_BYTES {
                    return Err(NotAKey);
                }
                (unit, rest)
            }
            _ => return Err(NotAKey),
        };
        units.push(unit);
        *bytes = rest;
    }
}

fn encode_binary(binary: &[u8], bytes: &mut Vec<u8>) {
    bytes.reserve(binary.len() + 3);
    bytes.push(BINARY);
    for &byte in binary {
        bytes.push(byte);
        if byte == END {
            bytes.push(ESCAPED);
        }
    }
    bytes.extend_from_slice(&[END, END]);
}

fn decode_binary(bytes: &mut &[u8]) -> Result<Vec<u8>, NotAKey> {
    let mut binary = Vec::new();
    loop {
        let (byte, rest) = match **bytes {
            [END, END, ref rest @ ..] => {
                *bytes = rest;
                return Ok(binary);
            }
            [END, ESCAPED, ref rest @ ..] => (END, rest),
            [END, ..] | [] => return Err(NotAKey),
            [byte, ref rest @ ..] => (byte, rest),
        };
        binary.push(byte);
        *bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    /// <https://w3c.github.io/IndexedDB/#compare-two-keys>, step by step.
    fn compare(a: &Key, b: &Key) -> Ordering {
        let rank = |key: &Key| match key {
            Key::Number(_) => 0,
            Key::Date(_) => 1,
            Key::String(_) => 2,
            Key::Binary(_) => 3,
            Key::Array(_) => 4,
            Key::Generated => unreachable!("not in stored keys"),
        };
        match (a, b) {
            (Key::Number(a), Key::Number(b)) | (Key::Date(a), Key::Date(b)) => {
                a.partial_cmp(b).expect("no NaN")
            }
            (Key::String(a), Key::String(b)) => a.cmp(b),
            (Key::Binary(a), Key::Binary(b)) => a.cmp(b),
            (Key::Array(a), Key::Array(b)) => {
                let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|o| o.is_ne());
                unequal.unwrap_or(a.len().cmp(&b.len()))
            }
            _ => rank(a).cmp(&rank(b)),
        }
    }

    fn number() -> impl Strategy<Value = f64> {
        let edges = [0.0, -0.0, 1.0, -1.0, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY];
        prop_oneof![
            proptest::sample::select(edges.to_vec()),
            (-3i32..3).prop_map(f64::from),
            any::<f64>().prop_filter("a key is not NaN", |number| !number.is_nan()),
        ]
    }

    fn time() -> impl Strategy<Value = f64> {
        let edges = [0.0, -0.0, 1.0, -1.0, MAX_TIME, -MAX_TIME];
        prop_oneof![
            proptest::sample::select(edges.to_vec()),
            (-MAX_TIME..MAX_TIME).prop_map(f64::trunc),
        ]
    }

    fn unit() -> impl Strategy<Value = u16> {
        let edges = [0, 1, 0x7e, 0x7f, 0x80, 0x407e, 0x407f, 0x4080, 0xd800, 0xffff];
        prop_oneof![proptest::sample::select(edges.to_vec()), any::<u16>()]
    }

    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![proptest::sample::select(vec![0, 1, 0xfe, 0xff]), any::<u8>()]
    }

    fn key() -> impl Strategy<Value = Key> {
        let leaf = prop_oneof![
            number().prop_map(Key::Number),
            time().prop_map(Key::Date),
            proptest::collection::vec(unit(), 0..4).prop_map(Key::String),
            proptest::collection::vec(byte(), 0..4).prop_map(Key::Binary),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::vec(inner, 0..3).prop_map(Key::Array)
        })
    }

    /// The bytes of a key of which some are others, or which go on, or are no key's at all.
    fn damaged() -> impl Strategy<Value = Vec<u8>> {
        let changes = proptest::collection::vec((any::<proptest::sample::Index>(), byte()), 0..3);
        let damaged = (key(), changes, any::<Vec<u8>>()).prop_map(|(key, changes, tail)| {
            let mut bytes = key.encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.extend(tail);
            bytes
        });
        prop_oneof![damaged, any::<Vec<u8>>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn bytes_have_the_order_of_keys(a in key(), b in key()) {
            prop_assert_eq!(a.encode().cmp(&b.encode()), compare(&a, &b), "{:?} {:?}", a, b);
        }

        #[test]
        fn a_key_is_decoded_as_it_was_and_what_follows_is_left(a in key(), tail: Vec<u8>) {
            let mut bytes = a.encode();
            prop_assert_eq!(Key::decode(&bytes).unwrap(), a.clone());
            prop_assert_eq!(Key::decode(&bytes).unwrap().encode(), bytes.clone());
            let mut keys = Vec::new();
            prop_assert_eq!(Key::decode_to(&bytes, &mut keys), Ok(()));
            prop_assert_eq!(keys, vec![a.clone()]);
            bytes.extend(&tail);
            let (decoded, rest) = Key::decode_first(&bytes).unwrap();
            prop_assert_eq!(decoded, a);
            prop_assert_eq!(rest, &tail);
        }

        #[test]
        fn what_begins_with_a_key_lies_before_its_end(a in key(), b in key(), c in key()) {
            let bytes = [a.encode(), b.encode()].concat();
            prop_assert!(a.encode() <= bytes && bytes < after(&a.encode()));
            let other = [c.encode(), b.encode()].concat();
            prop_assert_eq!(other < after(&a.encode()), compare(&c, &a).is_le());
        }

        #[test]
        fn any_bytes_begin_with_a_key_of_these_bytes_or_none(bytes in damaged()) {
            let is_key = Key::decode_to(&bytes, &mut Vec::new()).is_ok();
            prop_assert_eq!(is_key, Key::decode(&bytes).is_ok());
            if let Ok((key, rest)) = Key::decode_first(&bytes) {
                prop_assert_eq!(key.encode(), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn deep_arrays_need_no_deep_stack() {
        let mut key = Key::Array(vec![]);
        for _ in 1..MAX_DEPTH {
            key = Key::Array(vec![key]);
        }
        assert_eq!(Key::decode(&key.encode()).unwrap(), key);
        assert_eq!(Key::decode(&Key::Array(vec![key]).encode()), Err(NotAKey));
    }

    #[test]
    fn the_generated_key_takes_its_place() {
        let key = Key::Array(vec![Key::Number(1.0), Key::Generated]);
        let whole = Key::Array(vec![Key::Number(1.0), Key::Number(7.0)]);
        assert_eq!(key.encode_with(&Key::Number(7.0)), whole.encode());
    }
}
