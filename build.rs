//! Makes the V8 snapshot that every realm starts from (ARCHITECTURE.md, "The snapshot").

use std::path::PathBuf;

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};

#[path = "runtime/extension.rs"]
mod extension;
#[path = "runtime/rehearsal.rs"]
mod rehearsal;

fn main() {
    #[expect(clippy::disallowed_methods, reason = "cargo tells the target this way")]
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Some hundred thousand relocations in a form that the loader takes faster.
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo:rerun-if-changed=js");
    println!("cargo:rerun-if-changed=runtime/extension.rs");
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
    #[expect(clippy::disallowed_methods, reason = "cargo names the folder this way")]
    let folder = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let path = PathBuf::from(folder).join("realm.snapshot");
    std::fs::write(path, snapshot).expect("the snapshot is written");
}
