//! Code of scripts, which the realms of a process hand on: whoever compiles a script as the second
//! one leaves what V8 made of it, and the third compiles nothing.
//!
//! Invariant: code is taken for the very text that it was made of; V8 itself looks at the text's
//! length only.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use deno_core::v8;
use kittiwake_ops::{ScriptSource, take_code};

/// Shorter scripts are compiled as fast as they are looked for.
const MIN_LENGTH: usize = 1024;
/// What is kept in all, texts included.
const MAX_BYTES: usize = 64 << 20;
/// Scripts that are known, with code or without.
const MAX_SCRIPTS: usize = 1024;

/// The scripts whose code a realm is to leave: by their URLs, with their texts. Nothing at the URLs
/// of those that nobody wants, and at those of several scripts: a document's own have one.
#[derive(Default)]
pub(super) struct Leaving(BTreeMap<String, Option<(Key, String)>>);

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
    code: Arc<[u8]>,
}

/// What the shelf says about a script.
enum Answer {
    Code(Arc<[u8]>),
    /// Nobody has left its code yet, but others have compiled it.
    Wanted(Key),
    /// Nobody else may ever compile it.
    New,
}

impl Leaving {
    /// The script, with the code that another realm left, if it has none of its own.
    pub(super) fn with_code(&mut self, url: &str, mut script: ScriptSource) -> ScriptSource {
        let is_alone = self.0.insert(url.to_owned(), None).is_none();
        if script.code.is_some() || script.text.len() < MIN_LENGTH {
            return script;
        }
        let mut hasher = DefaultHasher::new();
        script.text.hash(&mut hasher);
        match shelf().ask((url.to_owned(), hasher.finish()), &script.text) {
            Answer::Code(code) => script.code = Some(code),
            Answer::Wanted(key) if is_alone => {
                self.0.insert(url.to_owned(), Some((key, script.text.clone())));
            }
            Answer::Wanted(_) | Answer::New => {}
        }
        script
    }

    /// Takes the code of all scripts that were compiled from text.
    pub(super) fn take_all(&mut self, scope: &mut v8::PinScope<'_, '_>) -> Vec<(String, Vec<u8>)> {
        let codes = take_code(scope, |_| true);
        for (url, code) in &codes {
            self.leave(url, code);
        }
        codes
    }

    /// Leaves the code that others want: at the realm's end, when the functions that run have
    /// theirs.
    pub(super) fn leave_wanted(mut self, scope: &mut v8::PinScope<'_, '_>) {
        for (url, code) in take_code(scope, |url| matches!(self.0.get(url), Some(Some(_)))) {
            self.leave(&url, &code);
        }
    }

    fn leave(&mut self, url: &str, code: &[u8]) {
        if let Some(Some((key, text))) = self.0.remove(url) {
            shelf().put(key, Made { text, code: Arc::from(code) });
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
            Some(made) if made.text == text => Answer::Code(made.code.clone()),
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
        self.text.len() + self.code.len()
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
        shelf.put(wanted, Made { text: "text".to_owned(), code: Arc::from([7]) });
        let Answer::Code(code) = shelf.ask(key("a"), "text") else { panic!("not there") };
        assert_eq!(*code, [7]);
        assert!(matches!(shelf.ask(key("a"), "another text of this hash"), Answer::New));
    }

    #[test]
    fn two_scripts_of_one_url_leave_nothing() {
        let url = "https://app.test/two-scripts";
        let script = |text: &str| ScriptSource::from(text.repeat(MIN_LENGTH));
        for texts in [["a", "b"], ["b", "a"]] {
            let mut leaving = Leaving::default();
            for text in texts {
                leaving.with_code(url, script(text));
            }
            assert!(leaving.0.values().all(Option::is_none), "{texts:?}");
        }
    }

    #[test]
    fn what_nobody_asks_for_makes_room() {
        let mut shelf = Shelf::default();
        let large = || Made { text: String::new(), code: vec![0; MAX_BYTES / 2].into() };
        for name in ["a", "b", "c"] {
            shelf.ask(key(name), "");
            shelf.put(key(name), large());
            shelf.ask(key("a"), "");
        }
        assert!(matches!(shelf.ask(key("a"), ""), Answer::Code(_)));
        assert!(matches!(shelf.ask(key("b"), ""), Answer::New));
        assert!(shelf.bytes <= MAX_BYTES, "{}", shelf.bytes);
        for number in 0..2 * MAX_SCRIPTS {
            shelf.ask(key(&number.to_string()), "");
        }
        assert_eq!(shelf.scripts.len(), MAX_SCRIPTS);
        assert_eq!(shelf.bytes, 0);
    }
}
