//! What a script says, and what it failed to catch.

use deno_core::{JsRuntime, OpState, op2, v8};
use serde::Serialize;

use crate::{Host, ScriptException};

/// The severity of a console line, as the Console Standard groups its methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleLevel {
    /// `console.debug`
    Debug,
    /// `console.log` and what is like it
    Log,
    /// `console.info`
    Info,
    /// `console.warn`
    Warn,
    /// `console.error`, `console.assert`, `console.trace`
    Error,
}

/// One line of the script's console. `level` is deno_web's number for it.
#[op2(fast)]
pub fn op_console_write(state: &mut OpState, #[smi] level: u32, #[string] text: String) {
    let level = match level {
        0 => ConsoleLevel::Debug,
        1 => ConsoleLevel::Log,
        2 => ConsoleLevel::Warn,
        4 => ConsoleLevel::Info,
        _ => ConsoleLevel::Error,
    };
    let (services, realm) = Host::of(state);
    services.console(realm, level, text);
}

/// Stands in for deno_core's `op_dispatch_exception`, which ends the runtime: an exception that
/// nobody caught is the script's affair, is told to the trace, and the realm goes on.
#[op2(fast, reentrant)]
pub fn op_exception_report<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    exception: v8::Local<'s, v8::Value>,
    _in_promise: bool,
) {
    // Describing runs getters of the script; only then may the state be borrowed.
    let described = ScriptException::from_v8(scope, exception);
    let state = JsRuntime::op_state_from(scope);
    let (services, realm) = Host::of(&state.borrow());
    services.exception(realm, described);
}
