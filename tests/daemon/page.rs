//! The page for people, in a real browser: what it shows is in `browser/page.mjs`.
//!
//! Invariant: the browser loads what the daemon serves, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::Daemon;

/// Chromium's names, as systems install it.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Whether there are a browser and node, or why nothing can be looked at.
pub fn is_possible() -> Result<(), String> {
    let runs = |name: &str| {
        let mut command = Command::new(name);
        let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    for name in ["node", "npm"] {
        if !runs(name) {
            return Err(format!("there is no `{name}`; install Debian's packages nodejs and npm"));
        }
    }
    match browser() {
        Some(_) => Ok(()),
        None => Err("there is no `chromium`; install Debian's package chromium".to_owned()),
    }
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = BROWSERS.iter().flat_map(|name| {
        std::env::split_paths(&path).map(move |folder| folder.join(name)).collect::<Vec<_>>()
    });
    found.find(|file| file.is_file())
}

/// Installs what drives the browser, as the lock file says; answers where.
fn driver() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/browser");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("daemon-browser");
    fs::create_dir_all(&folder).expect("a folder for tests");
    let lock = fs::read(source.join("package-lock.json")).expect("the lock file");
    let installed = folder.join("installed.json");
    if !fs::read(&installed).is_ok_and(|before| before == lock) {
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), folder.join(name)).expect("a copy");
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let output = Command::new("npm").args(install).current_dir(&folder).output();
        let output = output.expect("npm starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::write(installed, lock).expect("a file for tests");
    }
    fs::copy(source.join("page.mjs"), folder.join("page.mjs")).expect("a copy");
    folder
}

/// Registers a worker, and lets the browser look at the daemon's page.
pub fn shows_what_happens() {
    let (daemon, server) = Daemon::with_worker(&[]);
    let folder = driver();
    let output = Command::new("node")
        .arg(folder.join("page.mjs"))
        .arg(browser().expect("it was there"))
        .args([&daemon.base, &daemon.token, &format!("{}/", server.origin)])
        .arg(&folder)
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
