//! Bytecode of scripts, which the realms of a process hand on: whoever compiles a script as the
//! second one leaves its bytecode, and the third compiles nothing.
//!
//! Invariant: bytecode is taken for the very text that it was made of; V8 itself looks at the
//! text's length only.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};

use deno_core::v8;
use v8::script_compiler::{CachedData, CompileOptions, NoCacheReason, Source};

/// Shorter scripts are compiled as fast as they are looked for.
const MIN_LENGTH: usize = 1024;
/// What is kept in all, texts included.
const MAX_BYTES: usize = 64 << 20;
/// Scripts that are known, with bytecode or without.
const MAX_SCRIPTS: usize = 1024;

/// The scripts of a realm whose bytecode it leaves, in a slot of its isolate.
#[derive(Default)]
pub(super) struct Leaving(RefCell<Vec<(Key, String, Compiled)>>);

enum Compiled {
    Classic(v8::Global<v8::UnboundScript>),
    Module(v8::Global<v8::UnboundModuleScript>),
}

/// The script's URL, and a hash of its text.
type Key = (String, u64);

#[derive(Default)]
struct Shelf {
    scripts: BTreeMap<Key, Known>,
    bytes: usize,
    /// How often somebody has asked.
    asked: u64,
}

#[derive(Default)]
struct Known {
    made: Option<Made>,
    /// When somebody asked for it last.
    asked: u64,
}

struct Made {
    text: String,
    bytecode: Arc<[u8]>,
}

/// What the shelf says about a script.
enum Answer {
    Bytecode(Arc<[u8]>),
    /// Nobody has left its bytecode yet, but others have compiled it.
    Wanted(Key),
    /// Nobody else may ever compile it.
    New,
}

/// Prepares an isolate. Once.
pub(super) fn install(scope: &mut v8::PinScope<'_, '_>) {
    scope.set_slot(Rc::new(Leaving::default()));
}

/// Compiles a classic script. An exception is the engine's.
pub(super) fn compile_classic<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    url: &str,
    text: &str,
) -> Option<v8::Local<'s, v8::Script>> {
    let answer = look(url, text);
    let bytecode = answer.bytecode();
    let (mut source, options) = source_of(scope, url, text, bytecode.as_deref(), false)?;
    let script =
        v8::script_compiler::compile(scope, &mut source, options, NoCacheReason::NoReason)?;
    if let Answer::Wanted(key) = answer {
        let unbound = script.get_unbound_script(scope);
        leave(scope, key, text, Compiled::Classic(v8::Global::new(scope, unbound)));
    }
    Some(script)
}

/// Compiles a module. An exception is the engine's.
pub(super) fn compile_module<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    url: &str,
    text: &str,
) -> Option<v8::Local<'s, v8::Module>> {
    let answer = look(url, text);
    let bytecode = answer.bytecode();
    let (mut source, options) = source_of(scope, url, text, bytecode.as_deref(), true)?;
    let module =
        v8::script_compiler::compile_module2(scope, &mut source, options, NoCacheReason::NoReason)?;
    if let Answer::Wanted(key) = answer {
        let unbound = module.get_unbound_module_script(scope);
        leave(scope, key, text, Compiled::Module(v8::Global::new(scope, unbound)));
    }
    Some(module)
}

/// Leaves the bytecode that others want: at the realm's end, when the functions that run have
/// theirs.
pub(super) fn leave_bytecode(scope: &mut v8::PinScope<'_, '_>) {
    let leaving = scope.get_slot::<Rc<Leaving>>().expect("invariant: installed with the realm");
    for (key, text, compiled) in leaving.0.take() {
        let bytecode = match compiled {
            Compiled::Classic(script) => v8::Local::new(scope, script).create_code_cache(),
            Compiled::Module(script) => v8::Local::new(scope, script).create_code_cache(),
        };
        if let Some(bytecode) = bytecode {
            shelf().put(key, Made { text, bytecode: Arc::from(&**bytecode) });
        }
    }
}

fn look(url: &str, text: &str) -> Answer {
    if text.len() < MIN_LENGTH {
        return Answer::New;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    shelf().ask((url.to_owned(), hasher.finish()), text)
}

fn leave(scope: &mut v8::PinScope<'_, '_>, key: Key, text: &str, compiled: Compiled) {
    let leaving = scope.get_slot::<Rc<Leaving>>().expect("invariant: installed with the realm");
    leaving.0.borrow_mut().push((key, text.to_owned(), compiled));
}

/// `bytecode` must outlive the source.
fn source_of(
    scope: &mut v8::PinScope<'_, '_>,
    url: &str,
    text: &str,
    bytecode: Option<&[u8]>,
    module: bool,
) -> Option<(Source, CompileOptions)> {
    let text = v8::String::new(scope, text)?;
    let name = v8::String::new(scope, url)?.into();
    let origin =
        v8::ScriptOrigin::new(scope, name, 0, 0, false, 0, None, false, false, module, None);
    Some(match bytecode {
        Some(bytecode) => {
            let data = CachedData::new(bytecode);
            let source = Source::new_with_cached_data(text, Some(&origin), data);
            (source, CompileOptions::ConsumeCodeCache)
        }
        None => (Source::new(text, Some(&origin)), CompileOptions::NoCompileOptions),
    })
}

impl Answer {
    fn bytecode(&self) -> Option<Arc<[u8]>> {
        match self {
            Answer::Bytecode(bytecode) => Some(bytecode.clone()),
            Answer::Wanted(_) | Answer::New => None,
        }
    }
}

impl Shelf {
    fn ask(&mut self, key: Key, text: &str) -> Answer {
        self.asked += 1;
        let asked = self.asked;
        let Some(known) = self.scripts.get_mut(&key) else {
            self.scripts.insert(key, Known { made: None, asked });
            self.make_room();
            return Answer::New;
        };
        known.asked = asked;
        match &known.made {
            None => Answer::Wanted(key),
            Some(made) if made.text == text => Answer::Bytecode(made.bytecode.clone()),
            // Two texts with one hash.
            Some(_) => Answer::New,
        }
    }

    fn put(&mut self, key: Key, made: Made) {
        // It may have gone, or have come from another realm meanwhile.
        let Some(known @ Known { made: None, .. }) = self.scripts.get_mut(&key) else { return };
        self.bytes += made.bytes();
        known.made = Some(made);
        self.make_room();
    }

    /// Forgets what nobody has asked for the longest.
    fn make_room(&mut self) {
        while self.bytes > MAX_BYTES || self.scripts.len() > MAX_SCRIPTS {
            let oldest = self.scripts.iter().min_by_key(|(_, known)| known.asked);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            let known = self.scripts.remove(&oldest);
            self.bytes -= known.and_then(|known| known.made).map_or(0, |made| made.bytes());
        }
    }
}

impl Made {
    fn bytes(&self) -> usize {
        self.text.len() + self.bytecode.len()
    }
}

fn shelf() -> MutexGuard<'static, Shelf> {
    static SHELF: Mutex<Shelf> = Mutex::new(Shelf { scripts: BTreeMap::new(), bytes: 0, asked: 0 });
    SHELF.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), 1)
    }

    #[test]
    fn the_second_one_who_asks_is_to_leave_it_and_the_third_one_has_it() {
        let mut shelf = Shelf::default();
        assert!(matches!(shelf.ask(key("a"), "text"), Answer::New));
        let Answer::Wanted(wanted) = shelf.ask(key("a"), "text") else { panic!("not wanted") };
        shelf.put(wanted, Made { text: "text".to_owned(), bytecode: Arc::from([7]) });
        let Answer::Bytecode(bytecode) = shelf.ask(key("a"), "text") else { panic!("not there") };
        assert_eq!(*bytecode, [7]);
        assert!(matches!(shelf.ask(key("a"), "another text of this hash"), Answer::New));
    }

    #[test]
    fn what_nobody_asks_for_makes_room() {
        let mut shelf = Shelf::default();
        let large = || Made { text: String::new(), bytecode: vec![0; MAX_BYTES / 2].into() };
        for name in ["a", "b", "c"] {
            shelf.ask(key(name), "");
            shelf.put(key(name), large());
            shelf.ask(key("a"), "");
        }
        assert!(matches!(shelf.ask(key("a"), ""), Answer::Bytecode(_)));
        assert!(matches!(shelf.ask(key("b"), ""), Answer::New));
        assert!(shelf.bytes <= MAX_BYTES, "{}", shelf.bytes);
        for number in 0..2 * MAX_SCRIPTS {
            shelf.ask(key(&number.to_string()), "");
        }
        assert_eq!(shelf.scripts.len(), MAX_SCRIPTS);
        assert_eq!(shelf.bytes, 0);
    }
}
