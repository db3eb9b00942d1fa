//! A realm's graphs of modules: what the host has it compile, run and import.
//!
//! Invariant: whoever asks for a graph's end hears of it once, when it has come.

use deno_core::v8;
use kittiwake_ops::ScriptSource;
use tokio::sync::oneshot;
use url::Url;

use super::modules::{self, Evaluated};
use super::{DynamicImport, ModuleImport, ModuleKey, Realm, RealmError, TopLevelAwait};

/// Hears how a script ended.
pub(crate) type Ended = oneshot::Sender<Result<(), RealmError>>;

impl Realm {
    /// Compiles one module of a graph and answers what it imports.
    pub(crate) fn compile_module(
        &mut self,
        key: ModuleKey,
        url: Url,
        source: ScriptSource,
    ) -> Result<Vec<ModuleImport>, RealmError> {
        let source = self.with_code(url.as_str(), source);
        self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            modules::compile(scope, key, url, &source)
        })
    }

    /// Runs a module whose graph is compiled, then a microtask checkpoint. `ended` hears of its
    /// end, which may be later if it awaits; the answer says whether the realm has ended.
    pub(crate) fn evaluate_module(
        &mut self,
        root: &ModuleKey,
        top_level_await: TopLevelAwait,
        ended: Ended,
    ) -> Result<(), RealmError> {
        self.wait_for_debugger(root.url.as_str());
        let evaluated = self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            modules::evaluate(scope, root, top_level_await)
        });
        match evaluated {
            Ok(Evaluated::Awaits(promise)) => {
                self.awaiting.push((promise, ended));
                Ok(())
            }
            Ok(Evaluated::Whole) => answer(ended, Ok(())),
            Err(error) => answer(ended, Err(error)),
        }
    }

    /// Tells whoever waits for graphs that have ended. To be called after each turn.
    pub(crate) fn answer_awaiting(&mut self) -> Result<(), RealmError> {
        if self.awaiting.is_empty() {
            return Ok(());
        }
        let awaiting = std::mem::take(&mut self.awaiting);
        let (left, ends) = self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            let (mut left, mut ends) = (Vec::new(), Vec::new());
            for (promise, ended) in awaiting {
                let local = v8::Local::new(scope, &promise);
                let end = modules::end_of(scope, local);
                match end {
                    Some(end) => ends.push((ended, end)),
                    None => left.push((promise, ended)),
                }
            }
            Ok((left, ends))
        })?;
        self.awaiting = left;
        ends.into_iter().try_for_each(|(ended, end)| answer(ended, end.map_err(RealmError::from)))
    }

    /// What its scripts want to `import()` since the last time.
    pub(crate) fn take_imports(&self) -> Vec<DynamicImport> {
        self.modules.as_ref().map_or_else(Vec::new, |modules| modules.take_asked())
    }

    /// Settles the promise of an `import()`: its graph is compiled, or was not loaded.
    pub(crate) fn settle_import(
        &mut self,
        id: u32,
        loaded: Result<ModuleKey, String>,
    ) -> Result<(), RealmError> {
        self.turn(|turn| {
            deno_core::scope!(scope, turn.runtime);
            match loaded {
                Ok(key) => modules::finish_import(scope, id, &key),
                Err(message) => modules::fail_import(scope, id, &message),
            }
            Ok(())
        })
    }
}

/// Tells whoever asked, and whether the realm has ended.
pub(crate) fn answer<T>(
    done: oneshot::Sender<Result<T, RealmError>>,
    result: Result<T, RealmError>,
) -> Result<(), RealmError> {
    let ended = match &result {
        Err(RealmError::Terminated(limit)) => Err(RealmError::Terminated(*limit)),
        _ => Ok(()),
    };
    // Whoever asked has gone: the result is of no use.
    let _ = done.send(result);
    ended
}
