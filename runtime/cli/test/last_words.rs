//! What is said if V8 fails on a thread of its own, where nobody knows whose world it worked for:
//! which tests ran. The world waits for that thread until it is given up for its turn that does not
//! end; if it never is, V8 ends the process.
//!
//! Invariant: whoever holds the list does nothing meanwhile that V8 could fail in.

use std::io::Write;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use kittiwake::on_engine_failure;

/// How much longer than it may take a test may be under way until its world is given up.
const GIVING_UP: Duration = Duration::from_secs(60);

/// The tests under way, with their files.
static UNDER_WAY: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One of them has ended.
static ENDED: Condvar = Condvar::new();

/// A test, or a look into a file, until it is dropped.
pub struct UnderWay(String);

impl UnderWay {
    /// It begins.
    pub fn begin(file: &str, name: &str) -> Self {
        let text = format!("{file} > {name}");
        UNDER_WAY.lock().expect(UNPOISONED).push(text.clone());
        UnderWay(text)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = UNDER_WAY.lock().expect(UNPOISONED);
        if let Some(place) = under_way.iter().position(|text| *text == self.0) {
            under_way.swap_remove(place);
        }
        ENDED.notify_all();
    }
}

/// Has them told if it comes to that; `limit` is what a test may take.
pub fn prepare(limit: Duration) {
    static LIMIT: OnceLock<Duration> = OnceLock::new();
    LIMIT.get_or_init(|| limit);
    on_engine_failure(|why| {
        let under_way = UNDER_WAY.lock().expect(UNPOISONED);
        let suspects = under_way.clone();
        let mut stderr = std::io::stderr();
        // It has failed whether or not somebody reads it.
        let _ = writeln!(stderr, "error: V8 failed ({why}) in one of these tests:");
        for text in &suspects {
            let _ = writeln!(stderr, "  {text}");
        }
        let patience = LIMIT.get().map_or(GIVING_UP, |limit| limit.saturating_add(GIVING_UP));
        let is_under_way =
            |under_way: &mut Vec<_>| suspects.iter().any(|text| under_way.contains(text));
        let waited = ENDED.wait_timeout_while(under_way, patience, is_under_way);
        let (under_way, timed_out) = waited.expect(UNPOISONED);
        drop(under_way);
        while !timed_out.timed_out() {
            std::thread::park();
        }
    });
}

const UNPOISONED: &str = "invariant: nothing panics while it holds the list";
