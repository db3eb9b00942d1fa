//! What is said if V8 ends the process, on a thread that is no test's own: which tests ran.
//!
//! Invariant: whoever holds the list does nothing meanwhile that V8 could fail in.

use std::io::Write;
use std::sync::Mutex;

use kittiwake::on_engine_failure;

/// The tests under way, with their files.
static UNDER_WAY: Mutex<Vec<String>> = Mutex::new(Vec::new());

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
    }
}

/// Has them told if it comes to that.
pub fn prepare() {
    on_engine_failure(|why| {
        let mut stderr = std::io::stderr();
        // The process ends whether or not somebody reads it.
        let _ = writeln!(stderr, "error: V8 ends the process ({why}) in one of these tests:");
        for text in &*UNDER_WAY.lock().expect(UNPOISONED) {
            let _ = writeln!(stderr, "  {text}");
        }
    });
}

const UNPOISONED: &str = "invariant: nothing panics while it holds the list";
