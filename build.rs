//! Makes the V8 snapshot that every realm starts from, and the code of the parts that it leaves out
//! (ARCHITECTURE.md, "The snapshot").

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};

#[expect(dead_code, reason = "the library tells what is in an error")]
#[path = "runtime/engine.rs"]
mod engine;
#[path = "runtime/extension.rs"]
mod extension;
#[path = "runtime/realm/lazy.rs"]
mod lazy;
#[path = "runtime/rehearsal.rs"]
mod rehearsal;

/// Says to the program that it is its own child: one process makes snapshots or runs realms.
const MAKE_CODE: &str = "make-code";

fn main() {
    #[expect(clippy::disallowed_methods, reason = "cargo names the folder this way")]
    let folder = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    if std::env::args().nth(1).as_deref() == Some(MAKE_CODE) {
        return rehearsal::make_code(&folder);
    }
    #[expect(clippy::disallowed_methods, reason = "cargo tells the target this way")]
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Some hundred thousand relocations in a form that the loader takes faster.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo:rerun-if-changed=js");
    println!("cargo:rerun-if-changed=runtime/engine.rs");
    println!("cargo:rerun-if-changed=runtime/extension.rs");
    println!("cargo:rerun-if-changed=runtime/realm/lazy.rs");
    println!("cargo:rerun-if-changed=runtime/rehearsal");
    println!("cargo:rerun-if-changed=runtime/rehearsal.rs");
    let options = CreateSnapshotOptions {
        cargo_manifest_dir: env!("CARGO_MANIFEST_DIR"),
        startup_snapshot: None,
        skip_op_registration: false,
        extensions: extension::extensions_with_sources(Default::default(), None),
        extension_transpiler: None,
        with_runtime_cb: None,
    };
    // V8 would drop the bytecode of functions that have not run lately.
    deno_core::v8::V8::set_flags_from_string("--no-flush-bytecode");
    let cold = create_snapshot(options, None).expect("the global scope evaluates");
    let snapshot = rehearsal::rehearse(cold.output);
    fs::write(folder.join("realm.snapshot"), snapshot).expect("the snapshot is written");
    write_parts(&folder);
    let program = std::env::current_exe().expect("the system tells it");
    let status = Command::new(program).arg(MAKE_CODE).status().expect("it starts once more");
    assert!(status.success(), "the code of the parts is made");
}

/// Their texts, and the table of them that `runtime/realm.rs` includes.
fn write_parts(folder: &Path) {
    let (scripts, modules) = extension::lazy_files();
    let scripts = scripts.into_iter().map(|file| (file, "Script"));
    let modules = modules.into_iter().map(|file| (file, "Module"));
    let mut table = String::from("&[\n");
    for (index, (file, kind)) in scripts.chain(modules).enumerate() {
        let text = file.load().expect("its file is there");
        assert!(text.as_str().is_ascii(), "{} is not ASCII", file.specifier);
        let text = match kind {
            "Script" => deno_core::wrap_lazy_ext_script(text.as_str()),
            _ => text.as_str().to_owned(),
        };
        let (text_name, code_name) = (format!("{index}.js"), format!("{index}.code"));
        fs::write(folder.join(&text_name), text).expect("the text is written");
        table += &format!(
            "Part {{ specifier: {:?}, kind: PartKind::{kind}, \
             text: include_str!(concat!(env!(\"OUT_DIR\"), \"/{text_name}\")), \
             code: Some(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{code_name}\"))) }},\n",
            file.specifier
        );
    }
    fs::write(folder.join("parts.rs"), table + "]").expect("the table is written");
}
