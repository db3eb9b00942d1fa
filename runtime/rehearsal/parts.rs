//! Makes the code of the parts that the snapshot leaves out: loads each of them in a realm, does
//! with it what most scripts do first, and takes what V8 has made of it.
//!
//! Invariant: V8 takes the code in every realm, because it has the same flags there.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use deno_core::{JsRuntime, RuntimeOptions};
use kittiwake_ops::{Host, RealmId};

use super::run;
use super::stage::Stage;
use crate::{engine, extension, lazy};

/// Makes the code of all parts, beside their texts, in a realm of the snapshot there.
pub(crate) fn make_code(folder: &Path) {
    let folder = folder.to_owned();
    let main = move || {
        let codes = run_parts(&folder);
        for (index, specifier) in part_names().into_iter().enumerate() {
            let code = codes.iter().find(|(known, _)| known == specifier);
            let (_, code) = code.unwrap_or_else(|| panic!("{specifier} was not rehearsed"));
            fs::write(folder.join(format!("{index}.code")), code).expect("the code is written");
        }
    };
    let thread = engine::spawn_host_thread(Box::new(main)).expect("the system gives a thread");
    thread.join().expect("the parts load");
}

fn part_names() -> Vec<&'static str> {
    let (scripts, modules) = extension::lazy_files();
    scripts.iter().chain(&modules).map(|file| file.specifier).collect()
}

fn run_parts(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let snapshot = fs::read(folder.join("realm.snapshot")).expect("the snapshot was written");
    let scripts = extension::lazy_files().0.len();
    let parts = part_names().into_iter().enumerate().map(|(index, specifier)| {
        let text = fs::read_to_string(folder.join(format!("{index}.js")));
        let text = text.expect("the text was written").leak();
        let kind = if index < scripts { lazy::PartKind::Script } else { lazy::PartKind::Module };
        lazy::Part { specifier, kind, text, code: None }
    });
    let parts: &'static [lazy::Part] = parts.collect::<Vec<_>>().leak();
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.expect("the system gives a timer");
    let _in_tokio = tokio.enter();
    let mut runtime = JsRuntime::new(RuntimeOptions {
        startup_snapshot: Some(snapshot.leak()),
        extensions: extension::extensions(Default::default(), Some(0)),
        skip_op_registration: true,
        ..Default::default()
    });
    let host = Host { realm: RealmId(0), services: Rc::new(Stage), blobs: Arc::default() };
    runtime.op_state().borrow_mut().put(host);
    deno_core::scope!(scope, &mut runtime);
    lazy::install(scope, parts);
    run(scope, include_str!("parts.js"));
    lazy::code_of_all(scope)
}
