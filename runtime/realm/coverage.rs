//! Counts what the scripts of one realm run, by the engine's precise coverage.
//!
//! Invariant: counting begins before a user's script is compiled, and what was counted is handed
//! over before the isolate goes, whatever has ended the realm.

use std::cell::RefCell;
use std::rc::Rc;

use deno_core::{InspectorSessionKind, JsRuntime, JsRuntimeInspector, LocalInspectorSession};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::coverage::{Coverage, RawScript};

/// The schemes of scripts that are not the platform's own.
const USERS_SCHEMES: [&str; 3] = ["https:", "http:", "file:"];

/// A session of the DevTools protocol with the realm's own engine.
/// <https://chromedevtools.github.io/devtools-protocol/v8/>
pub(super) struct Counting {
    session: LocalInspectorSession,
    /// What the engine has said and nobody has taken.
    said: Rc<RefCell<Vec<String>>>,
    last_id: i32,
    coverage: Coverage,
}

#[derive(Deserialize)]
struct Answer<T> {
    id: Option<i32>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Taken {
    result: Vec<RawScript>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    script_source: String,
}

#[derive(Deserialize)]
struct Breakpoints {
    locations: Vec<Location>,
}

/// Both are 0-based.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    line_number: u32,
    column_number: u32,
}

impl Counting {
    /// The isolate is entered, and no script of a user is compiled.
    pub(super) fn start(runtime: &mut JsRuntime, coverage: Coverage) -> Self {
        runtime.maybe_init_inspector();
        let said = Rc::new(RefCell::new(Vec::new()));
        let hear = said.clone();
        let session = JsRuntimeInspector::create_local_session(
            runtime.inspector(),
            Box::new(move |message| hear.borrow_mut().push(message.content)),
            InspectorSessionKind::NonBlocking { wait_for_disconnect: false },
        );
        let mut counting = Counting { session, said, last_id: 0, coverage };
        counting.tell("Profiler.enable", json!({}));
        let precise = json!({ "callCount": true, "detailed": true });
        counting.tell("Profiler.startPreciseCoverage", precise);
        counting
    }

    /// Hands over what was counted. The isolate is entered, for the last time.
    pub(super) fn finish(mut self) {
        let taken: Taken = self.ask("Profiler.takePreciseCoverage", json!({}));
        let is_users =
            |script: &RawScript| USERS_SCHEMES.iter().any(|scheme| script.url.starts_with(scheme));
        let scripts: Vec<_> = taken.result.into_iter().filter(is_users).collect();
        if scripts.is_empty() {
            return;
        }
        self.tell("Debugger.enable", json!({}));
        for script in scripts {
            let asked = json!({ "scriptId": script.script_id });
            let Source { script_source: source } = self.ask("Debugger.getScriptSource", asked);
            let coverage = self.coverage.clone();
            coverage.add(&script, &source, || self.statements_of(&script.script_id, &source));
        }
    }

    /// Where the engine could stop, but for the end of a function.
    fn statements_of(&mut self, script: &str, source: &str) -> Vec<u32> {
        let start = json!({ "scriptId": script, "lineNumber": 0, "columnNumber": 0 });
        let asked = json!({ "start": start, "restrictToFunction": false });
        let found: Breakpoints = self.ask("Debugger.getPossibleBreakpoints", asked);
        let units: Vec<u16> = source.encode_utf16().collect();
        let lines = line_starts(&units);
        let offset = |place: &Location| {
            let start = lines.get(place.line_number as usize)?;
            let offset = start + place.column_number;
            let unit = units.get(offset as usize)?;
            (*unit != u16::from(b'}')).then_some(offset)
        };
        let mut statements: Vec<_> = found.locations.iter().filter_map(offset).collect();
        statements.sort_unstable();
        statements.dedup();
        statements
    }

    fn ask<T: DeserializeOwned>(&mut self, method: &str, parameters: Value) -> T {
        let said = self.tell(method, parameters);
        let answer = said.iter().rev().find_map(|message| {
            let answer: Answer<T> = serde_json::from_str(message).ok()?;
            answer.result.filter(|_| answer.id == Some(self.last_id))
        });
        answer.expect("invariant: the engine answers what it documents, at once")
    }

    fn tell(&mut self, method: &str, parameters: Value) -> Vec<String> {
        self.last_id += 1;
        self.session.post_message(self.last_id, method, Some(parameters));
        self.said.take()
    }
}

/// Where each line begins, as the engine counts lines.
fn line_starts(units: &[u16]) -> Vec<u32> {
    const LINE_ENDS: [u16; 3] = [0x0A, 0x2028, 0x2029];
    const RETURN: u16 = 0x0D;
    let mut starts = vec![0];
    for (place, unit) in units.iter().enumerate() {
        let is_pair = *unit == RETURN && units.get(place + 1) == Some(&LINE_ENDS[0]);
        if LINE_ENDS.contains(unit) || *unit == RETURN && !is_pair {
            starts.push(u32::try_from(place + 1).expect("a script is no longer than a string"));
        }
    }
    starts
}
