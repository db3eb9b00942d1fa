//! ES modules of a realm: each compiled by itself, then linked and evaluated as one graph. The
//! engine's own module map is not used: it fetches, and a graph of it cannot be asked whether it
//! awaits.
//!
//! Invariant: V8 asks for a module only while a graph is linked, when all of it is compiled; so no
//! turn waits for a source.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::error::JsError;
use deno_core::v8;
use kittiwake_ops::{ScriptException, ScriptSource, compile_module};
use url::Url;

use super::Failure;

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
}

/// Names a module: <https://html.spec.whatwg.org/#module-map>
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModuleKey {
    pub(crate) url: Url,
    pub(crate) kind: ModuleKind,
}

/// An `import` of a module, with its place in the source.
#[derive(Clone, Debug)]
pub(crate) struct ModuleImport {
    pub(crate) key: ModuleKey,
    specifier: String,
    /// 1-based.
    pub(crate) line: i64,
    /// 1-based.
    pub(crate) column: i64,
}

/// The modules of one realm, in a slot of its isolate.
#[derive(Default)]
pub(super) struct ModuleMap(RefCell<Vec<Module>>);

struct Module {
    key: ModuleKey,
    handle: v8::Global<v8::Module>,
    imports: Vec<ModuleImport>,
    /// A JSON module's only export.
    value: Option<v8::Global<v8::Value>>,
}

impl ModuleMap {
    fn handle_of(&self, key: &ModuleKey) -> Option<v8::Global<v8::Module>> {
        let modules = self.0.borrow();
        modules.iter().find(|module| module.key == *key).map(|module| module.handle.clone())
    }

    fn with<T>(&self, handle: &v8::Global<v8::Module>, look: impl FnOnce(&Module) -> T) -> T {
        let modules = self.0.borrow();
        let module = modules.iter().find(|module| module.handle == *handle);
        look(module.expect("invariant: V8 knows the modules that we compiled"))
    }

    /// The module that awaits, of a graph that does: it is asynchronous, and its imports are not.
    fn awaiting(&self, scope: &mut v8::PinScope<'_, '_>) -> Option<Url> {
        let modules = self.0.borrow();
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

/// Prepares an isolate to have modules. Once.
pub(super) fn install(scope: &mut v8::PinScope<'_, '_>) {
    scope.set_slot(Rc::new(ModuleMap::default()));
    deno_core::register_external_module_import_meta_cb(scope, fill_import_meta);
}

/// Compiles one module and answers what it imports.
/// <https://html.spec.whatwg.org/#creating-a-javascript-module-script>
pub(super) fn compile(
    scope: &mut v8::PinScope<'_, '_>,
    key: ModuleKey,
    source: &ScriptSource,
) -> Result<Vec<ModuleImport>, Failure> {
    v8::tc_scope!(let scope, scope);
    let compiled = match key.kind {
        ModuleKind::JavaScript => {
            compile_module(scope, key.url.as_str(), source).map(|module| (module, None))
        }
        ModuleKind::Json => {
            let text = v8::String::new(scope, &source.text).ok_or_else(|| too_long(&key))?;
            compile_json(scope, &key.url, text)
        }
    };
    let Some((module, value)) = compiled else {
        let exception = scope.exception().expect("whoever answers nothing has thrown");
        let mut exception = ScriptException::from_v8(scope, exception);
        // JSON has no frames.
        exception.file.get_or_insert_with(|| key.url.to_string());
        return Err(Failure::Refused(exception));
    };
    let imports = imports_of(scope, &key.url, module)?;
    let handle = v8::Global::new(scope, module);
    let value = value.map(|value| v8::Global::new(scope, value));
    map_of(scope).0.borrow_mut().push(Module { key, handle, imports: imports.clone(), value });
    Ok(imports)
}

/// Links and evaluates a graph whose modules are all compiled.
/// <https://html.spec.whatwg.org/#run-a-module-script>
pub(super) fn evaluate(scope: &mut v8::PinScope<'_, '_>, root: &ModuleKey) -> Result<(), Failure> {
    v8::tc_scope!(let scope, scope);
    let map = map_of(scope);
    let handle = map.handle_of(root).expect("invariant: a graph is compiled before it is run");
    let module = v8::Local::new(scope, handle);
    if module.instantiate_module(scope, resolve_import).is_none() {
        return Err(thrown!(scope));
    }
    if module.is_graph_async() {
        return Err(Failure::CannotStart(top_level_await(map.awaiting(scope))));
    }
    let Some(value) = module.evaluate(scope) else { return Err(thrown!(scope)) };
    scope.perform_microtask_checkpoint();
    let promise: v8::Local<v8::Promise> = value.try_into().expect("ECMA-262: it is a promise");
    if promise.state() != v8::PromiseState::Rejected {
        return Ok(());
    }
    // Whoever asked for the evaluation tells of this rejection: nobody else must.
    let handled = v8::Function::new(
        scope,
        |_: &mut v8::PinScope, _: v8::FunctionCallbackArguments, _: v8::ReturnValue| {},
    );
    promise.catch(scope, handled.expect("a function without data"));
    let reason = promise.result(scope);
    Err(Failure::Js(JsError::from_v8_exception(scope, reason)))
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

/// What a module asks for, resolved against its own URL.
fn imports_of(
    scope: &mut v8::PinScope<'_, '_>,
    base: &Url,
    module: v8::Local<'_, v8::Module>,
) -> Result<Vec<ModuleImport>, Failure> {
    if module.is_synthetic_module() {
        return Ok(vec![]);
    }
    let requests = module.get_module_requests();
    let mut imports = Vec::with_capacity(requests.length());
    for index in 0..requests.length() {
        let request = requests.get(scope, index).expect("within the array");
        let request: v8::Local<v8::ModuleRequest> = request.try_into().expect("ModuleRequest");
        let specifier = request.get_specifier().to_rust_string_lossy(scope);
        let place = module.source_offset_to_location(request.get_source_offset());
        let line = i64::from(place.get_line_number()) + 1;
        let column = i64::from(place.get_column_number()) + 1;
        let refused = |message: String| {
            Failure::Refused(ScriptException {
                message,
                file: Some(base.to_string()),
                line: Some(line),
                column: Some(column),
                stack: None,
            })
        };
        let kind = kind_of(scope, request.get_import_attributes()).map_err(&refused)?;
        let url = resolve(&specifier, base).ok_or_else(|| {
            refused(format!("TypeError: {}", unresolved(&format!("\"{specifier}\""), '.')))
        })?;
        let key = ModuleKey { url, kind };
        imports.push(ModuleImport { key, specifier, line, column });
    }
    Ok(imports)
}

/// What `with { type: ... }` says. V8 gives key, value and offset of each attribute.
fn kind_of(
    scope: &mut v8::PinScope<'_, '_>,
    attributes: v8::Local<'_, v8::FixedArray>,
) -> Result<ModuleKind, String> {
    let mut kind = ModuleKind::JavaScript;
    for index in (0..attributes.length()).step_by(3) {
        let text = |index| {
            let data = attributes.get(scope, index).expect("within the array");
            let value: v8::Local<v8::Value> = data.try_into().expect("a string");
            value.to_rust_string_lossy(scope)
        };
        let (name, value) = (text(index), text(index + 1));
        kind = match (name.as_str(), value.as_str()) {
            ("type", "json") => ModuleKind::Json,
            ("type", _) => {
                return Err(format!("TypeError: \"{value}\" is not a valid module type."));
            }
            _ => return Err(format!("SyntaxError: Invalid attribute key \"{name}\".")),
        };
    }
    Ok(kind)
}

/// <https://html.spec.whatwg.org/#resolve-a-module-specifier>, without import maps: workers have
/// none.
fn resolve(specifier: &str, base: &Url) -> Option<Url> {
    if ["/", "./", "../"].iter().any(|start| specifier.starts_with(start)) {
        return base.join(specifier).ok();
    }
    Url::parse(specifier).ok()
}

/// Chromium's words; `import.meta.resolve` has them with a colon and no quotes.
fn unresolved(specifier: &str, stop: char) -> String {
    format!(
        "Failed to resolve module specifier {specifier}{stop} Relative references must start with \
         either \"/\", \"./\", or \"../\"."
    )
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
    let kind = kind_of(scope, attributes).expect("invariant: it was looked at when compiled");
    let referrer = v8::Global::new(scope, referrer);
    let key = map.with(&referrer, |module| {
        let is_asked =
            |import: &&ModuleImport| import.specifier == specifier && import.key.kind == kind;
        module.imports.iter().find(is_asked).map(|import| import.key.clone())
    });
    let handle = map.handle_of(&key.expect("invariant: each import was resolved"));
    Some(v8::Local::new(scope, handle.expect("invariant: a graph is compiled before it is linked")))
}

/// <https://html.spec.whatwg.org/#hostgetimportmetaproperties>
fn fill_import_meta<'s, 'i, 'm, 'o>(
    scope: &mut v8::PinScope<'s, 'i>,
    module: v8::Local<'m, v8::Module>,
    meta: v8::Local<'o, v8::Object>,
) {
    let handle = v8::Global::new(scope, module);
    let url = map_of(scope).with(&handle, |module| module.key.url.clone());
    let url = v8::String::new(scope, url.as_str()).expect("a URL is no longer than a string");
    let [url_name, resolve_name] =
        ["url", "resolve"].map(|name| v8::String::new(scope, name).expect("a short string"));
    meta.create_data_property(scope, url_name.into(), url.into());
    let resolve = v8::Function::builder(resolve_meta)
        .data(url.into())
        .length(1)
        .constructor_behavior(v8::ConstructorBehavior::Throw)
        .build(scope)
        .expect("a function with a string as its data");
    resolve.set_name(resolve_name);
    meta.create_data_property(scope, resolve_name.into(), resolve.into());
}

fn resolve_meta<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    arguments: v8::FunctionCallbackArguments<'s>,
    mut result: v8::ReturnValue<'s, v8::Value>,
) {
    let Some(specifier) = arguments.get(0).to_string(scope) else { return };
    let specifier = specifier.to_rust_string_lossy(scope);
    let base = arguments.data().to_rust_string_lossy(scope);
    let resolved = Url::parse(&base).ok().and_then(|base| resolve(&specifier, &base));
    let text = resolved.as_ref().map_or_else(|| unresolved(&specifier, ':'), Url::to_string);
    let Some(text) = v8::String::new(scope, &text) else { return };
    if resolved.is_some() {
        return result.set(text.into());
    }
    let error = v8::Exception::type_error(scope, text);
    scope.throw_exception(error);
}

fn map_of(scope: &mut v8::PinScope<'_, '_>) -> Rc<ModuleMap> {
    scope.get_slot::<Rc<ModuleMap>>().expect("invariant: installed with the realm").clone()
}

fn too_long(key: &ModuleKey) -> Failure {
    Failure::Refused(plain(format!("RangeError: {} is too long", key.url), Some(&key.url)))
}

/// <https://w3c.github.io/ServiceWorker/#run-service-worker-algorithm>, in Chromium's words.
fn top_level_await(file: Option<Url>) -> ScriptException {
    plain(
        "SyntaxError: Top-level await is disallowed in service workers.".to_owned(),
        file.as_ref(),
    )
}

fn plain(message: String, file: Option<&Url>) -> ScriptException {
    let file = file.map(Url::to_string);
    ScriptException { message, file, line: None, column: None, stack: None }
}
