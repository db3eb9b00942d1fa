//! What a script may not put into a clone: <https://html.spec.whatwg.org/#structured-cloning>
//!
//! The engine writes an object of the platform as a number and a description, by which it looks for
//! the function that makes the object again. A script can find out the symbol that such objects are
//! known by, and describe what does not exist; then the engine ends the process.
//!
//! Invariant: what is forged is refused before anybody reads it.

use std::cell::Cell;
use std::rc::Rc;

use deno_core::v8::ValueDeserializerHelper;
use deno_core::{op2, v8};

/// Marks an object of the platform that JavaScript makes again, such as a Blob.
pub(crate) const HOST_OBJECT: u32 = u32::MAX;

/// What has a function that makes it again.
const KINDS: [&str; 4] = ["Blob", "CryptoKey", "DOMException", "File"];

/// Whether a value that V8's serialiser wrote has an object of the platform, such as a Blob. It may
/// be wrong in saying so.
pub(crate) fn has_host_objects(bytes: &[u8]) -> bool {
    // The serialiser's tag, and the number of `HOST_OBJECT`.
    const MARK: [u8; 6] = [b'\\', 0xff, 0xff, 0xff, 0xff, 0x0f];
    // Most have no such byte after the header's, which is found out quickly.
    let Some(bytes) = bytes.get(1..) else { return false };
    bytes.contains(&0xff) && bytes.windows(MARK.len()).any(|window| window == MARK)
}

/// Whether a value that V8's serialiser wrote has a description of what does not exist.
#[op2(fast)]
pub fn op_clone_is_forged(scope: &mut v8::PinScope<'_, '_>, #[buffer] bytes: &[u8]) -> bool {
    is_forged(scope, bytes)
}

/// As [`op_clone_is_forged`]. Runs no code of a script.
pub(crate) fn is_forged(scope: &mut v8::PinScope<'_, '_>, bytes: &[u8]) -> bool {
    if !has_host_objects(bytes) {
        return false;
    }
    v8::tc_scope!(let scope, scope);
    let context = scope.get_current_context();
    let is_forged = Rc::new(Cell::new(false));
    let reader = Box::new(Inspector { is_forged: is_forged.clone() });
    let reader = v8::ValueDeserializer::new(scope, reader, bytes);
    // What is no such value at all is read by nobody.
    if reader.read_header(context) == Some(true) {
        let value = reader.read_value(context);
        return value.is_none() || is_forged.get();
    }
    false
}

/// Reads descriptions, and makes nothing of them.
struct Inspector {
    is_forged: Rc<Cell<bool>>,
}

impl v8::ValueDeserializerImpl for Inspector {
    fn read_host_object<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        reader: &dyn ValueDeserializerHelper,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let mut index = 0;
        if !reader.read_uint32(&mut index) {
            return None;
        }
        if index == HOST_OBJECT {
            let description = reader.read_value(scope.get_current_context())?;
            if !is_of_a_kind(scope, description) {
                self.is_forged.set(true);
                return None;
            }
        }
        Some(v8::Object::new(scope))
    }
}

/// Values that were read have no accessors of their own.
fn is_of_a_kind(scope: &mut v8::PinScope<'_, '_>, description: v8::Local<'_, v8::Value>) -> bool {
    let key = v8::String::new(scope, "type").expect("a short string");
    let Ok(description) = v8::Local::<v8::Object>::try_from(description) else { return false };
    if description.has_own_property(scope, key.into()) != Some(true) {
        return false;
    }
    let kind = description.get(scope, key.into());
    let kind = kind.and_then(|kind| v8::Local::<v8::String>::try_from(kind).ok());
    kind.is_some_and(|kind| {
        kind.length() < 32 && KINDS.contains(&&*kind.to_rust_string_lossy(scope))
    })
}
