//! Places in scripts as their author knows them: files of the served folder instead of URLs, and
//! what a bundle was made from instead of the bundle.
//!
//! Invariant: a place that cannot be mapped stays as the engine wrote it.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kittiwake::TestFailure;
use sourcemap::{DecodedMap, SourceMap, decode_slice};
use url::Url;

/// What stands before the URL of a map, in the last lines of a script.
const MARK: &str = "//# sourceMappingURL=";

/// Where the scripts of a world come from.
pub struct Sources<'a> {
    /// The app's.
    pub origin: Url,
    /// What is served there.
    pub root: &'a Path,
}

impl Sources<'_> {
    /// Maps each place that a failure names.
    pub fn map_failure(&self, failure: &mut TestFailure) {
        failure.message = self.map_text(&failure.message);
        failure.stack = failure.stack.as_deref().map(|stack| self.map_text(stack));
    }

    /// Replaces each `URL:line:column` in a text.
    fn map_text(&self, text: &str) -> String {
        let origin = self.origin.origin().ascii_serialization();
        let mut mapped = String::with_capacity(text.len());
        let mut rest = text;
        let starts =
            |text: &str| [text.find("file://"), text.find(&origin)].into_iter().flatten().min();
        while let Some(start) = starts(rest) {
            mapped.push_str(&rest[..start]);
            rest = &rest[start..];
            let end = rest.find(|c: char| c.is_whitespace() || c == ')').unwrap_or(rest.len());
            match self.map_place(&rest[..end]) {
                Some(place) => mapped.push_str(&place),
                None => mapped.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        mapped.push_str(rest);
        mapped
    }

    /// `https://app.test/sw.js:3:5` as `file:///home/me/src/outbox.ts:10:3`.
    fn map_place(&self, place: &str) -> Option<String> {
        let (rest, column) = place.rsplit_once(':')?;
        let (url, line) = rest.rsplit_once(':')?;
        let (line, column): (u32, u32) = (line.parse().ok()?, column.parse().ok()?);
        let file = self.file_of(&Url::parse(url).ok()?)?;
        let (file, line, column) = original(&file, line, column).unwrap_or((file, line, column));
        let file = file.canonicalize().unwrap_or(file);
        Some(format!("{}:{line}:{column}", Url::from_file_path(file).ok()?))
    }

    /// The file that a script's or document's URL is answered with.
    pub fn document_of(&self, url: &Url) -> Option<PathBuf> {
        let is_app = url.scheme() == "file" || url.origin() == self.origin.origin();
        let path = url.path().ends_with('/').then(|| url.join("index.html").ok()).flatten();
        is_app.then(|| self.file_of(path.as_ref().unwrap_or(url))).flatten()
    }

    fn file_of(&self, url: &Url) -> Option<PathBuf> {
        let file = match url.scheme() {
            "file" => url.to_file_path().ok()?,
            _ => {
                let path = percent_encoding::percent_decode_str(url.path()).decode_utf8().ok()?;
                self.root.join(path.trim_start_matches('/'))
            }
        };
        file.is_file().then_some(file)
    }
}

/// The map that a script names, and the path that its sources are next to. A script without a path
/// can have its map in itself only.
pub fn map_of(source: &str, script: Option<&Path>) -> Option<(SourceMap, PathBuf)> {
    let reference = source.lines().rev().find_map(|line| line.trim().strip_prefix(MARK))?;
    let (map, base) = match reference.strip_prefix("data:") {
        Some(data) => {
            let (_, encoded) = data.split_once(";base64,")?;
            let base = script.unwrap_or(Path::new("")).to_owned();
            (BASE64_STANDARD.decode(encoded).ok()?, base)
        }
        None => {
            let file = script?.with_file_name("").join(reference);
            (std::fs::read(&file).ok()?, file)
        }
    };
    match decode_slice(&map).ok()? {
        DecodedMap::Regular(map) => Some((map, base)),
        DecodedMap::Index(parts) => Some((parts.flatten().ok()?, base)),
        DecodedMap::Hermes(_) => None,
    }
}

/// The place from which this one was made, if the script has a map.
fn original(script: &Path, line: u32, column: u32) -> Option<(PathBuf, u32, u32)> {
    let source = std::fs::read_to_string(script).ok()?;
    let (map, base) = map_of(&source, Some(script))?;
    let token = map.lookup_token(line.checked_sub(1)?, column.checked_sub(1)?)?;
    let file = base.with_file_name("").join(token.get_source()?);
    Some((file, token.get_src_line() + 1, token.get_src_col() + 1))
}
