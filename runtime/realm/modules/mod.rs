//! ES modules of a realm: each compiled by itself, then linked and evaluated as one graph. The
//! engine's own module map is not used: it fetches, and a graph of it cannot be asked whether it
//! awaits.
//!
//! Invariant: V8 asks for a module only while a graph is linked, when all of it is compiled; so no
//! turn waits for a source.

mod dynamic;
mod imports;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use deno_core::error::JsError;
use deno_core::v8;
use kittiwake_ops::{ScriptException, ScriptSource, compile_module};
use url::Url;

use super::Failure;

pub(crate) use dynamic::DynamicImport;
pub(super) use dynamic::{fail_import, finish_import};
pub(crate) use imports::{ModuleImport, Resolve, UrlsAlone, resolve_url, unresolved};

/// What the engine threw in a `TryCatch` scope.
macro_rules! thrown {
    ($scope:ident) => {{
        let exception = $scope.exception().expect("whoever answers nothing has thrown");
        Failure::Js(JsError::from_v8_exception($scope, exception))
    }};
}

/// What a module's source is: <https://html.spec.whatwg.org/#module-type-from-module-request>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ModuleKind {
    JavaScript,
    Json,
    /// A script in the document itself, which has the document's URL; by its place there.
    Inline(u32),
}

/// Names a module: <https://html.spec.whatwg.org/#module-map>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModuleKey {
    pub(crate) url: Url,
    pub(crate) kind: ModuleKind,
}

/// Whether a graph may await at its top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopLevelAwait {
    /// Service workers may not.
    Refused,
    /// Nobody waits for its end; an error that comes later is one that nobody caught.
    LeftAlone,
    /// Whoever runs it waits for its end.
    Awaited,
}

/// A graph that has begun to run.
pub(super) enum Evaluated {
    Whole,
    /// It awaits; its errors are whoever's who waits for it.
    Awaits(v8::Global<v8::Promise>),
}

/// The modules of one realm, in a slot of its isolate.
pub(super) struct ModuleMap {
    modules: RefCell<Vec<Module>>,
    resolver: Rc<dyn Resolve>,
    /// What relative specifiers of scripts without a URL of their own are relative to.
    base: Url,
    /// Calls of `import()` that the host has not heard of yet.
    asked: RefCell<Vec<DynamicImport>>,
    /// Their promises, and those that the host works for.
    importing: RefCell<BTreeMap<u32, v8::Global<v8::PromiseResolver>>>,
    last_import: Cell<u32>,
}

struct Module {
    key: ModuleKey,
    /// Its own URL: that of the response, where that is another than the one that was asked for.
    url: Url,
    handle: v8::Global<v8::Module>,
    imports: Vec<ModuleImport>,
    /// A JSON module's only export.
    value: Option<v8::Global<v8::Value>>,
}

impl ModuleMap {
    fn handle_of(&self, key: &ModuleKey) -> Option<v8::Global<v8::Module>> {
        let modules = self.modules.borrow();
        modules.iter().find(|module| module.key == *key).map(|module| module.handle.clone())
    }

    fn with<T>(&self, handle: &v8::Global<v8::Module>, look: impl FnOnce(&Module) -> T) -> T {
        let modules = self.modules.borrow();
        let module = modules.iter().find(|module| module.handle == *handle);
        look(module.expect("invariant: V8 knows the modules that we compiled"))
    }

    /// The module that awaits, of a graph that does: it is asynchronous, and its imports are not.
    fn awaiting(&self, scope: &mut v8::PinScope<'_, '_>) -> Option<Url> {
        let modules = self.modules.borrow();
        let is_async = |handle: &v8::Global<v8::Module>, scope: &mut v8::PinScope<'_, '_>| {
            v8::Local::new(scope, handle).is_graph_async()
        };
        let awaiting = modules.iter().find(|module| {
            is_async(&module.handle, scope)
                && !module.imports.iter().any(|import| {
                    let imported = modules.iter().find(|other| other.key == import.key);
                    imported.is_some_and(|imported| is_async(&imported.handle, scope))
                })
        });
        awaiting.map(|module| module.key.url.clone())
    }
}

/// Prepares an isolate to have modules, and with `imports` to import them when it runs. Once.
pub(super) fn install(
    scope: &mut v8::PinScope<'_, '_>,
    resolver: Rc<dyn Resolve>,
    base: Url,
    imports: DynamicImports,
) -> Rc<ModuleMap> {
    let map = Rc::new(ModuleMap {
        modules: RefCell::default(),
        resolver,
        base,
        asked: RefCell::default(),
        importing: RefCell::default(),
        last_import: Cell::new(0),
    });
    scope.set_slot(map.clone());
    deno_core::register_external_module_import_meta_cb(scope, imports::fill_import_meta);
    if imports == DynamicImports::Allowed {
        scope.set_host_import_module_dynamically_callback(dynamic::import_dynamically);
        scope.set_host_import_module_with_phase_dynamically_callback(dynamic::import_in_phase);
    }
    map
}

/// Whether `import()` imports. In a service worker it throws, which is the engine's module
/// loader's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DynamicImports {
    Allowed,
    Refused,
}

/// Compiles one module and answers what it imports.
/// <https://html.spec.whatwg.org/#creating-a-javascript-module-script>
pub(super) fn compile(
    scope: &mut v8::PinScope<'_, '_>,
    key: ModuleKey,
    url: Url,
    source: &ScriptSource,
) -> Result<Vec<ModuleImport>, Failure> {
    let map = map_of(scope);
    if let Some(known) = map.handle_of(&key) {
        return Ok(map.with(&known, |module| module.imports.clone()));
    }
    v8::tc_scope!(let scope, scope);
    let compiled = match key.kind {
        ModuleKind::JavaScript | ModuleKind::Inline(_) => {
            compile_module(scope, url.as_str(), source).map(|module| (module, None))
        }
        ModuleKind::Json => {
            let text = v8::String::new(scope, &source.text).ok_or_else(|| too_long(&key))?;
            compile_json(scope, &url, text)
        }
    };
    let Some((module, value)) = compiled else {
        let exception = scope.exception().expect("whoever answers nothing has thrown");
        let mut exception = ScriptException::from_v8(scope, exception);
        // JSON has no frames.
        exception.file.get_or_insert_with(|| url.to_string());
        return Err(Failure::Refused(exception));
    };
    let imports = imports::imports_of(scope, &*map.resolver, &url, module)?;
    let handle = v8::Global::new(scope, module);
    let value = value.map(|value| v8::Global::new(scope, value));
    let module = Module { key, url, handle, imports: imports.clone(), value };
    map.modules.borrow_mut().push(module);
    Ok(imports)
}

/// Links and evaluates a graph whose modules are all compiled.
/// <https://html.spec.whatwg.org/#run-a-module-script>
pub(super) fn evaluate(
    scope: &mut v8::PinScope<'_, '_>,
    root: &ModuleKey,
    top_level_await: TopLevelAwait,
) -> Result<Evaluated, Failure> {
    v8::tc_scope!(let scope, scope);
    let map = map_of(scope);
    let handle = map.handle_of(root).expect("invariant: a graph is compiled before it is run");
    let module = v8::Local::new(scope, handle);
    if module.instantiate_module(scope, resolve_import).is_none() {
        return Err(thrown!(scope));
    }
    if top_level_await == TopLevelAwait::Refused && module.is_graph_async() {
        return Err(Failure::CannotStart(disallowed_await(map.awaiting(scope))));
    }
    let Some(value) = module.evaluate(scope) else { return Err(thrown!(scope)) };
    scope.perform_microtask_checkpoint();
    let promise: v8::Local<v8::Promise> = value.try_into().expect("ECMA-262: it is a promise");
    let is_left_alone = top_level_await == TopLevelAwait::LeftAlone;
    if promise.state() == v8::PromiseState::Fulfilled
        || promise.state() == v8::PromiseState::Pending && is_left_alone
    {
        return Ok(Evaluated::Whole);
    }
    // Whoever asked for the evaluation tells of its rejection: nobody else must.
    let handled = v8::Function::new(
        scope,
        |_: &mut v8::PinScope, _: v8::FunctionCallbackArguments, _: v8::ReturnValue| {},
    );
    promise.catch(scope, handled.expect("a function without data"));
    match promise.state() {
        v8::PromiseState::Pending => Ok(Evaluated::Awaits(v8::Global::new(scope, promise))),
        _ => end_of(scope, promise).expect("it is settled").map(|()| Evaluated::Whole),
    }
}

/// How a graph that awaits has ended, if it has.
pub(super) fn end_of(
    scope: &mut v8::PinScope<'_, '_>,
    promise: v8::Local<'_, v8::Promise>,
) -> Option<Result<(), Failure>> {
    match promise.state() {
        v8::PromiseState::Pending => None,
        v8::PromiseState::Fulfilled => Some(Ok(())),
        v8::PromiseState::Rejected => {
            let reason = promise.result(scope);
            Some(Err(Failure::Js(JsError::from_v8_exception(scope, reason))))
        }
    }
}

/// <https://html.spec.whatwg.org/#creating-a-json-module-script>
fn compile_json<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    url: &Url,
    text: v8::Local<'s, v8::String>,
) -> Option<(v8::Local<'s, v8::Module>, Option<v8::Local<'s, v8::Value>>)> {
    let value = v8::json::parse(scope, text)?;
    let name = v8::String::new(scope, url.as_str())?;
    let export = v8::String::new(scope, "default")?;
    let module = v8::Module::create_synthetic_module(scope, name, &[export], export_json);
    Some((module, Some(value)))
}

fn export_json<'s>(
    context: v8::Local<'s, v8::Context>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    // SAFETY: V8 calls this with the context that it has entered.
    v8::callback_scope!(unsafe scope, context);
    let handle = v8::Global::new(scope, module);
    let value = map_of(scope).with(&handle, |module| module.value.clone());
    let value = v8::Local::new(scope, value.expect("invariant: a JSON module has a value"));
    let export = v8::String::new(scope, "default")?;
    module.set_synthetic_module_export(scope, export, value)?;
    let resolver = v8::PromiseResolver::new(scope)?;
    let undefined = v8::undefined(scope);
    resolver.resolve(scope, undefined.into());
    Some(resolver.get_promise(scope).into())
}

fn resolve_import<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    attributes: v8::Local<'s, v8::FixedArray>,
    referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this with the context that it has entered.
    v8::callback_scope!(unsafe scope, context);
    let map = map_of(scope);
    let specifier = specifier.to_rust_string_lossy(scope);
    let kind = imports::kind_of(scope, attributes, imports::STATIC_STEP);
    let kind = kind.expect("invariant: it was looked at when compiled");
    let referrer = v8::Global::new(scope, referrer);
    let key = map.with(&referrer, |module| {
        let is_asked =
            |import: &&ModuleImport| import.specifier == specifier && import.key.kind == kind;
        module.imports.iter().find(is_asked).map(|import| import.key.clone())
    });
    let handle = map.handle_of(&key.expect("invariant: each import was resolved"));
    Some(v8::Local::new(scope, handle.expect("invariant: a graph is compiled before it is linked")))
}

fn map_of(scope: &mut v8::PinScope<'_, '_>) -> Rc<ModuleMap> {
    scope.get_slot::<Rc<ModuleMap>>().expect("invariant: installed with the realm").clone()
}

fn too_long(key: &ModuleKey) -> Failure {
    Failure::Refused(plain(format!("RangeError: {} is too long", key.url), Some(&key.url)))
}

/// <https://w3c.github.io/ServiceWorker/#run-service-worker-algorithm>, in Chromium's words.
fn disallowed_await(file: Option<Url>) -> ScriptException {
    plain(
        "SyntaxError: Top-level await is disallowed in service workers.".to_owned(),
        file.as_ref(),
    )
}

fn plain(message: String, file: Option<&Url>) -> ScriptException {
    let file = file.map(Url::to_string);
    ScriptException { message, file, line: None, column: None, stack: None }
}
