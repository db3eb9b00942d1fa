//! What every attack happens in: a runtime with a neighbour, and a sibling of the attacker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use kittiwake::{
    Builder, Error, Limit, PageSource, Runtime, ScriptedServers, TraceEvent, TraceKind,
};
use url::Url;

/// Where the attack comes from.
pub const BAD: &str = "https://bad.test/";
/// Where it must not be noticed.
pub const GOOD: &str = "https://good.test/";

/// Real time for a turn: long for one that ends, on a busy machine too.
pub const TURN_MS: u64 = 1_000;

const BYSTANDER: &str = "onmessage = ({ data }) => console.log(`${location.host} lives ${data}`);";

/// A runtime in which scripts attack.
pub struct World {
    pub runtime: Runtime,
    trace: Arc<Mutex<Vec<TraceEvent>>>,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn start(limits: &[(Limit, u64)]) -> World {
        World::with(limits, |builder| builder)
    }

    /// With files for both origins besides, and whatever else.
    pub fn with(limits: &[(Limit, u64)], more: impl FnOnce(Builder) -> Builder) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("sw.js"), BYSTANDER).expect("a file");
        let trace: Arc<Mutex<Vec<TraceEvent>>> = Arc::default();
        let told = trace.clone();
        let mut builder = Runtime::builder()
            .simulated(1)
            .on_trace(move |event| told.lock().expect("no holder panics").push(event.clone()));
        for origin in [BAD, GOOD] {
            builder = builder.serve(url(origin), folder.path());
        }
        for (limit, amount) in limits {
            builder = builder.limit(*limit, *amount);
        }
        let runtime = more(builder).start().expect("it starts");
        for origin in [BAD, GOOD] {
            let registered = runtime.register(url(origin).join("sw.js").expect("a URL"), None);
            block_on(registered).expect("the bystander registers");
        }
        let world = World { runtime, trace, _folder: folder };
        world.hears();
        world
    }

    /// Runs a script in a page of the attacker's, and a minute of its timers.
    pub fn attack(&self, script: &str) {
        self.open(BAD, script);
        self.pass(Duration::from_secs(60));
    }

    /// Runs a script in a page. What it throws is in the trace.
    pub fn open(&self, origin: &str, script: &str) {
        let page = url(origin).join("page").expect("a URL");
        let source = PageSource::Script(page.clone(), script.to_owned());
        let _ = block_on(self.runtime.open_page(page, source));
    }

    /// Registers a worker of the attacker's with a scope of its own.
    pub fn register(&self, name: &str, script: &str) {
        let path = self._folder.path().join(format!("{name}.js"));
        std::fs::write(path, script).expect("a file in a temporary folder");
        let scope = url(BAD).join(&format!("{name}/")).expect("a URL");
        let script = url(BAD).join(&format!("{name}.js")).expect("a URL");
        block_on(self.runtime.register(script, Some(scope))).expect("it registers");
    }

    /// As [`World::register`], for a module that may be refused.
    pub fn register_module(&self, name: &str, script: &str) -> Result<(), Error> {
        let path = self._folder.path().join(format!("{name}.js"));
        std::fs::write(path, script).expect("a file in a temporary folder");
        let script = url(BAD).join(&format!("{name}.js")).expect("a URL");
        let scope = url(BAD).join(&format!("{name}/")).expect("a URL");
        block_on(self.runtime.register_module(script, Some(scope))).map(drop)
    }

    /// Posts a message to a worker that [`World::register`] made.
    pub fn post(&self, name: &str, message: &str) {
        let scope = url(BAD).join(&format!("{name}/")).expect("a URL");
        block_on(self.runtime.post_message(Some(scope), message.into())).expect("it is there");
    }

    /// Lets so much time pass, and all that is due at its end happen: each command waits for that.
    pub fn pass(&self, time: Duration) {
        for time in [time, Duration::ZERO] {
            block_on(self.runtime.run_for(time)).expect("the runtime answers");
        }
    }

    /// What consoles said, what was not caught, and which limits struck, since it was last asked.
    pub fn hears(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.trace.lock().expect("no holder panics"));
        let heard = events.iter().filter_map(|event| match &event.kind {
            TraceKind::Console { text, .. } => Some(text.clone()),
            TraceKind::Error { exception } => Some(format!("error: {}", exception.message)),
            TraceKind::Limit { limit, outcome, .. } => {
                let outcome = serde_json::to_value(outcome).expect("it serialises");
                Some(format!("{limit} {}", outcome.as_str().expect("a word")))
            }
            _ => None,
        });
        heard.collect()
    }

    /// Asserts that the bystanders answer and nothing else happens, and ends.
    #[track_caller]
    pub fn end_unharmed(self) {
        self.hears();
        for origin in [GOOD, BAD] {
            let posted = self.runtime.post_message(Some(url(origin)), "on".into());
            block_on(posted).expect("the bystander is registered");
            self.pass(Duration::from_millis(1));
        }
        let heard = self.hears();
        let lives = |host: &str| heard.iter().any(|line| *line == format!("{host} lives on"));
        assert!(lives("good.test") && lives("bad.test"), "{heard:?}");
        block_on(self.runtime.shut_down()).expect("it ends in order");
    }
}

/// Attacks with limits; answers what was heard. The bystanders live on.
#[track_caller]
pub fn attack(limits: &[(Limit, u64)], script: &str) -> Vec<String> {
    let world = World::start(limits);
    world.attack(script);
    let heard = world.hears();
    world.end_unharmed();
    heard
}

/// Attacks without limits of its own.
#[track_caller]
pub fn run(script: &str) -> Vec<String> {
    attack(&[], script)
}

pub fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

/// Servers that answer so: `"https://a.test": { "GET /": [200] }`.
pub fn servers(text: &str) -> ScriptedServers {
    serde_json::from_str(text).expect("servers")
}
