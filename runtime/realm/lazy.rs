//! Loads the parts of the platform that are not in the snapshot (ARCHITECTURE.md, "The snapshot"):
//! scripts of deno's crates, and modules of ours, which import each other and the snapshot's.
//!
//! The build script includes this file too, and makes the code of all parts with it.
//!
//! Invariant: to load a part runs nothing of a script's, and no microtask.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::v8;
use deno_core::v8::script_compiler::{
    CachedData, CompileOptions, NoCacheReason, Source, compile_function, compile_module2,
};
use kittiwake_ops::PartLoader;

/// A file, with its code as V8 has made it while the binary was built.
pub(crate) struct Part {
    pub(crate) specifier: &'static str,
    pub(crate) kind: PartKind,
    pub(crate) text: &'static str,
    pub(crate) code: Option<&'static [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// The body of a function of deno_core's `__bootstrap`, which answers what it exports.
    Script,
    Module,
}

/// The parts of one realm, in a slot of its isolate.
struct Parts {
    all: &'static [Part],
    loaded: RefCell<Vec<(String, Loaded)>>,
    /// By their specifiers, what the modules of the snapshot export. Set while modules are linked.
    eager: RefCell<Option<v8::Global<v8::Object>>>,
}

#[derive(Clone)]
enum Loaded {
    Script(v8::Global<v8::Function>),
    Module(v8::Global<v8::Module>),
    /// It stands for a module of the snapshot.
    Eager(v8::Global<v8::Module>),
}

/// Prepares an isolate to load these.
pub(crate) fn install(scope: &mut v8::PinScope<'_, '_>, all: &'static [Part]) {
    let parts = Parts { all, loaded: RefCell::default(), eager: RefCell::default() };
    scope.set_slot(Rc::new(parts));
    scope.set_slot(PartLoader(load));
}

/// The code of what was loaded, with the functions that have run.
#[allow(dead_code, reason = "only the build script makes it")]
pub(crate) fn code_of_all(scope: &mut v8::PinScope<'_, '_>) -> Vec<(String, Vec<u8>)> {
    let loaded = parts_of(scope).loaded.borrow().clone();
    let code_of = |(specifier, loaded)| {
        let code = match loaded {
            Loaded::Script(function) => v8::Local::new(scope, function).create_code_cache(),
            Loaded::Module(module) => {
                let module = v8::Local::new(scope, module);
                module.get_unbound_module_script(scope).create_code_cache()
            }
            Loaded::Eager(_) => return None,
        };
        Some((specifier, code.expect("V8 makes code of what it has compiled").to_vec()))
    };
    loaded.into_iter().filter_map(code_of).collect()
}

fn load<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    specifier: &str,
    eager: v8::Local<'_, v8::Object>,
) -> Option<v8::Local<'s, v8::Value>> {
    let parts = parts_of(scope);
    let part = parts.all.iter().find(|part| part.specifier == specifier)?;
    match part.kind {
        PartKind::Script => run_script(scope, &parts, part, eager),
        PartKind::Module => {
            *parts.eager.borrow_mut() = Some(v8::Global::new(scope, eager));
            let exports = evaluate_module(scope, &parts, part);
            if exports.is_none() {
                // Where the stack has ended, say: who asks again begins anew.
                parts.loaded.borrow_mut().retain(|(_, loaded)| match loaded {
                    Loaded::Module(module) | Loaded::Eager(module) => {
                        v8::Local::new(scope, module).get_status() == v8::ModuleStatus::Evaluated
                    }
                    Loaded::Script(_) => true,
                });
            }
            exports
        }
    }
}

fn run_script<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    parts: &Parts,
    part: &Part,
    eager: v8::Local<'_, v8::Object>,
) -> Option<v8::Local<'s, v8::Value>> {
    let mut source = source_of(scope, part)?;
    let parameter = v8::String::new(scope, "__bootstrap")?;
    let (options, reason) = (options_for(part), NoCacheReason::NoReason);
    let function = compile_function(scope, &mut source, &[parameter], &[], options, reason)?;
    debug_assert!(has_taken_code(part, &source), "{} has other code", part.specifier);
    let bootstrap = eager.get(scope, parameter.into())?;
    let undefined = v8::undefined(scope).into();
    let exports = function.call(scope, undefined, &[bootstrap])?;
    let function = v8::Global::new(scope, function);
    parts.loaded.borrow_mut().push((part.specifier.to_owned(), Loaded::Script(function)));
    Some(exports)
}

fn evaluate_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    parts: &Parts,
    part: &'static Part,
) -> Option<v8::Local<'s, v8::Value>> {
    let module = module_of(scope, parts, part)?;
    module.instantiate_module(scope, resolve)?;
    let end = module.evaluate(scope)?;
    if module.get_status() == v8::ModuleStatus::Errored {
        // Whoever asked for it hears of it, and nobody else.
        v8::Local::<v8::Promise>::try_from(end).ok()?.mark_as_handled();
        let exception = module.get_exception();
        scope.throw_exception(exception);
        return None;
    }
    Some(module.get_module_namespace())
}

fn module_of<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    parts: &Parts,
    part: &'static Part,
) -> Option<v8::Local<'s, v8::Module>> {
    if let Some(module) = parts.module(part.specifier) {
        return Some(v8::Local::new(scope, module));
    }
    let mut source = source_of(scope, part)?;
    let (options, reason) = (options_for(part), NoCacheReason::NoReason);
    let module = compile_module2(scope, &mut source, options, reason)?;
    debug_assert!(has_taken_code(part, &source), "{} has other code", part.specifier);
    let handle = v8::Global::new(scope, module);
    parts.loaded.borrow_mut().push((part.specifier.to_owned(), Loaded::Module(handle)));
    Some(module)
}

fn resolve<'s>(
    context: v8::Local<'s, v8::Context>,
    specifier: v8::Local<'s, v8::String>,
    _attributes: v8::Local<'s, v8::FixedArray>,
    _referrer: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Module>> {
    // SAFETY: V8 calls this with the context that it has entered.
    v8::callback_scope!(unsafe scope, context);
    let parts = parts_of(scope);
    let name = specifier.to_rust_string_lossy(scope);
    if let Some(part) = parts.all.iter().find(|part| part.specifier == name) {
        return module_of(scope, &parts, part);
    }
    if let Some(module) = parts.module(&name) {
        return Some(v8::Local::new(scope, module));
    }
    eager_module(scope, &parts, specifier, name)
}

/// A module that exports what one of the snapshot does.
fn eager_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    parts: &Parts,
    specifier: v8::Local<'s, v8::String>,
    name: String,
) -> Option<v8::Local<'s, v8::Module>> {
    let exports = parts.exports(scope, specifier)?;
    let names = exports.get_own_property_names(scope, v8::GetPropertyNamesArgs::default())?;
    let names = (0..names.length()).map(|index| names.get_index(scope, index)?.try_into().ok());
    let names: Vec<v8::Local<v8::String>> = names.collect::<Option<_>>()?;
    let module = v8::Module::create_synthetic_module(scope, specifier, &names, export_eager);
    let handle = v8::Global::new(scope, module);
    parts.loaded.borrow_mut().push((name, Loaded::Eager(handle)));
    Some(module)
}

fn export_eager<'s>(
    context: v8::Local<'s, v8::Context>,
    module: v8::Local<'s, v8::Module>,
) -> Option<v8::Local<'s, v8::Value>> {
    // SAFETY: V8 calls this with the context that it has entered.
    v8::callback_scope!(unsafe scope, context);
    let parts = parts_of(scope);
    let specifier = parts.specifier_of(&v8::Global::new(scope, module));
    let specifier = v8::String::new(scope, &specifier)?;
    let exports = parts.exports(scope, specifier)?;
    let names = exports.get_own_property_names(scope, v8::GetPropertyNamesArgs::default())?;
    for index in 0..names.length() {
        let name: v8::Local<v8::String> = names.get_index(scope, index)?.try_into().ok()?;
        let value = exports.get(scope, name.into())?;
        module.set_synthetic_module_export(scope, name, value)?;
    }
    let resolver = v8::PromiseResolver::new(scope)?;
    let undefined = v8::undefined(scope);
    resolver.resolve(scope, undefined.into());
    Some(resolver.get_promise(scope).into())
}

impl Parts {
    fn module(&self, specifier: &str) -> Option<v8::Global<v8::Module>> {
        let loaded = self.loaded.borrow();
        loaded.iter().find_map(|(known, loaded)| match loaded {
            Loaded::Module(module) | Loaded::Eager(module) if known == specifier => {
                Some(module.clone())
            }
            _ => None,
        })
    }

    fn specifier_of(&self, handle: &v8::Global<v8::Module>) -> String {
        let loaded = self.loaded.borrow();
        let specifier = loaded.iter().find_map(|(specifier, loaded)| match loaded {
            Loaded::Eager(module) if module == handle => Some(specifier.clone()),
            _ => None,
        });
        specifier.expect("invariant: V8 knows the modules that we made")
    }

    fn exports<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        specifier: v8::Local<'_, v8::String>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        let eager = self.eager.borrow().clone().expect("invariant: set before modules are linked");
        let exports = v8::Local::new(scope, eager).get(scope, specifier.into())?;
        let name = || specifier.to_rust_string_lossy(scope);
        Some(exports.try_into().unwrap_or_else(|_| panic!("invariant: {} is there", name())))
    }
}

fn source_of(scope: &mut v8::PinScope<'_, '_>, part: &Part) -> Option<Source> {
    // Stays where it is: V8 makes no copy of it.
    let text = v8::String::new_external_onebyte_static(scope, part.text.as_bytes())?;
    let name = v8::String::new(scope, part.specifier)?.into();
    let is_module = part.kind == PartKind::Module;
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, 0, None, false, false, is_module, None);
    Some(match part.code {
        Some(code) => Source::new_with_cached_data(text, Some(&origin), CachedData::new(code)),
        None => Source::new(text, Some(&origin)),
    })
}

fn options_for(part: &Part) -> CompileOptions {
    match part.code {
        Some(_) => CompileOptions::ConsumeCodeCache,
        None => CompileOptions::NoCompileOptions,
    }
}

fn has_taken_code(part: &Part, source: &Source) -> bool {
    part.code.is_none() || source.get_cached_data().is_some_and(|code| !code.rejected())
}

fn parts_of(scope: &mut v8::PinScope<'_, '_>) -> Rc<Parts> {
    scope.get_slot::<Rc<Parts>>().expect("invariant: installed with the realm").clone()
}
