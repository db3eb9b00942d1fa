//! Scripts as V8 compiles them: with the code that an earlier realm left, if there is any.
//!
//! Invariant: what a script does and throws is the same with and without code; code that V8 does
//! not take is as good as none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use deno_core::v8::script_compiler::{
    CachedData, CompileOptions, NoCacheReason, Source, compile_module2, compile_unbound_script,
};
use deno_core::{OpState, op2, v8};

use crate::{Host, OpError};

/// A script to compile.
#[derive(Clone, Debug, Default)]
pub struct ScriptSource {
    /// Its text.
    pub text: String,
    /// What V8 made of it in an earlier realm.
    pub code: Option<Arc<[u8]>>,
}

impl From<String> for ScriptSource {
    fn from(text: String) -> Self {
        ScriptSource { text, code: None }
    }
}

/// What a realm has compiled from text, whose code somebody may want: in a slot of its isolate.
#[derive(Default)]
pub struct CompiledScripts(RefCell<Vec<(String, Compiled)>>);

enum Compiled {
    Script(v8::Global<v8::UnboundScript>),
    Module(v8::Global<v8::Module>),
}

/// Compiles a classic script; `None` if that has thrown.
pub fn compile_script<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    url: &str,
    script: &ScriptSource,
) -> Option<v8::Local<'s, v8::UnboundScript>> {
    let mut source = source_of(scope, url, script, false)?;
    let (options, reason) = (options_for(script), NoCacheReason::NoReason);
    let compiled = compile_unbound_script(scope, &mut source, options, reason)?;
    if !has_used_code(&source) {
        note(scope, url, |scope| Compiled::Script(v8::Global::new(scope, compiled)));
    }
    Some(compiled)
}

/// Compiles a JavaScript module; `None` if that has thrown.
pub fn compile_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    url: &str,
    script: &ScriptSource,
) -> Option<v8::Local<'s, v8::Module>> {
    let mut source = source_of(scope, url, script, true)?;
    let (options, reason) = (options_for(script), NoCacheReason::NoReason);
    let compiled = compile_module2(scope, &mut source, options, reason)?;
    if !has_used_code(&source) {
        note(scope, url, |scope| Compiled::Module(v8::Global::new(scope, compiled)));
    }
    Some(compiled)
}

/// The code of what was compiled from text and is wanted, by its URL: with the functions that have
/// run since. The rest is forgotten.
pub fn take_code(
    scope: &mut v8::PinScope<'_, '_>,
    wanted: impl Fn(&str) -> bool,
) -> Vec<(String, Vec<u8>)> {
    let Some(compiled) = scope.get_slot::<Rc<CompiledScripts>>().cloned() else { return vec![] };
    let compiled = compiled.0.take().into_iter().filter(|(url, _)| wanted(url));
    let code_of = |(url, compiled)| {
        let code = match compiled {
            Compiled::Script(script) => v8::Local::new(scope, script).create_code_cache(),
            Compiled::Module(module) => {
                let module = v8::Local::new(scope, module);
                module.get_unbound_module_script(scope).create_code_cache()
            }
        };
        Some((url, code?.to_vec()))
    };
    compiled.filter_map(code_of).collect()
}

fn source_of(
    scope: &mut v8::PinScope<'_, '_>,
    url: &str,
    script: &ScriptSource,
    is_module: bool,
) -> Option<Source> {
    let Some(text) = v8::String::new(scope, &script.text) else {
        let text = v8::String::new(scope, &format!("{url} is too long"))?;
        let error = v8::Exception::range_error(scope, text);
        scope.throw_exception(error);
        return None;
    };
    let name = v8::String::new(scope, url)?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, 0, None, false, false, is_module, None);
    Some(match &script.code {
        Some(code) => Source::new_with_cached_data(text, Some(&origin), CachedData::new(code)),
        None => Source::new(text, Some(&origin)),
    })
}

fn options_for(script: &ScriptSource) -> CompileOptions {
    match script.code {
        Some(_) => CompileOptions::ConsumeCodeCache,
        None => CompileOptions::NoCompileOptions,
    }
}

fn has_used_code(source: &Source) -> bool {
    source.get_cached_data().is_some_and(|code| !code.rejected())
}

fn note(
    scope: &mut v8::PinScope<'_, '_>,
    url: &str,
    compiled: impl FnOnce(&mut v8::PinScope<'_, '_>) -> Compiled,
) {
    if let Some(all) = scope.get_slot::<Rc<CompiledScripts>>().cloned() {
        all.0.borrow_mut().push((url.to_owned(), compiled(scope)));
    }
}

/// Runs one script of `importScripts()`; answers what it threw, and whether it could not be
/// compiled. Blocks the thread, as the specification does.
#[op2(reentrant)]
pub fn op_worker_import<'s, 'i>(
    scope: &mut v8::PinScope<'s, 'i>,
    state: Rc<RefCell<OpState>>,
    #[string] url: String,
) -> Result<v8::Local<'s, v8::Value>, OpError> {
    let (services, realm) = Host::of(&state.borrow());
    let script = services.import_script(realm, &url)?;
    v8::tc_scope!(let scope, scope);
    let compiled = compile_script(scope, &url, &script);
    let is_compiled = compiled.is_some();
    let value = compiled.and_then(|it| it.bind_to_current_context(scope).run(scope));
    if value.is_some() {
        return Ok(v8::null(scope).into());
    }
    if scope.has_terminated() {
        scope.rethrow();
        return Ok(v8::null(scope).into());
    }
    let thrown = scope.exception().expect("whoever answers nothing has thrown");
    let is_compile_error = v8::Boolean::new(scope, !is_compiled);
    Ok(v8::Array::new_with_elements(scope, &[thrown, is_compile_error.into()]).into())
}
