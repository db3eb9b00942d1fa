//! What modules ask for, and by which names: `import`, and `import.meta`.
//!
//! Invariant: a specifier means the same wherever it stands in a module.

use deno_core::v8;
use kittiwake_ops::ScriptException;
use url::Url;

use super::{ModuleKey, ModuleKind, map_of};
use crate::realm::Failure;

/// Says which module a specifier names.
pub(crate) trait Resolve {
    /// The module that `specifier` names in the script at `base`, or what is wrong with it.
    fn resolve(&self, specifier: &str, base: &Url) -> Result<Url, String>;
}

/// As in workers, which have no import map.
pub(crate) struct UrlsAlone;

impl Resolve for UrlsAlone {
    fn resolve(&self, specifier: &str, base: &Url) -> Result<Url, String> {
        resolve_url(specifier, base).ok_or_else(|| unresolved(specifier))
    }
}

/// An `import` of a module, with its place in the source.
#[derive(Clone, Debug)]
pub(crate) struct ModuleImport {
    pub(crate) key: ModuleKey,
    pub(super) specifier: String,
    /// 1-based.
    pub(crate) line: i64,
    /// 1-based.
    pub(crate) column: i64,
}

/// V8 gives key, value and offset of each attribute of an `import`,
pub(super) const STATIC_STEP: usize = 3;
/// and key and value of one of `import()`.
pub(super) const DYNAMIC_STEP: usize = 2;

/// What a module asks for, resolved against its own URL.
pub(super) fn imports_of(
    scope: &mut v8::PinScope<'_, '_>,
    resolver: &dyn Resolve,
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
        let kind = kind_of(scope, request.get_import_attributes(), STATIC_STEP);
        let kind = kind.map_err(&refused)?;
        let url = resolver.resolve(&specifier, base);
        let url = url.map_err(|reason| refused(format!("TypeError: {reason}")))?;
        let key = ModuleKey { url, kind };
        imports.push(ModuleImport { key, specifier, line, column });
    }
    Ok(imports)
}

/// What `with { type: ... }` says.
pub(super) fn kind_of(
    scope: &mut v8::PinScope<'_, '_>,
    attributes: v8::Local<'_, v8::FixedArray>,
    step: usize,
) -> Result<ModuleKind, String> {
    let mut kind = ModuleKind::JavaScript;
    for index in (0..attributes.length()).step_by(step) {
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

/// <https://html.spec.whatwg.org/#resolving-a-url-like-module-specifier>
pub(crate) fn resolve_url(specifier: &str, base: &Url) -> Option<Url> {
    if ["/", "./", "../"].iter().any(|start| specifier.starts_with(start)) {
        return base.join(specifier).ok();
    }
    Url::parse(specifier).ok()
}

/// Chromium's words.
pub(crate) fn unresolved(specifier: &str) -> String {
    format!(
        "Failed to resolve module specifier \"{specifier}\". Relative references must start with \
         either \"/\", \"./\", or \"../\"."
    )
}

/// <https://html.spec.whatwg.org/#hostgetimportmetaproperties>
pub(super) fn fill_import_meta<'s, 'i, 'm, 'o>(
    scope: &mut v8::PinScope<'s, 'i>,
    module: v8::Local<'m, v8::Module>,
    meta: v8::Local<'o, v8::Object>,
) {
    let handle = v8::Global::new(scope, module);
    let url = map_of(scope).with(&handle, |module| module.url.clone());
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
    let base = Url::parse(&base).expect("invariant: a module has a URL");
    let resolved = map_of(scope).resolver.resolve(&specifier, &base);
    let text = match &resolved {
        Ok(url) => url.to_string(),
        // Chromium's words for it have a colon and no quotes.
        Err(reason) if *reason == unresolved(&specifier) => {
            reason.replacen(&format!("\"{specifier}\"."), &format!("{specifier}:"), 1)
        }
        Err(reason) => reason.clone(),
    };
    let Some(text) = v8::String::new(scope, &text) else { return };
    if resolved.is_ok() {
        return result.set(text.into());
    }
    let error = v8::Exception::type_error(scope, text);
    scope.throw_exception(error);
}
