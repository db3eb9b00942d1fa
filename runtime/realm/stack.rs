//! The text of an error's stack.
//!
//! deno_core's way, but for what it takes for granted: a text that no string can hold makes it end
//! the process.
//!
//! Invariant: each getter of the script's runs once, and what it answers has a bound.

use deno_core::error::format_stack_trace;
use deno_core::v8;

/// UTF-16 code units of a name or a message that a stack repeats.
const MOST_UNITS: usize = 1 << 20;

/// Where deno_core looks for the frames of an error.
const FRAMES: &str = "deno_core::call_site_evals";

/// <https://v8.dev/docs/stack-trace-api>
pub(super) fn prepare<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    error: v8::Local<'s, v8::Value>,
    frames: v8::Local<'s, v8::Array>,
) -> v8::Local<'s, v8::Value> {
    if let Ok(error) = v8::Local::<v8::Object>::try_from(error) {
        let name = v8::String::new(scope, FRAMES).expect("a short string");
        let key = v8::Private::for_api(scope, Some(name));
        error.set_private(scope, key, frames.into());
    }
    let global = scope.get_current_context().global(scope).into();
    let constructor = get(scope, global, "Error");
    let own = constructor.and_then(|constructor| get(scope, constructor, "prepareStackTrace"));
    if let Some(own) = own.and_then(|own| v8::Local::<v8::Function>::try_from(own).ok()) {
        let this = constructor.expect("it has the function");
        let prepared = own.call(scope, this, &[error, frames.into()]);
        return prepared.unwrap_or_else(|| v8::undefined(scope).into());
    }
    let stand_in = v8::Object::new(scope);
    for name in ["name", "message"] {
        let text = short_text(scope, error, name);
        let key = v8::String::new(scope, name).expect("a short string");
        stand_in.create_data_property(scope, key.into(), text);
    }
    format_stack_trace(scope, stand_in.into(), frames)
}

/// The text of a property; undefined if there is none.
fn short_text<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    error: v8::Local<'s, v8::Value>,
    name: &str,
) -> v8::Local<'s, v8::Value> {
    let value = get(scope, error, name).filter(|value| !value.is_undefined());
    let Some(text) = value.and_then(|value| value.to_string(scope)) else {
        return v8::undefined(scope).into();
    };
    if text.length() <= MOST_UNITS {
        return text.into();
    }
    let mut units = vec![0; MOST_UNITS];
    text.write_v2(scope, 0, &mut units, v8::WriteFlags::default());
    let cut = v8::String::new_from_two_byte(scope, &units, v8::NewStringType::Normal);
    cut.expect("it is short").into()
}

fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    of: v8::Local<'s, v8::Value>,
    name: &str,
) -> Option<v8::Local<'s, v8::Value>> {
    let of = v8::Local::<v8::Object>::try_from(of).ok()?;
    let name = v8::String::new(scope, name)?;
    of.get(scope, name.into())
}
