//! What V8's serialiser wrote, read without V8.
//!
//! Invariant: what is not certain from the bytes is not answered.

/// The versions of V8's format whose tags are those below.
pub(crate) const VERSIONS: std::ops::RangeInclusive<u8> = 15..=16;

/// Marks an `ArrayBuffer` whose length may change.
const RESIZABLE: u8 = b'~';

/// How many buffers whose length may change are in a value, at most.
pub(crate) fn resizable_buffers(bytes: &[u8]) -> usize {
    let possible = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == RESIZABLE).count();
    if !bytes.contains(&RESIZABLE) {
        return 0;
    }
    let mut rest = match *bytes {
        [0xff, version, ref value @ ..] if VERSIONS.contains(&version) => Reader(value),
        _ => return possible(bytes),
    };
    let mut count = 0;
    loop {
        let unread = rest;
        let Some(tag) = rest.tag() else { return count };
        if rest.skip_any(tag).is_none() {
            return count + possible(unread.0);
        }
        count += usize::from(tag == RESIZABLE);
    }
}

/// Bytes that are not read yet. Every method answers `None` for what it does not know.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// What was read until `later`, a later state of this reader.
    pub(crate) fn up_to(self, later: Self) -> &'a [u8] {
        &self.0[..self.0.len() - later.0.len()]
    }

    /// Not behind objects that refer to others, or that are none of JavaScript's.
    pub(crate) fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.tag()? {
                tag @ (b'o' | b'A' | b'a' | b';' | b'\'') => {
                    self.skip_plain(tag)?;
                    depth += 1;
                }
                tag @ (b'{' | b'$' | b'@' | b':' | b',') => {
                    self.skip_plain(tag)?;
                    depth = depth.checked_sub(1)?;
                }
                tag @ b'B' => {
                    self.skip_plain(tag)?;
                    if self.peek() == Some(b'V') {
                        self.tag();
                        self.skip_view()?;
                    }
                }
                tag => self.skip_plain(tag)?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// What belongs to a tag itself, not what is between it and another one.
    fn skip_plain(&mut self, tag: u8) -> Option<()> {
        match tag {
            b'_' | b'0' | b'T' | b'F' | b'-' | b'y' | b'x' | b'o' | b';' | b'\'' => Some(()),
            b'I' | b'U' | b'A' | b'a' | b'{' | b':' | b',' => self.number().map(drop),
            b'$' | b'@' => self.number().and_then(|_| self.number()).map(drop),
            b'N' | b'D' | b'n' => self.take(8).map(|_| ()),
            b'"' | b'c' | b'B' => self.text().map(|_| ()),
            _ => None,
        }
    }

    /// As [`Self::skip_plain`], of tags that are rare or refer to other places too.
    fn skip_any(&mut self, tag: u8) -> Option<()> {
        match tag {
            RESIZABLE => {
                let length = self.number()?;
                // Its largest length may have more bits than a number here.
                while self.byte()? >= 0x80 {}
                self.take(length as usize).map(|_| ())
            }
            b'V' => self.skip_view(),
            b'^' | b't' | b'?' | b'\\' => self.number().map(drop),
            b'Z' | b'z' => {
                let sign_and_length = self.number()?;
                self.take(sign_and_length as usize >> 1).map(|_| ())
            }
            b's' => Some(()), // a string follows
            b'R' => {
                let source = self.tag()?;
                self.skip_plain(source)?;
                self.number().map(drop)
            }
            tag => self.skip_plain(tag),
        }
    }

    /// Type, offset, length and flags of a view of the buffer before it.
    fn skip_view(&mut self) -> Option<()> {
        self.byte()?;
        (0..3).try_for_each(|_| self.number().map(drop))
    }

    /// The next tag, behind what aligns two-byte strings.
    pub(crate) fn tag(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                0 => {}
                tag => return Some(tag),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn peek(mut self) -> Option<u8> {
        self.tag()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Its sign is the lowest bit.
    pub(crate) fn integer(&mut self) -> Option<i32> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// Seven bits a byte, the lowest first.
    pub(crate) fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn double(&mut self) -> Option<f64> {
        Some(f64::from_ne_bytes(*self.take(8)?.first_chunk()?))
    }

    /// The bytes of a string or buffer, whose tag has been read.
    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }
}
