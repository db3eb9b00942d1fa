//! Workers and libraries as npm has them, unmodified, each with a golden trace (`fixtures/npm/`).
//! npm installs the exact versions of `package-lock.json` first, into `target/tmp/npm`.
//!
//! Invariant: what a fixture serves is the packages' own files and the fixture's, and nothing else.

#[path = "../golden/mod.rs"]
mod golden;
mod packages;
mod site;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use golden::{compare, entries, name_of, run};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use packages::Packages;

/// Installed when the first test asks.
static PACKAGES: LazyLock<Result<Packages, String>> =
    LazyLock::new(|| Packages::install(&fixtures()));

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let fixtures = match entries(&fixtures()) {
        Ok(entries) => entries.into_iter().filter(|path| path.is_dir()),
        Err(error) => {
            eprintln!("cannot look for fixtures in {}: {error}", fixtures().display());
            return ExitCode::FAILURE;
        }
    };
    let is_there = packages::npm_is_there();
    let trial = |fixture: PathBuf| {
        let is_there = is_there.clone();
        Trial::ignorable_test(name_of(&fixture), move || match is_there {
            Ok(()) => check(&fixture).map(|()| Completion::Completed),
            Err(reason) => Ok(Completion::ignored_with(format!("skipped: {reason}"))),
        })
    };
    libtest_mimic::run(&arguments, fixtures.map(trial).collect()).exit_code()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join("npm")
}

fn check(fixture: &Path) -> Result<(), Failed> {
    let packages = PACKAGES.as_ref()?;
    let site = site::assemble(fixture, packages)?;
    compare(fixture, &run(&site.folder, site.builder())?)
}
