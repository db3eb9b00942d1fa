//! The shape of a plain object, in what V8's serialiser wrote of it.
//!
//! Invariant: bytes that are not certain to be a plain object of properties that say themselves
//! what they are, have no shape.

use crate::serialized::{Reader, VERSIONS};

const MOST_LEAVES: usize = 64;
const DEEPEST: usize = 8;
const LONGEST: usize = 4096;

/// What objects have in common that differ only in their leaves.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// What V8's serialiser wrote of an object, without its leaves.
    bytes: Vec<u8>,
    /// How many of those bytes come before each leaf.
    leaves: Vec<usize>,
}

impl Shape {
    /// The shape of an object, whose leaves are added to those of others.
    pub(super) fn read<'a>(value: &'a [u8], leaves: &mut Vec<Leaf<'a>>) -> Option<Self> {
        let mut shape = Self::default();
        let mut rest = Reader(body_of(value)?);
        let mut kept = rest;
        // How many properties each object around has so far.
        let mut counts = [0_u32; DEEPEST];
        let mut depth = 0;
        if rest.tag()? != b'o' {
            return None;
        }
        loop {
            match rest.tag()? {
                b'"' if is_literal(rest.text()?) => counts[depth] += 1,
                b'{' if rest.number()? == counts[depth] => match depth.checked_sub(1) {
                    Some(outer) => {
                        depth = outer;
                        continue;
                    }
                    None => {
                        shape.bytes.extend_from_slice(kept.0);
                        return rest.is_empty().then_some(shape);
                    }
                },
                _ => return None,
            }
            let behind_name = rest;
            match rest.tag()? {
                b'o' => {
                    depth += 1;
                    *counts.get_mut(depth)? = 0;
                }
                tag => {
                    shape.bytes.extend_from_slice(kept.up_to(behind_name));
                    shape.leaves.push(shape.bytes.len());
                    Leaf::read(tag, &mut rest, leaves)?;
                    kept = rest;
                }
            }
            if shape.leaves.len() > MOST_LEAVES || shape.bytes.len() > LONGEST {
                return None;
            }
        }
    }

    /// Adds the leaves of an object of this shape; of another, it answers `None`, and may have
    /// added some.
    pub(super) fn matches<'a>(&self, value: &'a [u8], leaves: &mut Vec<Leaf<'a>>) -> Option<()> {
        let mut rest = Reader(body_of(value)?);
        let mut from = 0;
        for place in &self.leaves {
            rest = Reader(rest.0.strip_prefix(&self.bytes[from..*place])?);
            Leaf::read(rest.tag()?, &mut rest, leaves)?;
            from = *place;
        }
        (rest.0 == &self.bytes[from..]).then_some(())
    }

    /// How many leaves an object has.
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// A function that takes the leaves of objects in an array, and how many objects there are. It
    /// puts them into the same array, whose elements no setter can meet.
    pub(super) fn factory(&self) -> String {
        let mut literal = String::new();
        let mut places = self.leaves.iter().enumerate().peekable();
        let mut rest = Reader(&self.bytes);
        while let Some(tag) = rest.tag() {
            match tag {
                b'o' => literal.push('{'),
                b'{' => {
                    rest.number().expect("an object says how many properties it has");
                    literal.push_str("},");
                }
                _ => {
                    let name = rest.text().expect("a name is as long as it says").iter();
                    let escaped = name.map(|byte| format!("\\x{byte:02x}"));
                    literal.push_str(&format!("\"{}\":", escaped.collect::<String>()));
                    let read = self.bytes.len() - rest.0.len();
                    if let Some((leaf, _)) = places.next_if(|(_, place)| **place == read) {
                        literal.push_str(&format!("a[j+{leaf}],"));
                    }
                }
            }
        }
        let object = literal.trim_end_matches(',');
        let leaves = self.leaves.len();
        format!("(a,n)=>{{for(let i=0,j=0;i<n;i++,j+={leaves})a[i]={object};a.length=n;return a}}")
    }
}

/// What is behind the header.
fn body_of(value: &[u8]) -> Option<&[u8]> {
    match value {
        [0xff, version, body @ ..] if VERSIONS.contains(version) => Some(body),
        _ => None,
    }
}

/// Whether a literal may have a property of that name: this one would set the prototype.
fn is_literal(name: &[u8]) -> bool {
    name != b"__proto__"
}

/// A value that has no properties.
pub(super) enum Leaf<'a> {
    Undefined,
    Null,
    Boolean(bool),
    Integer(i32),
    Number(f64),
    Date(f64),
    Latin1(&'a [u8]),
    Utf16(&'a [u8]),
}

impl<'a> Leaf<'a> {
    /// Adds what is behind its tag, which has been read. Each kind is written where it is to stay:
    /// a processor waits long for what it has just written in other pieces than it reads.
    #[inline]
    fn read(tag: u8, rest: &mut Reader<'a>, leaves: &mut Vec<Self>) -> Option<()> {
        match tag {
            b'_' => leaves.push(Self::Undefined),
            b'0' => leaves.push(Self::Null),
            b'T' => leaves.push(Self::Boolean(true)),
            b'F' => leaves.push(Self::Boolean(false)),
            b'I' => leaves.push(Self::Integer(rest.integer()?)),
            b'U' => leaves.push(Self::Number(rest.number()?.into())),
            b'N' => leaves.push(Self::Number(rest.double()?)),
            b'D' => leaves.push(Self::Date(rest.double()?)),
            b'"' => leaves.push(Self::Latin1(rest.text()?)),
            b'c' => leaves.push(Self::Utf16(rest.text()?)),
            _ => return None,
        }
        Some(())
    }
}
