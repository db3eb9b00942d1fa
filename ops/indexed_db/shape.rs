//! The shape of a plain object, in what V8's serialiser wrote of it.
//!
//! Invariant: bytes that are not certain to be a plain object of properties that say themselves
//! what they are, have no shape.

use super::key_path::{Reader, VERSIONS};

const MOST_LEAVES: usize = 64;
const DEEPEST: usize = 8;
const LONGEST: usize = 4096;

/// What objects have in common that differ only in their leaves.
#[derive(Default, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// `o`, the properties, `{` for an object; a property is `"`, the length of its name in two
    /// bytes, its name in Latin-1, and its value; a value is an object, or `.`: a leaf.
    bytes: Vec<u8>,
}

impl Shape {
    /// Becomes the shape of an object, and adds its leaves to those of others.
    pub(super) fn read<'a>(&mut self, value: &'a [u8], leaves: &mut Vec<Leaf<'a>>) -> Option<()> {
        self.bytes.clear();
        let most = leaves.len() + MOST_LEAVES;
        let mut rest = match *value {
            [0xff, version, ref body @ ..] if VERSIONS.contains(&version) => Reader(body),
            _ => return None,
        };
        if rest.tag()? != b'o' {
            return None;
        }
        self.bytes.push(b'o');
        // How many properties each object around has so far.
        let mut counts = [0_u32; DEEPEST];
        let mut depth = 0;
        loop {
            match rest.tag()? {
                b'"' => self.name(rest.text()?)?,
                b'{' if rest.number()? == counts[depth] => {
                    self.bytes.push(b'{');
                    match depth.checked_sub(1) {
                        Some(outer) => depth = outer,
                        None => return rest.is_empty().then_some(()),
                    }
                    continue;
                }
                _ => return None,
            }
            counts[depth] += 1;
            match rest.tag()? {
                b'o' => {
                    self.bytes.push(b'o');
                    depth += 1;
                    *counts.get_mut(depth)? = 0;
                }
                tag => {
                    self.bytes.push(b'.');
                    leaves.push(Leaf::read(tag, &mut rest)?);
                }
            }
            if leaves.len() > most || self.bytes.len() > LONGEST {
                return None;
            }
        }
    }

    fn name(&mut self, name: &[u8]) -> Option<()> {
        // In a literal it would set the prototype.
        if name == b"__proto__" {
            return None;
        }
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
        self.bytes.extend_from_slice(name);
        Some(())
    }

    /// A function that takes the leaves of objects in an array, and how many objects there are. It
    /// puts them into the same array, whose elements no setter can meet.
    pub(super) fn factory(&self) -> String {
        let mut literal = String::new();
        let mut leaves = 0;
        let mut rest = Reader(&self.bytes);
        while let Some(token) = rest.byte() {
            match token {
                b'o' => literal.push('{'),
                b'{' => literal.push_str("},"),
                b'.' => {
                    literal.push_str(&format!("a[j+{leaves}],"));
                    leaves += 1;
                }
                _ => {
                    let length = rest.take(2).and_then(|bytes| bytes.first_chunk().copied());
                    let length = u16::from_le_bytes(length.expect("each name has its length"));
                    let name = rest.take(length.into()).expect("a name is as long as it says");
                    let escaped = name.iter().map(|byte| format!("\\x{byte:02x}"));
                    literal.push_str(&format!("\"{}\":", escaped.collect::<String>()));
                }
            }
        }
        let object = literal.trim_end_matches(',');
        format!("(a,n)=>{{for(let i=0,j=0;i<n;i++,j+={leaves})a[i]={object};a.length=n;return a}}")
    }
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
    /// What is behind its tag, which has been read.
    fn read(tag: u8, rest: &mut Reader<'a>) -> Option<Self> {
        Some(match tag {
            b'_' => Self::Undefined,
            b'0' => Self::Null,
            b'T' => Self::Boolean(true),
            b'F' => Self::Boolean(false),
            b'I' => Self::Integer(rest.integer()?),
            b'U' => Self::Number(rest.number()?.into()),
            b'N' => Self::Number(rest.double()?),
            b'D' => Self::Date(rest.double()?),
            b'"' => Self::Latin1(rest.text()?),
            b'c' => Self::Utf16(rest.text()?),
            _ => return None,
        })
    }
}
