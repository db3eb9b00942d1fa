//! What a fixture's origins serve: the fixture's files, and files of packages where `site.toml`
//! puts them.
//!
//! Invariant: each run starts from an empty folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use kittiwake::{Builder, Runtime};
use serde::Deserialize;
use url::Url;

use crate::golden::{entries, name_of};
use crate::packages::Packages;

/// `site.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// Where the fixture's own origin has what.
    #[serde(default)]
    files: Files,
    /// The same for other origins: a CDN, say.
    #[serde(default)]
    origins: BTreeMap<Url, Files>,
}

/// A path of the site, and the file or the folders of packages that are there.
type Files = BTreeMap<String, OneOrMany>;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A fixture that can be run.
pub struct Site {
    /// Has the scenario and all that its origin serves.
    pub folder: PathBuf,
    origins: Vec<(Url, PathBuf)>,
}

impl Site {
    /// A builder whose runtime has the other origins.
    pub fn builder(&self) -> Builder {
        self.origins.iter().fold(Runtime::builder(), |builder, (origin, folder)| {
            builder.serve(origin.clone(), folder)
        })
    }
}

/// Puts the folders together, and runs the fixture's `build.mjs` if it has one.
pub fn assemble(fixture: &Path, packages: &Packages) -> Result<Site, String> {
    let name = name_of(fixture);
    let at = |error: io::Error| format!("cannot put the site of {name} together: {error}");
    let script = match fs::read_to_string(fixture.join("site.toml")) {
        Ok(text) => toml::from_str(&text).map_err(|error| format!("{name}/site.toml: {error}"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Script::default(),
        Err(error) => return Err(at(error)),
    };
    let sites = packages.folder.join("sites").join(&name);
    if sites.exists() {
        fs::remove_dir_all(&sites).map_err(at)?;
    }
    let folder = sites.join("origin");
    copy(fixture, &folder).map_err(at)?;
    place(&script.files, &folder, packages).map_err(at)?;
    let mut origins = Vec::new();
    for (origin, files) in script.origins {
        let folder = sites.join(origin.host_str().unwrap_or_default());
        place(&files, &folder, packages).map_err(at)?;
        origins.push((origin, folder));
    }
    if folder.join("build.mjs").exists() {
        build(&folder)?;
    }
    Ok(Site { folder, origins })
}

fn place(files: &Files, folder: &Path, packages: &Packages) -> io::Result<()> {
    for (path, sources) in files {
        let sources = match sources {
            OneOrMany::One(source) => std::slice::from_ref(source),
            OneOrMany::Many(sources) => sources,
        };
        for source in sources {
            copy(&packages.path(source), &folder.join(path))?;
        }
    }
    Ok(())
}

/// Copies a file, or what is in a folder.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        return entries(from)?.iter().try_for_each(|entry| copy(entry, &to.join(name_of(entry))));
    }
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    fs::create_dir_all(to.parent().expect("a file is in a folder"))?;
    fs::copy(from, to).map(|_| ()).map_err(named)
}

/// Builds as the user of a package does, with node.
fn build(folder: &Path) -> Result<(), String> {
    let mut node = Command::new("node");
    node.arg("build.mjs").current_dir(folder).stdin(Stdio::null());
    let output = node.output().map_err(|error| format!("cannot start node: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`node build.mjs` failed in {}:\n{said}", folder.display()))
}
