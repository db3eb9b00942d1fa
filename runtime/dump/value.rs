//! Stored values as JSON: what V8's serialiser wrote, read without V8.
//! <https://chromium.googlesource.com/v8/v8/+/refs/heads/main/src/objects/value-serializer.cc>
//!
//! Invariant: whatever the bytes are, reading them ends, and takes memory in proportion to them;
//! what JSON has no word for is an object with a member that begins with `$`.

use serde_json::{Map, Value, json};

/// The newest version of the format that is known here.
const NEWEST_VERSION: u64 = 16;
/// Objects in objects; deeper ones are told as an error.
const DEEPEST: usize = 256;
/// What blobs and other objects of the host begin with, in place of a number.
const HOST_OBJECT: u64 = u32::MAX as u64;

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the bytes end too early")]
    TooShort,
    #[error("the format is newer than this Kittiwake")]
    Newer,
    #[error("the value is nested too deeply")]
    TooDeep,
    #[error("the bytes are no value")]
    NoValue,
}

/// Reads what V8 wrote; `part` gives the bytes of a blob's part.
pub(super) fn read(
    bytes: &[u8],
    part: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Value, Unreadable> {
    let mut reader = Reader { bytes, at: 0, depth: 0, part };
    while reader.peek() == Some(0xff) {
        reader.at += 1;
        if reader.number()? > NEWEST_VERSION {
            return Err(Unreadable::Newer);
        }
    }
    reader.value()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    part: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Unreadable> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Unreadable::TooDeep);
        }
        let value = self.tagged();
        self.depth -= 1;
        // A view follows its buffer.
        match value? {
            buffer if self.peek() == Some(b'V') => self.view(buffer),
            value => Ok(value),
        }
    }

    fn tagged(&mut self) -> Result<Value, Unreadable> {
        match self.tag()? {
            b'_' => Ok(json!({ "$undefined": true })),
            b'0' => Ok(Value::Null),
            b'T' => Ok(Value::Bool(true)),
            b'F' => Ok(Value::Bool(false)),
            b'I' => {
                self.number().map(|zigzag| json!((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)))
            }
            b'U' => self.number().map(Value::from),
            b'N' => self.double().map(number),
            b'Z' => self.big_int(),
            tag @ (b'"' | b'c' | b'S') => self.text(tag).map(Value::String),
            b'^' => self.number().map(|object| json!({ "$ref": object })),
            tag => self.object(tag),
        }
    }

    fn object(&mut self, tag: u8) -> Result<Value, Unreadable> {
        match tag {
            b'o' => self.members(b'{').map(Value::Object),
            b'A' => self.dense_array(),
            b'a' => {
                let length = self.number()?;
                let members = self.members(b'@')?;
                self.number()?;
                Ok(json!({ "$sparse": members, "length": length }))
            }
            b'D' => self.double().map(|time| json!({ "$date": number(time) })),
            b'y' => Ok(json!({ "$object": true })),
            b'x' => Ok(json!({ "$object": false })),
            b'n' => self.double().map(|value| json!({ "$object": number(value) })),
            b'z' => self.big_int().map(|value| json!({ "$object": value })),
            b's' => {
                let tag = self.tag()?;
                self.text(tag).map(|text| json!({ "$object": text }))
            }
            b'R' => {
                let tag = self.tag()?;
                let source = self.text(tag)?;
                self.number().map(|flags| json!({ "$regexp": source, "flags": flags }))
            }
            b';' => self.list(b':').map(|list| json!({ "$map": pairs(list) })),
            b'\'' => self.list(b',').map(|list| json!({ "$set": list })),
            b'B' => {
                let length = self.number()?;
                self.take(length).map(|bytes| json!({ "$bytes": hex(bytes) }))
            }
            b'~' => {
                let (length, _most) = (self.number()?, self.number()?);
                self.take(length).map(|bytes| json!({ "$bytes": hex(bytes) }))
            }
            b'r' => self.error(),
            b'\\' => self.host_object(),
            _ => Err(Unreadable::NoValue),
        }
    }

    fn members(&mut self, end: u8) -> Result<Map<String, Value>, Unreadable> {
        let mut members = Map::new();
        while !self.ends(end)? {
            let key = match self.value()? {
                Value::String(name) => name,
                Value::Number(index) => index.to_string(),
                _ => return Err(Unreadable::NoValue),
            };
            let value = self.value()?;
            members.insert(key, value);
        }
        self.number()?;
        Ok(members)
    }

    fn dense_array(&mut self) -> Result<Value, Unreadable> {
        let length = self.number()?;
        let mut elements = Vec::new();
        for _ in 0..length {
            // A hole.
            if self.peek() == Some(b'-') {
                self.at += 1;
                elements.push(json!({ "$hole": true }));
            } else {
                elements.push(self.value()?);
            }
        }
        let members = self.members(b'$')?;
        self.number()?;
        match members.is_empty() {
            true => Ok(Value::Array(elements)),
            false => Ok(json!({ "$array": elements, "members": members })),
        }
    }

    fn list(&mut self, end: u8) -> Result<Vec<Value>, Unreadable> {
        let mut values = Vec::new();
        while !self.ends(end)? {
            values.push(self.value()?);
        }
        self.number()?;
        Ok(values)
    }

    fn view(&mut self, buffer: Value) -> Result<Value, Unreadable> {
        self.at += 1;
        let kind = self.tag()?;
        let (offset, length, _flags) = (self.number()?, self.number()?, self.number()?);
        let name = match kind {
            b'b' => "Int8Array",
            b'B' => "Uint8Array",
            b'C' => "Uint8ClampedArray",
            b'w' => "Int16Array",
            b'W' => "Uint16Array",
            b'd' => "Int32Array",
            b'D' => "Uint32Array",
            b'h' => "Float16Array",
            b'f' => "Float32Array",
            b'F' => "Float64Array",
            b'q' => "BigInt64Array",
            b'Q' => "BigUint64Array",
            b'?' => "DataView",
            _ => return Err(Unreadable::NoValue),
        };
        Ok(json!({ "$view": name, "offset": offset, "bytes": length, "of": buffer }))
    }

    fn error(&mut self) -> Result<Value, Unreadable> {
        let (mut name, mut details) = ("Error", Map::new());
        loop {
            match self.tag()? {
                b'E' => name = "EvalError",
                b'R' => name = "RangeError",
                b'F' => name = "ReferenceError",
                b'S' => name = "SyntaxError",
                b'T' => name = "TypeError",
                b'U' => name = "URIError",
                b'm' => {
                    let tag = self.tag()?;
                    details.insert("message".to_owned(), self.text(tag)?.into());
                }
                b's' => {
                    let tag = self.tag()?;
                    details.insert("stack".to_owned(), self.text(tag)?.into());
                }
                b'c' => {
                    let cause = self.value()?;
                    details.insert("cause".to_owned(), cause);
                }
                b'.' => {
                    details.insert("$error".to_owned(), name.into());
                    return Ok(Value::Object(details));
                }
                _ => return Err(Unreadable::NoValue),
            }
        }
    }

    /// A blob, a file, or another object of the engine's, which is written as a plain one.
    fn host_object(&mut self) -> Result<Value, Unreadable> {
        if self.number()? != HOST_OBJECT {
            return Err(Unreadable::NoValue);
        }
        let mut object = match self.value()? {
            Value::Object(object) => object,
            _ => return Err(Unreadable::NoValue),
        };
        if let Some(Value::Array(parts)) = object.get_mut("parts") {
            for part in parts.iter_mut() {
                let bytes = part.get("uuid").and_then(Value::as_str).and_then(self.part);
                if let Some(bytes) = bytes {
                    *part = json!({ "$bytes": hex(&bytes) });
                }
            }
        }
        Ok(json!({ "$host": object }))
    }

    fn big_int(&mut self) -> Result<Value, Unreadable> {
        let field = self.number()?;
        let (is_negative, length) = (field & 1 == 1, field >> 1);
        let mut digits = String::new();
        for byte in self.take(length)?.iter().rev() {
            digits += &format!("{byte:02x}");
        }
        let digits = digits.trim_start_matches('0');
        let sign = if is_negative { "-" } else { "" };
        let digits = if digits.is_empty() { "0" } else { digits };
        Ok(json!({ "$bigint": format!("{sign}0x{digits}") }))
    }

    fn text(&mut self, tag: u8) -> Result<String, Unreadable> {
        let length = self.number()?;
        let bytes = self.take(length)?;
        match tag {
            b'"' => Ok(bytes.iter().copied().map(char::from).collect()),
            b'S' => Ok(String::from_utf8_lossy(bytes).into_owned()),
            b'c' => {
                let units =
                    bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                Ok(String::from_utf16_lossy(&units.collect::<Vec<_>>()))
            }
            _ => Err(Unreadable::NoValue),
        }
    }

    fn ends(&mut self, end: u8) -> Result<bool, Unreadable> {
        self.skip_padding();
        let next = self.peek().ok_or(Unreadable::TooShort)?;
        self.at += usize::from(next == end);
        Ok(next == end)
    }

    fn tag(&mut self) -> Result<u8, Unreadable> {
        loop {
            self.skip_padding();
            let tag = self.peek().ok_or(Unreadable::TooShort)?;
            self.at += 1;
            if tag != b'?' {
                return Ok(tag);
            }
            // How many objects there were, which only V8 wants to know.
            self.number()?;
        }
    }

    fn skip_padding(&mut self) {
        while self.peek() == Some(0) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Seven bits in each byte, the lowest first.
    fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.peek().ok_or(Unreadable::TooShort)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable::NoValue)
    }

    fn double(&mut self) -> Result<f64, Unreadable> {
        let bytes = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().expect("invariant: eight bytes were taken")))
    }

    fn take(&mut self, length: u64) -> Result<&[u8], Unreadable> {
        let length = usize::try_from(length).map_err(|_| Unreadable::TooShort)?;
        let end = self.at.checked_add(length).ok_or(Unreadable::TooShort)?;
        let taken = self.bytes.get(self.at..end).ok_or(Unreadable::TooShort)?;
        self.at = end;
        Ok(taken)
    }
}

/// JSON has neither infinities nor NaN.
pub(super) fn number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0
        && number.abs() <= EXACT
        && !(number == 0.0 && number.is_sign_negative())
    {
        return json!(number as i64);
    }
    match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => json!({ "$number": number.to_string() }),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(list: Vec<Value>) -> Vec<Value> {
    list.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect()
}

#[cfg(test)]
mod tests;
