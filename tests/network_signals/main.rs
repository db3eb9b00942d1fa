//! Network signals: one suite of what every signal keeps (`kittiwake::conformance`), run over the
//! manual, the scripted and the real one; and the command on a real network, which is made of
//! network namespaces (`namespaces.rs`) and taken apart while the command runs (`real.rs`).
//!
//! Invariant: a test of the real network runs in namespaces of its own, or says why it cannot.

mod namespaces;
#[path = "../process/mod.rs"]
mod process;
mod real;
mod simulated;

use std::process::ExitCode;

use kittiwake::conformance;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[..] {
        [_, flag, address] if flag == real::SERVER => real::serve(address),
        [_, flag, case] if flag == real::CONFORMANCE => real::conform(case),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in conformance::NETWORK_SIGNAL_CASES {
        let trial = |signal: &str, run: fn(&str)| {
            Trial::test(format!("{signal}/{case}"), move || finish(|| run(case)))
        };
        trials.push(trial("manual", simulated::conform::<simulated::Manual>));
        trials.push(trial("scripted", simulated::conform::<simulated::Scripted>));
    }
    let permitted = namespaces::permitted();
    for (name, test) in real::tests() {
        let permitted = permitted.clone();
        trials.push(Trial::ignorable_test(format!("real/{name}"), move || match permitted {
            Ok(()) => finish(test).map(|()| Completion::Completed),
            Err(reason) => Ok(Completion::ignored_with(format!("skipped: {reason}"))),
        }));
    }
    trials
}

/// A panic is a failure; the harness shows its message.
fn finish(test: impl FnOnce()) -> Result<(), Failed> {
    test();
    Ok(())
}
