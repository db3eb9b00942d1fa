//! A realm that is nobody's yet: an isolate and a global scope from the snapshot, in which nothing
//! has run. What takes long about a new realm is done here, before anybody needs it.
//!
//! Invariant: nothing of a blank depends on an origin, a script or a time, so that whoever starts
//! one cannot tell when it was made.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use deno_core::{JsRuntime, RuntimeOptions, v8};
use deno_web::BlobStoreTrait;
use kittiwake_ops::{CompiledScripts, Host};
use url::Url;

use super::code_cache::Leaving;
use super::lazy::{self, Part, PartKind};
use super::memory::{Memory, MemoryLimits, bytes_of};
use super::modules::{DynamicImports, install};
use super::{Realm, RealmKind, RealmOptions, coverage, inspect, stack, to_v8};
use crate::extension::{OriginShare, extensions};
use crate::watchdog::Struck;

static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/realm.snapshot"));

/// What the snapshot leaves out.
static PARTS: &[Part] = include!(concat!(env!("OUT_DIR"), "/parts.rs"));

/// What our own script may take to start a realm, however little scripts may.
const START_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Blank {
    // Both are Some until it is started or dropped.
    runtime: Option<JsRuntime>,
    host_call: Option<v8::Global<v8::Function>>,
    struck: Struck,
    /// Outlives the isolate.
    memory: Arc<Memory>,
}

impl Blank {
    /// Creates the isolate from the snapshot. `seed` is that of `crypto`'s random source in a
    /// simulation.
    pub(crate) fn new(limits: MemoryLimits, seed: Option<u64>) -> Self {
        let struck = Struck::default();
        let memory = Memory::new(limits, struck.clone());
        let mut runtime = JsRuntime::new(RuntimeOptions {
            extensions: extensions(OriginShare::default(), seed),
            startup_snapshot: Some(SNAPSHOT),
            skip_op_registration: true, // they are in the snapshot
            create_params: Some(memory.parameters()),
            module_loader: Some(Rc::new(no_modules::NoModules)),
            compiled_wasm_module_store: Some(Default::default()),
            ..Default::default()
        });
        // An agent that cannot block, as the specification says: one thread serves many realms.
        runtime.v8_isolate().set_allow_atomics_wait(false);
        runtime.v8_isolate().set_prepare_stack_trace_callback(stack::prepare);
        memory.watch(&mut runtime);
        let host_call = take_host_call(&mut runtime);
        {
            deno_core::scope!(scope, &mut runtime);
            scope.set_slot(Rc::new(CompiledScripts::default()));
            lazy::install(scope, PARTS);
        }
        // SAFETY: creation entered the isolate on this thread.
        unsafe { runtime.v8_isolate().exit() };
        Blank { runtime: Some(runtime), host_call: Some(host_call), struck, memory }
    }

    /// What it has of memory.
    pub(crate) fn memory_bytes(&mut self) -> usize {
        bytes_of(self.runtime.as_mut().expect("a blank has its runtime until it is started"))
    }

    /// Makes it somebody's, and starts its global scope.
    pub(crate) fn start(mut self, options: RealmOptions) -> Realm {
        let mut runtime = self.runtime.take().expect("a blank is started once");
        // SAFETY: it is left below, on this thread.
        unsafe { runtime.v8_isolate().enter() };
        let OriginShare { blobs, broadcast } = options.share;
        {
            let state = runtime.op_state();
            let mut state = state.borrow_mut();
            // As deno_web asks for it.
            state.put::<Arc<dyn BlobStoreTrait>>(blobs.clone());
            state.put(broadcast);
            state.put(Host { realm: options.id, services: options.services, blobs });
        }
        let imports = match options.start.kind {
            RealmKind::ServiceWorker => DynamicImports::Refused,
            RealmKind::Page => DynamicImports::Allowed,
        };
        let base = Url::parse(&options.start.url).expect("invariant: a realm has a URL");
        let modules = {
            deno_core::scope!(scope, &mut runtime);
            install(scope, options.resolver, base, imports)
        };
        let inspected = options.inspector.map(|(inspector, debugged)| {
            let realm = (options.id, debugged);
            inspect::inspect(&mut runtime, &inspector, &options.start, realm)
        });
        let counting = options.coverage.map(|all| coverage::Counting::start(&mut runtime, all));
        // SAFETY: entered above, on this thread.
        unsafe { runtime.v8_isolate().exit() };
        let mut realm = Realm {
            runtime: Some(runtime),
            host_call: self.host_call.take(),
            modules: Some(modules),
            awaiting: Vec::new(),
            leaving: Leaving::default(),
            counting,
            inspected,
            watchdog: options.watchdog,
            struck: self.struck.clone(),
            turn_limit: options.turn_limit.max(START_LIMIT),
            memory: self.memory.clone(),
            meter: options.meter,
        };
        realm
            .turn(|turn| turn.call_host("start", |scope| vec![to_v8(scope, &options.start)]))
            .expect("our own start script does not throw");
        realm.turn_limit = options.turn_limit;
        realm
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        self.host_call.take();
        if let Some(mut runtime) = self.runtime.take() {
            // SAFETY: the isolate must be current when its runtime is dropped; dropping leaves it.
            unsafe { runtime.v8_isolate().enter() };
        }
    }
}

/// Takes the host's way in off the global, before any script could see it.
fn take_host_call(runtime: &mut JsRuntime) -> v8::Global<v8::Function> {
    deno_core::scope!(scope, runtime);
    let global = scope.get_current_context().global(scope);
    let key = v8::String::new(scope, "__kittiwake").expect("a short string");
    let value = global.get(scope, key.into()).expect("the snapshot has it");
    let function: v8::Local<v8::Function> = value.try_into().expect("it is a function");
    global.delete(scope, key.into());
    v8::Global::new(scope, function)
}

/// Service workers have no dynamic `import()`, and static imports are `modules`' business.
mod no_modules {
    use deno_core::error::ModuleLoaderError;
    use deno_core::{
        ModuleLoadOptions, ModuleLoadReferrer, ModuleLoadResponse, ModuleLoader, ModuleSpecifier,
        ResolutionKind,
    };
    use deno_error::JsErrorBox;

    pub(super) struct NoModules;

    impl ModuleLoader for NoModules {
        fn resolve(
            &self,
            _specifier: &str,
            _referrer: &str,
            _kind: ResolutionKind,
        ) -> Result<ModuleSpecifier, ModuleLoaderError> {
            Err(disallowed())
        }

        fn load(
            &self,
            _specifier: &ModuleSpecifier,
            _referrer: Option<&ModuleLoadReferrer>,
            _options: ModuleLoadOptions,
        ) -> ModuleLoadResponse {
            ModuleLoadResponse::Sync(Err(disallowed()))
        }
    }

    fn disallowed() -> JsErrorBox {
        JsErrorBox::type_error(
            "import() is disallowed on ServiceWorkerGlobalScope by the HTML specification. See \
             https://github.com/w3c/ServiceWorker/issues/1356.",
        )
    }
}
