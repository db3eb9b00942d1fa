//! Values between JavaScript and V8's serialiser, for storage.
//! <https://html.spec.whatwg.org/#structuredserializeforstorage>
//!
//! Invariant: reading a value runs no code of a script; writing one may run its getters, and the
//! host's state is not borrowed meanwhile.

use deno_core::v8;
use deno_core::v8::{ValueDeserializerHelper, ValueSerializerHelper};
use deno_error::JsErrorBox;

use super::key_path;
use crate::mappings::have_room_for_clone;
use crate::structured_clone::{HOST_OBJECT, is_forged};

/// How objects of the platform are known, and what becomes of them.
pub(super) struct Marks<'s> {
    /// The property by which one says how it is cloned, or throws because it is not.
    pub(super) cloneable: v8::Local<'s, v8::Value>,
    /// `Object.prototype`, whose direct heirs are most of all objects, and none of them.
    pub(super) plain: v8::Local<'s, v8::Value>,
    /// Throws what cannot be cloned.
    pub(super) refuse: v8::Local<'s, v8::Function>,
}

/// What V8's serialiser writes of `value`.
///
/// # Errors
///
/// The engine's own refusals. Exceptions of the script's, and of `refuse`, are pending in `scope`
/// when the answer is `None`.
pub(super) fn serialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
    marks: Marks<'s>,
) -> Result<Option<Vec<u8>>, JsErrorBox> {
    let serializer = v8::ValueSerializer::new(scope, Box::new(ForStorage(marks)));
    serializer.write_header();
    v8::tc_scope!(let scope, scope);
    let written = serializer.write_value(scope.get_current_context(), value);
    if scope.has_caught() || scope.has_terminated() {
        scope.rethrow();
        return Ok(None);
    }
    match written {
        Some(true) => {
            let bytes = serializer.release();
            match is_forged(scope, &bytes) {
                true => Err(JsErrorBox::type_error("Failed to serialize response")),
                false => Ok(Some(bytes)),
            }
        }
        // `values.js` knows it by this text.
        _ => Err(JsErrorBox::type_error("Failed to serialize response")),
    }
}

/// The value that V8's serialiser wrote; `None` if it has an object of the host's, cannot be read,
/// or if there is no room for it.
pub(super) fn deserialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    bytes: &[u8],
) -> Option<v8::Local<'s, v8::Value>> {
    if !have_room_for_clone(scope, bytes) {
        return None;
    }
    v8::tc_scope!(let scope, scope);
    let context = scope.get_current_context();
    let deserializer = v8::ValueDeserializer::new(scope, Box::new(OfTheEngine), bytes);
    let is_known = deserializer.read_header(context)?;
    if is_known { deserializer.read_value(context) } else { None }
}

/// As [`deserialize`], of many values: one reading of them all costs far less than one of each.
pub(super) fn deserialize_together<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: &[&[u8]],
) -> Option<v8::Local<'s, v8::Array>> {
    let (header, _) = key_path::self_contained(values.first()?)?;
    let mut bytes = Vec::with_capacity(values.iter().map(|value| value.len()).sum::<usize>() + 16);
    bytes.extend_from_slice(header);
    // A dense array: its length, its elements, how many other properties it has, its length.
    bytes.push(b'A');
    write_number(values.len(), &mut bytes);
    for value in values {
        match key_path::self_contained(value)? {
            (same, body) if same == header => bytes.extend_from_slice(body),
            _ => return None,
        }
    }
    bytes.extend_from_slice(b"$\0");
    write_number(values.len(), &mut bytes);
    deserialize(scope, &bytes)?.try_into().ok()
}

/// Seven bits a byte, the lowest first.
fn write_number(mut number: usize, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct ForStorage<'a>(Marks<'a>);

impl ForStorage<'_> {
    fn refuse(&self, scope: &mut v8::PinScope<'_, '_>, text: &str) {
        if let Some(message) = v8::String::new(scope, text) {
            let this = v8::undefined(scope).into();
            // It throws.
            self.0.refuse.call(scope, this, &[message.into()]);
        }
    }
}

impl v8::ValueSerializerImpl for ForStorage<'_> {
    fn throw_data_clone_error<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        message: v8::Local<'s, v8::String>,
    ) {
        let this = v8::undefined(scope).into();
        // It throws.
        self.0.refuse.call(scope, this, &[message.into()]);
    }

    fn get_shared_array_buffer_id<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        _buffer: v8::Local<'s, v8::SharedArrayBuffer>,
    ) -> Option<u32> {
        self.refuse(scope, "A SharedArrayBuffer can not be serialized for storage.");
        None
    }

    fn get_wasm_module_transfer_id(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        _module: v8::Local<v8::WasmModuleObject>,
    ) -> Option<u32> {
        self.refuse(scope, "A WebAssembly.Module can not be serialized for storage.");
        None
    }

    fn has_custom_host_object(&self, _isolate: &v8::Isolate) -> bool {
        true
    }

    fn is_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
    ) -> Option<bool> {
        let is_plain = object.get_prototype(scope)?.strict_equals(self.0.plain);
        if is_plain || object.is_array() {
            return Some(false);
        }
        object.has(scope, self.0.cloneable)
    }

    fn write_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        object: v8::Local<'s, v8::Object>,
        serializer: &dyn v8::ValueSerializerHelper,
    ) -> Option<bool> {
        let describe = object.get(scope, self.0.cloneable)?;
        if let Ok(describe) = v8::Local::<v8::Function>::try_from(describe) {
            let description = describe.call(scope, object.into(), &[])?;
            serializer.write_uint32(HOST_OBJECT);
            return serializer.write_value(scope.get_current_context(), description);
        }
        self.refuse(scope, "The object could not be cloned.");
        None
    }
}

/// Reads what has no object of the host's.
struct OfTheEngine;

impl v8::ValueDeserializerImpl for OfTheEngine {}
