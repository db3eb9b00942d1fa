//! Makes the V8 snapshot that every realm starts from (ARCHITECTURE.md, "The snapshot").

use std::path::PathBuf;

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};

#[path = "runtime/extension.rs"]
mod extension;

fn main() {
    println!("cargo:rerun-if-changed=js");
    println!("cargo:rerun-if-changed=runtime/extension.rs");
    let options = CreateSnapshotOptions {
        cargo_manifest_dir: env!("CARGO_MANIFEST_DIR"),
        startup_snapshot: None,
        skip_op_registration: false,
        extensions: extension::extensions_with_sources(Default::default(), None),
        extension_transpiler: None,
        with_runtime_cb: None,
    };
    let snapshot = create_snapshot(options, None).expect("the global scope evaluates");
    #[expect(clippy::disallowed_methods, reason = "cargo names the folder this way")]
    let folder = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let path = PathBuf::from(folder).join("realm.snapshot");
    std::fs::write(path, snapshot.output).expect("the snapshot is written");
}
