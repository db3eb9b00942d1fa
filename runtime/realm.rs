//! One V8 isolate with its global scope: a service worker, or a page.
//!
//! An isolate is entered only while it is used, so that many share one thread and may be dropped in
//! any order.
//!
//! Invariant: every entry is a turn under the watchdog, and ends by leaving the isolate, also when
//! the turn panics.

mod blank;
mod calls;
mod code_cache;
mod coverage;
mod graphs;
mod inspect;
mod lazy;
mod memory;
mod modules;
mod stack;

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deno_core::error::{CoreError, CoreErrorKind, JsError};
use deno_core::{JsRuntime, PollEventLoopOptions, serde_v8, v8};
use kittiwake_ops::{
    RealmId, RegistrationState, ScriptException, ScriptSource, ServiceWorkerState, Services,
    compile_script, mark_keys,
};
use serde::Serialize;

use crate::coverage::Coverage;
use crate::extension::OriginShare;
use crate::inspector::{Debugged, Inspected, Inspector};
use crate::limits::Limit;
use crate::meter::Meter;
use crate::watchdog::{Struck, Watchdog};

use code_cache::Leaving;

pub(crate) use blank::Blank;
pub(crate) use calls::{Call, ExtendableInit, Message, MessageSource};
pub(crate) use graphs::{Ended, answer};
pub(crate) use memory::{Memory, MemoryLimits};
pub(crate) use modules::{
    DynamicImport, ModuleImport, ModuleKey, ModuleKind, Resolve, TopLevelAwait, UrlsAlone,
    resolve_url, unresolved,
};

use modules::ModuleMap;

/// What a blank realm is made somebody's with.
pub(crate) struct RealmOptions {
    pub(crate) id: RealmId,
    pub(crate) services: Rc<dyn Services>,
    pub(crate) share: OriginShare,
    /// Says what its modules import.
    pub(crate) resolver: Rc<dyn Resolve>,
    pub(crate) watchdog: Rc<Watchdog>,
    /// Real time that one turn may take.
    pub(crate) turn_limit: Duration,
    pub(crate) meter: Rc<Meter>,
    /// Who counts what its scripts run, if anybody does.
    pub(crate) coverage: Option<Coverage>,
    /// Who lets debuggers at it, if anybody does, and who hears of them.
    pub(crate) inspector: Option<(Inspector, Arc<Debugged>)>,
    pub(crate) start: StartOptions,
}

/// What `start` in `js/bootstrap.js` is given.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartOptions {
    pub(crate) kind: RealmKind,
    pub(crate) url: String,
    pub(crate) origin: String,
    /// Whether `Date` and `Math.random` ask the host's doors, and not the engine.
    pub(crate) host_clock: bool,
    pub(crate) host_entropy: bool,
    pub(crate) user_agent: String,
    /// Whether its script is a module: such a worker has no `importScripts()`.
    pub(crate) module: bool,
    pub(crate) registration: Option<RegistrationState>,
    pub(crate) worker: Option<ServiceWorkerState>,
    /// How many timers may wait.
    pub(crate) timer_limit: u32,
    /// How many bytes a resizable buffer may have.
    pub(crate) buffer_limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RealmKind {
    ServiceWorker,
    Page,
}

/// Why a turn did not end well.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RealmError {
    #[error("{0}")]
    Exception(ScriptException),
    /// A module was not loaded, or may not run in a worker: nothing of the script has run.
    #[error("{0}")]
    CannotStart(ScriptException),
    #[error("the script {} and was terminated", deed(*.0))]
    Terminated(Limit),
    #[error("the realm has ended")]
    Gone,
}

/// Whether the event loop has anything left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventLoop {
    Busy,
    Quiet,
}

pub(crate) struct Realm {
    // Both are Some until `drop`.
    runtime: Option<JsRuntime>,
    host_call: Option<v8::Global<v8::Function>>,
    modules: Option<Rc<ModuleMap>>,
    /// Graphs that await at their top level, and who waits for them.
    awaiting: Vec<(v8::Global<v8::Promise>, Ended)>,
    leaving: Leaving,
    counting: Option<coverage::Counting>,
    inspected: Option<Inspected>,
    watchdog: Rc<Watchdog>,
    struck: Struck,
    turn_limit: Duration,
    /// Outlives the isolate.
    memory: Arc<Memory>,
    meter: Rc<Meter>,
}

impl Realm {
    /// Runs a classic script, then a microtask checkpoint.
    pub(crate) fn evaluate(&mut self, url: &str, script: ScriptSource) -> Result<(), RealmError> {
        self.wait_for_debugger(url);
        let script = self.with_code(url, script);
        self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            v8::tc_scope!(let scope, scope);
            let compiled = compile_script(scope, url, &script);
            let run = compiled.and_then(|it| it.bind_to_current_context(scope).run(scope));
            if run.is_none() {
                // A turn that was ended has thrown nothing.
                let undefined = v8::undefined(scope).into();
                let exception = scope.exception().unwrap_or(undefined);
                return Err(Failure::Js(JsError::from_v8_exception(scope, exception)));
            }
            scope.perform_microtask_checkpoint();
            Ok(())
        })
    }

    /// The script, with the code that another realm left; without, if its parts are to be counted,
    /// because that code has no counters.
    fn with_code(&mut self, url: &str, script: ScriptSource) -> ScriptSource {
        if self.counting.is_some() { script } else { self.leaving.with_code(url, script) }
    }

    /// The code of the scripts that were compiled from text, with the functions that have run.
    pub(crate) fn take_code(&mut self) -> Result<Vec<(String, Vec<u8>)>, RealmError> {
        let mut leaving = std::mem::take(&mut self.leaving);
        self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            Ok(leaving.take_all(scope))
        })
    }

    /// Calls into the realm, then runs a microtask checkpoint.
    pub(crate) fn call(&mut self, call: Call) -> Result<(), RealmError> {
        self.turn(|turn| turn.call_host(call.name(), |scope| call.into_v8(scope)))
    }

    /// Polls the realm's event loop: timers, ops, promises.
    pub(crate) fn poll_event_loop(
        &mut self,
        context: &mut Context<'_>,
    ) -> Result<EventLoop, RealmError> {
        self.turn(|turn| {
            match turn.runtime.poll_event_loop(context, PollEventLoopOptions::default()) {
                Poll::Pending => Ok(EventLoop::Busy),
                Poll::Ready(Ok(())) => Ok(EventLoop::Quiet),
                Poll::Ready(Err(error)) => Err(Failure::Core(error)),
            }
        })
    }

    /// What it has of memory: its heap, and what hangs on it.
    pub(crate) fn memory_bytes(&mut self) -> usize {
        memory::bytes_of(self.runtime.as_mut().expect("a realm has its runtime until dropped"))
    }

    fn turn<R>(
        &mut self,
        take: impl FnOnce(&mut Turn<'_>) -> Result<R, Failure>,
    ) -> Result<R, RealmError> {
        if let Some(limit) = self.struck.limit() {
            return Err(RealmError::Terminated(limit));
        }
        if self.inspected.is_some() {
            inspect::forget_early_wakes();
        }
        let result = take(&mut Turn::enter(self));
        // Termination surfaces as whatever the engine was doing; the mark alone is reliable.
        if let Some(limit) = self.struck.limit() {
            return Err(RealmError::Terminated(limit));
        }
        result.map_err(RealmError::from)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.host_call.take();
        self.modules.take();
        self.awaiting.clear();
        // Nobody connects any more.
        self.inspected.take();
        let mut runtime = self.runtime.take().expect("a realm is dropped once");
        runtime.v8_isolate().cancel_terminate_execution();
        // SAFETY: the isolate must be current when its runtime is dropped; dropping leaves it.
        unsafe {
            runtime.v8_isolate().enter();
        }
        // A realm that was terminated may be in any state.
        if self.struck.limit().is_none() {
            deno_core::scope!(scope, &mut runtime);
            std::mem::take(&mut self.leaving).leave_wanted(scope);
        }
        if let Some(counting) = self.counting.take() {
            counting.finish();
        }
    }
}

/// What a function of the realm is called with.
type Arguments<'s> = Vec<v8::Local<'s, v8::Value>>;

/// The isolate is entered and the watchdog armed for as long as this lives.
struct Turn<'a> {
    runtime: &'a mut JsRuntime,
    host_call: &'a v8::Global<v8::Function>,
    watchdog: &'a Watchdog,
    struck: &'a Struck,
    memory: &'a Memory,
    meter: &'a Meter,
}

enum Failure {
    Js(Box<JsError>),
    Core(CoreError),
    /// A script that is not run, by our own word.
    Refused(ScriptException),
    CannotStart(ScriptException),
}

impl<'a> Turn<'a> {
    fn enter(realm: &'a mut Realm) -> Self {
        let runtime = realm.runtime.as_mut().expect("a realm has its runtime until dropped");
        let isolate = runtime.v8_isolate().thread_safe_handle();
        let (struck, memory) = (realm.struck.clone(), realm.memory.clone());
        realm.watchdog.arm(isolate, struck, memory, realm.turn_limit);
        realm.meter.begin_turn();
        // SAFETY: `drop` leaves it, on this thread, and no handle outlives the borrow.
        unsafe {
            runtime.v8_isolate().enter();
        }
        mark_keys(runtime);
        let host_call = realm.host_call.as_ref().expect("a realm has it until dropped");
        let (watchdog, struck) = (&*realm.watchdog, &realm.struck);
        Turn { runtime, host_call, watchdog, struck, memory: &realm.memory, meter: &realm.meter }
    }

    fn call_host<'m>(
        &mut self,
        name: &str,
        arguments: impl for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>) -> Arguments<'s> + 'm,
    ) -> Result<(), Failure> {
        deno_core::scope!(scope, self.runtime);
        v8::tc_scope!(let scope, scope);
        let function = v8::Local::new(scope, self.host_call);
        let mut all = vec![to_v8(scope, &name)];
        all.extend(arguments(scope));
        let this = v8::undefined(scope).into();
        if function.call(scope, this, &all).is_none()
            && let Some(exception) = scope.exception()
        {
            return Err(Failure::Js(JsError::from_v8_exception(scope, exception)));
        }
        scope.perform_microtask_checkpoint();
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.memory.look_at_buffers(self.runtime.v8_isolate());
        // SAFETY: entered in `enter`, on this thread.
        unsafe {
            self.runtime.v8_isolate().exit();
        }
        self.watchdog.disarm();
        if self.meter.end_turn() {
            self.struck.set(Limit::EventCpu);
        }
    }
}

/// What a script did to be terminated.
fn deed(limit: Limit) -> &'static str {
    match limit {
        Limit::Turn => "ran for longer than its limit",
        Limit::EventCpu => "used more processor time than its limit",
        Limit::Buffers => "used more memory outside its heap than its limit",
        _ => "used more memory than its limit",
    }
}

impl From<Failure> for RealmError {
    fn from(failure: Failure) -> Self {
        let exception = match failure {
            Failure::CannotStart(exception) => return RealmError::CannotStart(exception),
            Failure::Refused(exception) => exception,
            Failure::Js(error) => ScriptException::from_js_error(&error),
            Failure::Core(error) => match error.into_kind() {
                CoreErrorKind::Js(error) => ScriptException::from_js_error(&error),
                other => ScriptException {
                    message: other.to_string(),
                    file: None,
                    line: None,
                    column: None,
                    stack: None,
                },
            },
        };
        RealmError::Exception(exception)
    }
}

fn to_v8<'s>(scope: &mut v8::PinScope<'s, '_>, value: &impl Serialize) -> v8::Local<'s, v8::Value> {
    serde_v8::to_v8(scope, value).expect("our own types serialise")
}
