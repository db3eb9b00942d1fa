//! The daemon (`kittiwake serve --state DIR`), as an operator uses it: a real process, real HTTP, a
//! real browser.
//!
//! Invariant: nothing waits for time: a test goes on when an answer, an event or a log line has
//! come.

mod api;
mod client;
mod doors;
mod lifetime;
mod page;
#[path = "../process/mod.rs"]
mod process;
#[path = "../cli/server.rs"]
mod server;
mod stream;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

/// A test, and why it cannot be made, if so.
type Needy = (&'static str, Result<(), String>, fn());

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let groups = [
        ("api", api::TESTS),
        ("doors", doors::TESTS),
        ("lifetime", lifetime::TESTS),
        ("stream", stream::TESTS),
        ("world", world::TESTS),
    ];
    for (group, tests) in groups {
        trials.extend(tests.iter().map(|(name, test)| {
            Trial::test(format!("{group}/{name}"), || {
                test();
                Ok(())
            })
        }));
    }
    // These need a program that a machine may not have.
    let (browser, systemd) = (page::is_possible(), lifetime::can_verify_units());
    let needy: [Needy; 2] = [
        ("page/the_page_shows_workers_syncs_and_what_happens", browser, page::shows_what_happens),
        ("lifetime/the_unit_file_is_what_systemd_understands", systemd, lifetime::unit_is_valid),
    ];
    trials.extend(needy.into_iter().map(|(name, possible, test)| {
        Trial::ignorable_test(name, move || match possible {
            Ok(()) => {
                test();
                Ok(Completion::Completed)
            }
            Err(reason) => Ok(Completion::ignored_with(format!("skipped: {reason}"))),
        })
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
