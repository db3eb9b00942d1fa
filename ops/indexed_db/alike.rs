//! Plain objects of one shape, as the records of an object store mostly are: a function that is
//! compiled for the shape makes them in a third of the time that V8's deserialiser takes.
//!
//! Invariant: what is made here equals what V8's deserialiser makes of the same bytes. What is not
//! certain is left to it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use deno_core::v8;

use super::shape::{Leaf, Shape};

/// Fewer objects are not worth a function of their own, which takes as long as reading a hundred.
const WORTH_COMPILING: usize = 32;

/// So many shapes a realm remembers, and so many may have a function there; the others are left to
/// V8's deserialiser.
const MOST_SHAPES: usize = 64;

/// The shapes that a realm has met, the latest first.
#[derive(Default)]
struct Factories(RefCell<Vec<Rc<Factory>>>);

/// A shape, how many objects of it there were, and then a function that makes them.
struct Factory {
    shape: Shape,
    seen: Cell<usize>,
    function: OnceCell<v8::Global<v8::Function>>,
}

/// The objects that V8's serialiser wrote, one in each of `values`, if they all have one shape that
/// is met often.
pub(super) fn deserialize<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    values: &[&[u8]],
) -> Option<v8::Local<'s, v8::Array>> {
    let (first, others) = values.split_first()?;
    let mut leaves = Vec::new();
    let factory = factories_of(scope).find(first, &mut leaves)?;
    leaves.reserve(leaves.len() * others.len());
    for value in others {
        factory.shape.matches(value, &mut leaves)?;
    }
    factory.seen.set(factory.seen.get().saturating_add(values.len()));
    if factory.seen.get() < WORTH_COMPILING {
        return None;
    }
    v8::tc_scope!(let scope, scope);
    let function = match factory.function.get() {
        Some(function) => v8::Local::new(scope, function),
        None => {
            let function = compile(scope, &factory.shape.factory())?;
            factory.function.get_or_init(|| v8::Global::new(scope, function));
            function
        }
    };
    let leaves = leaves_to_v8(scope, &leaves, factory.shape.leaves())?;
    let leaves = v8::Array::new_with_elements(scope, &leaves);
    let count = v8::Integer::new(scope, i32::try_from(values.len()).ok()?);
    let this = v8::undefined(scope).into();
    function.call(scope, this, &[leaves.into(), count.into()])?.try_into().ok()
}

impl Factories {
    /// The factory for an object, which becomes the first, and the object's leaves.
    fn find<'a>(&self, value: &'a [u8], leaves: &mut Vec<Leaf<'a>>) -> Option<Rc<Factory>> {
        let mut all = self.0.borrow_mut();
        if let Some(latest) = all.first()
            && latest.shape.matches(value, leaves).is_some()
        {
            return Some(latest.clone());
        }
        leaves.clear();
        let shape = Shape::read(value, leaves).filter(|shape| shape.leaves() > 0)?;
        if let Some(place) = all.iter().position(|factory| factory.shape == shape) {
            all[..=place].rotate_right(1);
        } else {
            if all.len() == MOST_SHAPES {
                all.retain(|factory| factory.function.get().is_some());
            }
            if all.len() == MOST_SHAPES {
                return None;
            }
            all.insert(
                0,
                Rc::new(Factory { shape, seen: Cell::default(), function: OnceCell::default() }),
            );
        }
        all.first().cloned()
    }
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

/// A text that the object before has in the same place is the same string: many records of a store
/// have states, methods or addresses in common, and strings are most of what they cost.
fn leaves_to_v8<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    leaves: &[Leaf<'_>],
    each: usize,
) -> Option<Vec<v8::Local<'s, v8::Value>>> {
    let mut made: Vec<v8::Local<'s, v8::Value>> = Vec::with_capacity(leaves.len());
    for (place, leaf) in leaves.iter().enumerate() {
        let before = place.checked_sub(each);
        let same = before.filter(|before| match (leaf, &leaves[*before]) {
            (Leaf::Latin1(text), Leaf::Latin1(other)) => text == other,
            _ => false,
        });
        made.push(match same {
            Some(before) => made[before],
            None => leaf_to_v8(scope, leaf)?,
        });
    }
    Some(made)
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
