//! `import()`: the script asks, the host loads the graph, and the realm runs it.
//! <https://html.spec.whatwg.org/#hostloadimportedmodule>
//!
//! Invariant: each call's promise is settled once, by the host's answer or at once.

use deno_core::v8;
use url::Url;

use super::imports::{DYNAMIC_STEP, kind_of};
use super::{ModuleKey, ModuleMap, map_of, resolve_import};

/// A call of `import()` that the host has to answer.
#[derive(Clone, Debug)]
pub(crate) struct DynamicImport {
    /// Names the call in its realm.
    pub(crate) id: u32,
    pub(crate) key: ModuleKey,
    /// The script that asks.
    pub(crate) referrer: Url,
}

impl ModuleMap {
    /// What scripts have asked for since the last time.
    pub(crate) fn take_asked(&self) -> Vec<DynamicImport> {
        self.asked.take()
    }
}

/// V8's callback for `import()`.
pub(super) fn import_dynamically<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _options: v8::Local<'s, v8::Data>,
    referrer: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    let resolver = v8::PromiseResolver::new(scope)?;
    let map = map_of(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let referrer = Url::parse(&referrer.to_rust_string_lossy(scope));
    let referrer = referrer.unwrap_or_else(|_| map.base.clone());
    let key = kind_of(scope, attributes, DYNAMIC_STEP).and_then(|kind| {
        let url = map.resolver.resolve(&specifier, &referrer);
        url.map(|url| ModuleKey { url, kind }).map_err(|reason| format!("TypeError: {reason}"))
    });
    match key {
        Ok(key) => {
            let id = map.last_import.get() + 1;
            map.last_import.set(id);
            map.importing.borrow_mut().insert(id, v8::Global::new(scope, resolver));
            map.asked.borrow_mut().push(DynamicImport { id, key, referrer });
        }
        Err(message) => {
            let error = error_of(scope, &message);
            resolver.reject(scope, error);
        }
    }
    Some(resolver.get_promise(scope))
}

/// The same for one that may ask for less than to run the module: nothing does so yet.
pub(super) fn import_in_phase<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    options: v8::Local<'s, v8::Data>,
    referrer: v8::Local<'s, v8::Value>,
    specifier: v8::Local<'s, v8::String>,
    phase: v8::ModuleImportPhase,
    attributes: v8::Local<'s, v8::FixedArray>,
) -> Option<v8::Local<'s, v8::Promise>> {
    if phase == v8::ModuleImportPhase::kEvaluation {
        return import_dynamically(scope, options, referrer, specifier, attributes);
    }
    let resolver = v8::PromiseResolver::new(scope)?;
    let error = error_of(scope, "SyntaxError: only whole modules are imported");
    resolver.reject(scope, error);
    Some(resolver.get_promise(scope))
}

/// Links and evaluates a graph whose modules are all compiled, for a call of `import()`.
/// <https://tc39.es/ecma262/#sec-ContinueDynamicImport>
pub(in crate::realm) fn finish_import(scope: &mut v8::PinScope<'_, '_>, id: u32, key: &ModuleKey) {
    v8::tc_scope!(let scope, scope);
    let map = map_of(scope);
    let handle = map.handle_of(key).expect("invariant: a graph is compiled before it is run");
    let module = v8::Local::new(scope, handle);
    let linked = module.instantiate_module(scope, resolve_import);
    let Some(value) = linked.and_then(|_| module.evaluate(scope)) else {
        // Without an exception the realm has been terminated.
        if let (Some(exception), Some(resolver)) = (scope.exception(), take(scope, id)) {
            scope.reset();
            resolver.reject(scope, exception);
        }
        scope.perform_microtask_checkpoint();
        return;
    };
    let promise: v8::Local<v8::Promise> = value.try_into().expect("ECMA-262: it is a promise");
    let id = v8::Integer::new_from_unsigned(scope, id).into();
    let namespace = module.get_module_namespace();
    let data = v8::Array::new_with_elements(scope, &[id, namespace]);
    let fulfilled = v8::Function::builder(fulfil).data(data.into()).build(scope);
    let rejected = v8::Function::builder(reject).data(data.into()).build(scope);
    if let (Some(fulfilled), Some(rejected)) = (fulfilled, rejected) {
        promise.then2(scope, fulfilled, rejected);
    }
    scope.perform_microtask_checkpoint();
}

/// The graph was not loaded: `message` names the class of the error first.
pub(in crate::realm) fn fail_import(scope: &mut v8::PinScope<'_, '_>, id: u32, message: &str) {
    let Some(resolver) = take(scope, id) else { return };
    let error = error_of(scope, message);
    resolver.reject(scope, error);
    scope.perform_microtask_checkpoint();
}

fn fulfil<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let (id, namespace) = parts(scope, &arguments);
    if let Some(resolver) = take(scope, id) {
        resolver.resolve(scope, namespace);
    }
}

fn reject<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    _: v8::ReturnValue<'s, v8::Value>,
) {
    let (id, _) = parts(scope, &arguments);
    if let Some(resolver) = take(scope, id) {
        resolver.reject(scope, arguments.get(0));
    }
}

/// The call's number and the module's namespace, which the function has along.
fn parts<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: &v8::FunctionCallbackArguments<'s>,
) -> (u32, v8::Local<'s, v8::Value>) {
    let data: v8::Local<v8::Array> = arguments.data().try_into().expect("made with an array");
    let [id, namespace] =
        [0, 1].map(|index| data.get_index(scope, index).expect("it has two elements"));
    (id.uint32_value(scope).expect("made with a number"), namespace)
}

/// The promise of a call, which is about to be settled.
fn take<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    id: u32,
) -> Option<v8::Local<'s, v8::PromiseResolver>> {
    let resolver = map_of(scope).importing.borrow_mut().remove(&id);
    resolver.map(|resolver| v8::Local::new(scope, resolver))
}

/// An error of the class that the message begins with.
fn error_of<'s>(scope: &mut v8::PinScope<'s, '_>, message: &str) -> v8::Local<'s, v8::Value> {
    let (make, message): (fn(&v8::PinScope<'s, '_>, _) -> _, _) =
        match message.strip_prefix("SyntaxError: ") {
            Some(message) => (v8::Exception::syntax_error, message),
            None => {
                let message = message.strip_prefix("TypeError: ").unwrap_or(message);
                (v8::Exception::type_error, message)
            }
        };
    let text = v8::String::new(scope, message).unwrap_or_else(|| v8::String::empty(scope));
    make(scope, text)
}
