//! Plain objects of one shape, as the records of an object store mostly are: a function that is
//! compiled for the shape makes them in a third of the time that V8's deserialiser takes.
//!
//! Invariant: what is made here equals what V8's deserialiser makes of the same bytes. What is not
//! certain is left to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use deno_core::v8;

use super::shape::{Leaf, Shape};

/// Fewer objects are not worth a function of their own, which takes as long as reading a hundred.
const WORTH_COMPILING: usize = 32;

/// So many shapes have a function in one realm; the others are left to V8's deserialiser.
const MOST_SHAPES: usize = 64;

/// A realm's functions.
#[derive(Default)]
struct Factories(RefCell<HashMap<Shape, v8::Global<v8::Function>>>);

/// The objects that V8's serialiser wrote, one in each of `values`, if they all have one shape.
pub(super) fn deserialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: &[&[u8]],
) -> Option<v8::Local<'s, v8::Array>> {
    let mut leaves = Vec::new();
    let mut first = Shape::default();
    first.read(values.first()?, &mut leaves)?;
    let each = leaves.len();
    let factories = factories_of(scope);
    let factory = factories.0.borrow().get(&first).cloned();
    let is_worth_it = values.len() >= WORTH_COMPILING && factories.0.borrow().len() < MOST_SHAPES;
    if each == 0 || factory.is_none() && !is_worth_it {
        return None;
    }
    leaves.reserve(each * (values.len() - 1));
    let mut shape = Shape::default();
    for value in &values[1..] {
        shape.read(value, &mut leaves)?;
        if shape != first {
            return None;
        }
    }
    v8::tc_scope!(let scope, scope);
    let factory = match factory {
        Some(factory) => v8::Local::new(scope, factory),
        None => {
            let factory = compile(scope, &first.factory())?;
            let kept = v8::Global::new(scope, factory);
            factories.0.borrow_mut().insert(first, kept);
            factory
        }
    };
    let leaves: Option<Vec<_>> = leaves.into_iter().map(|leaf| leaf_to_v8(scope, &leaf)).collect();
    let leaves = v8::Array::new_with_elements(scope, &leaves?);
    let count = v8::Integer::new(scope, i32::try_from(values.len()).ok()?);
    let this = v8::undefined(scope).into();
    factory.call(scope, this, &[leaves.into(), count.into()])?.try_into().ok()
}

fn factories_of(scope: &mut v8::PinScope<'_, '_>) -> Rc<Factories> {
    if let Some(factories) = scope.get_slot::<Rc<Factories>>() {
        return factories.clone();
    }
    let factories = Rc::<Factories>::default();
    scope.set_slot(factories.clone());
    factories
}

fn compile<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    text: &str,
) -> Option<v8::Local<'s, v8::Function>> {
    let name = v8::String::new(scope, "ext:kittiwake/indexed_db/alike")?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, 0, None, false, false, false, None);
    let text = v8::String::new(scope, text)?;
    v8::Script::compile(scope, text, Some(&origin))?.run(scope)?.try_into().ok()
}

fn leaf_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    leaf: &Leaf<'_>,
) -> Option<v8::Local<'s, v8::Value>> {
    let kind = v8::NewStringType::Normal;
    Some(match *leaf {
        Leaf::Undefined => v8::undefined(scope).into(),
        Leaf::Null => v8::null(scope).into(),
        Leaf::Boolean(value) => v8::Boolean::new(scope, value).into(),
        Leaf::Integer(value) => v8::Integer::new(scope, value).into(),
        // The engine knows holes by a certain NaN.
        Leaf::Number(value) if value.is_nan() => v8::Number::new(scope, f64::NAN).into(),
        Leaf::Number(value) => v8::Number::new(scope, value).into(),
        Leaf::Date(value) => v8::Date::new(scope, value)?.into(),
        Leaf::Latin1(text) => v8::String::new_from_one_byte(scope, text, kind)?.into(),
        Leaf::Utf16(bytes) => {
            let (pairs, []) = bytes.as_chunks() else { return None };
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
            v8::String::new_from_two_byte(scope, &units, kind)?.into()
        }
    })
}
