//! The packages of `fixtures/npm/package-lock.json`, installed by npm.
//!
//! Invariant: what is there is what the lock file names, each package by its hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The files that say what is installed, and how.
const MANIFESTS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// A copy of the lock file, written when all of it is installed.
const INSTALLED: &str = "installed.json";

/// Where the packages are.
pub struct Packages {
    /// Has `node_modules`; scripts in folders below it find the packages as node does.
    pub folder: PathBuf,
}

impl Packages {
    /// Installs them, unless they are there already.
    pub fn install(fixtures: &Path) -> Result<Packages, String> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm");
        let read = |path: PathBuf| {
            fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let lock = read(fixtures.join("package-lock.json"))?;
        if fs::read(folder.join(INSTALLED)).is_ok_and(|installed| installed == lock) {
            return Ok(Packages { folder });
        }
        let write = |name: &str, text: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        for name in MANIFESTS {
            write(name, &read(fixtures.join(name))?)?;
        }
        let output = npm().arg("ci").current_dir(&folder).output();
        let output = output.map_err(|error| format!("cannot start npm: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`npm ci` failed in {}:\n{said}", folder.display()));
        }
        write(INSTALLED, &lock)?;
        Ok(Packages { folder })
    }

    /// A file or folder of a package, as in `idb/build/umd.js`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join("node_modules").join(name)
    }
}

/// Whether there is a node and an npm, or why nothing can be tested.
pub fn npm_is_there() -> Result<(), String> {
    for mut program in [Command::new("node"), npm()] {
        let name = program.get_program().to_string_lossy().into_owned();
        let runs = program.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !runs.is_ok_and(|status| status.success()) {
            return Err(format!("there is no `{name}`; install Debian's packages nodejs and npm"));
        }
    }
    Ok(())
}

fn npm() -> Command {
    let mut npm = Command::new("npm");
    npm.stdin(Stdio::null());
    npm
}
