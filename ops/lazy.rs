//! Parts of the platform that a realm loads when somebody first asks for them, and the properties
//! of the global object that ask.
//!
//! Invariant: until a part is loaded, no script can tell its property from any other.

use deno_core::v8::{MapFnTo, SideEffectType};
use deno_core::{op2, v8};

/// Loads parts, in a slot of the isolate: answers what a part exports, or nothing if there is no
/// such part, or with an exception thrown.
#[derive(Clone, Copy)]
pub struct PartLoader(pub LoadPart);

/// Of a realm, by the part's specifier, with what the eager parts export.
pub type LoadPart = for<'s, 'i, 'n, 'e> fn(
    &mut v8::PinScope<'s, 'i>,
    &'n str,
    v8::Local<'e, v8::Object>,
) -> Option<v8::Local<'s, v8::Value>>;

/// What a part exports; undefined if there is no such part.
#[op2(reentrant)]
pub fn op_lazy_load<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    #[string] specifier: String,
    eager: v8::Local<'s, v8::Object>,
) -> v8::Local<'s, v8::Value> {
    let loader = scope.get_slot::<PartLoader>().copied();
    let exports = loader.and_then(|PartLoader(load)| load(scope, &specifier, eager));
    exports.unwrap_or_else(|| v8::undefined(scope).into())
}

/// Defines a property that is asked for when it is read, and that is like any other property, not
/// enumerable, before and after.
#[op2(fast)]
pub fn op_lazy_define<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    target: v8::Local<'s, v8::Object>,
    name: v8::Local<'s, v8::String>,
) {
    target.set_lazy_data_property_with_data(
        scope,
        name.into(),
        Getter,
        // A snapshot has these for all contexts, so that they can have nothing of one.
        v8::undefined(scope).into(),
        v8::PropertyAttribute::DONT_ENUM,
        SideEffectType::HasSideEffect,
        SideEffectType::HasSideEffect,
    );
}

/// Who answers the values of such properties, by their names. Once in a realm.
#[op2(fast)]
pub fn op_lazy_answer<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    answer: v8::Local<'s, v8::Function>,
) {
    let answer = v8::Global::new(scope, answer);
    scope.set_slot(Answer(answer));
}

struct Answer(v8::Global<v8::Function>);

/// A snapshot that has such properties refers to this.
pub fn lazy_reference() -> v8::ExternalReference {
    v8::ExternalReference { pointer: getter() as *mut _ }
}

/// Stands for `getter()`, because V8's bindings would make functions of `read` at several places,
/// and a snapshot knows one.
#[derive(Clone, Copy)]
struct Getter;

impl MapFnTo<v8::AccessorNameGetterCallback> for Getter {
    fn mapping() -> v8::AccessorNameGetterCallback {
        getter()
    }
}

#[inline(never)]
fn getter() -> v8::AccessorNameGetterCallback {
    read.map_fn_to()
}

fn read<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    name: v8::Local<'s, v8::Name>,
    _arguments: v8::PropertyCallbackArguments<'s>,
    mut value: v8::ReturnValue<'_, v8::Value>,
) {
    let answer = scope.get_slot::<Answer>().map(|Answer(answer)| answer.clone());
    let answer = answer.expect("invariant: a realm has it before its first script");
    let undefined = v8::undefined(scope).into();
    if let Some(answer) = v8::Local::new(scope, answer).call(scope, undefined, &[name.into()]) {
        value.set(answer);
    }
}
