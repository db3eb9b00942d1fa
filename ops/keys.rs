//! What marks the keys that `crypto` makes. deno_crypto has one mark for each thread, because it
//! expects a thread to have one realm; a key with the mark of another realm would end the process.
//!
//! Invariant: while a realm that has used `crypto` has its turn, the thread's mark is the realm's.

use std::cell::Cell;
use std::rc::Rc;

use deno_core::{JsRuntime, op2, v8};

/// A realm's way to make its mark the thread's, in a slot of its isolate.
struct Mark {
    number: u64,
    set: v8::Global<v8::Function>,
}

thread_local! {
    /// Whose mark the thread has, and how many realms have one.
    static MARKED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Calls `set`, which makes the realm's mark the thread's, now and whenever the realm has a turn
/// after another one. Once in a realm.
#[op2(fast, reentrant)]
pub fn op_keys_mark<'s, 'i>(scope: &mut v8::PinScope<'s, 'i>, set: v8::Local<'s, v8::Function>) {
    let number = MARKED.get().1 + 1;
    MARKED.set((number, number));
    let mark = Mark { number, set: v8::Global::new(scope, set) };
    scope.set_slot(Rc::new(mark));
    call(scope, set);
}

/// To be called at the start of each turn of a realm, whose isolate is entered.
pub fn mark_keys(runtime: &mut JsRuntime) {
    let Some(mark) = runtime.v8_isolate().get_slot::<Rc<Mark>>().cloned() else { return };
    let (marked, count) = MARKED.get();
    if marked != mark.number {
        MARKED.set((mark.number, count));
        deno_core::scope!(scope, runtime);
        let set = v8::Local::new(scope, &mark.set);
        call(scope, set);
    }
}

fn call(scope: &mut v8::PinScope<'_, '_>, set: v8::Local<'_, v8::Function>) {
    let this = v8::undefined(scope).into();
    set.call(scope, this, &[]);
}
