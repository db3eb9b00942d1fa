//! Keys between JavaScript and the host.
//!
//! Invariant: JavaScript has converted what comes in ("convert a value to a key"), so that no code
//! of a script runs in here.

use deno_core::v8;

use super::buffer_to_v8;

/// A key: <https://w3c.github.io/IndexedDB/#key-construct>
#[derive(Clone, Debug, PartialEq)]
pub enum IndexedDbKey {
    /// Not NaN.
    Number(f64),
    /// Milliseconds since the epoch; not NaN.
    Date(f64),
    /// UTF-16 code units.
    String(Vec<u16>),
    /// Bytes.
    Binary(Vec<u8>),
    /// Keys.
    Array(Vec<IndexedDbKey>),
    /// `null` in JavaScript: the primary key that a key generator will give.
    Generated,
}

impl IndexedDbKey {
    /// The key that `value` is; `None` for undefined.
    pub(crate) fn from_v8<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        value: v8::Local<'s, v8::Value>,
    ) -> Option<Self> {
        if value.is_undefined() {
            return None;
        }
        // Arrays that are not read to their ends. Not recursion: scripts choose the depth.
        let mut open: Vec<(v8::Local<'s, v8::Array>, u32, Vec<Self>)> = Vec::new();
        let mut next = Some(value);
        loop {
            let key = match next {
                None => {
                    let (_, _, keys) = open.pop().expect("an array has just ended");
                    Self::Array(keys)
                }
                Some(value) => match v8::Local::<v8::Array>::try_from(value) {
                    Ok(array) => {
                        open.push((array, 0, Vec::with_capacity(array.length() as usize)));
                        next = element(scope, &mut open);
                        continue;
                    }
                    Err(_) => Self::leaf(scope, value),
                },
            };
            match open.last_mut() {
                Some((_, _, keys)) => keys.push(key),
                None => return Some(key),
            }
            next = element(scope, &mut open);
        }
    }

    fn leaf(scope: &mut v8::PinScope<'_, '_>, value: v8::Local<'_, v8::Value>) -> Self {
        if let Ok(number) = v8::Local::<v8::Number>::try_from(value) {
            Self::Number(number.value())
        } else if let Ok(string) = v8::Local::<v8::String>::try_from(value) {
            let mut units = vec![0; string.length()];
            string.write_v2(scope, 0, &mut units, v8::WriteFlags::default());
            Self::String(units)
        } else if let Ok(date) = v8::Local::<v8::Date>::try_from(value) {
            Self::Date(date.value_of())
        } else if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(value) {
            let mut bytes = vec![0; view.byte_length()];
            view.copy_contents(&mut bytes);
            Self::Binary(bytes)
        } else {
            Self::Generated
        }
    }

    /// What scripts see of the key.
    pub(crate) fn into_v8<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Value> {
        let mut open = Vec::new();
        let mut next = Some(self);
        loop {
            let value: v8::Local<'s, v8::Value> = match next {
                None => {
                    let (values, _) = open.pop().expect("an array has just ended");
                    let values: Vec<v8::Local<'s, v8::Value>> = values;
                    v8::Array::new_with_elements(scope, &values).into()
                }
                Some(Self::Array(keys)) => {
                    let mut keys = keys.into_iter();
                    next = keys.next();
                    open.push((Vec::with_capacity(keys.len() + 1), keys));
                    continue;
                }
                Some(Self::Number(number)) => v8::Number::new(scope, number).into(),
                Some(Self::Date(time)) => {
                    v8::Date::new(scope, time).expect("a key's time is valid").into()
                }
                Some(Self::String(units)) => {
                    let kind = v8::NewStringType::Normal;
                    let string = v8::String::new_from_two_byte(scope, &units, kind);
                    string.expect("it was a string before").into()
                }
                Some(Self::Binary(bytes)) => {
                    let view = buffer_to_v8(scope, bytes);
                    let view = v8::Local::<v8::ArrayBufferView>::try_from(view);
                    let buffer = view.expect("it is a Uint8Array").buffer(scope);
                    buffer.expect("a view has a buffer").into()
                }
                Some(Self::Generated) => v8::undefined(scope).into(),
            };
            match open.last_mut() {
                Some((values, keys)) => {
                    values.push(value);
                    next = keys.next();
                }
                None => return value,
            }
        }
    }
}

/// The next element of the innermost array.
fn element<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    open: &mut [(v8::Local<'s, v8::Array>, u32, Vec<IndexedDbKey>)],
) -> Option<v8::Local<'s, v8::Value>> {
    let (array, at, _) = open.last_mut()?;
    if *at >= array.length() {
        return None;
    }
    *at += 1;
    array.get_index(scope, *at - 1)
}
