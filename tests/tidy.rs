//! Style as a unit test: what every file of the project must look like, and where it does not.
//!
//! Invariant: an exception that is not needed any more fails, so that the lists only shrink.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const LINE_COLUMNS: usize = 100;

/// Files that are longer than `FILE_LINES`.
const LONG_FILES: [&str; 0] = [];

/// Functions that are longer than `FUNCTION_LINES`, as `file::function`.
const LONG_FUNCTIONS: [&str; 0] = [];

/// Files with a line that is longer than `LINE_COLUMNS`, though it holds no URL.
const WIDE_FILES: [&str; 0] = [];

/// A `.rs` or `.js` file of the project.
struct Source {
    /// From the repository's root, with slashes.
    name: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source, but what was not written here.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry of it").path();
            let name = path.strip_prefix(root()).expect("it is below the root");
            let name = name.to_str().expect("names are UTF-8").to_owned();
            let foreign =
                ["target", "third_party", "node_modules", "fuzz/target"].contains(&name.as_str());
            if foreign || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") || name.ends_with(".js") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                sources.push(Source { name, text });
            }
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(sources.len() > 40, "too few sources were found: {}", sources.len());
    sources
}

/// Fails for what breaks a rule and is no exception, and for exceptions that break none.
#[track_caller]
fn assert_only(exceptions: &[&str], found: &BTreeMap<String, String>) {
    let mut wrong = String::new();
    for (name, what) in found.iter().filter(|(name, _)| !exceptions.contains(&name.as_str())) {
        writeln!(wrong, "{name}: {what}").expect("a string takes all");
    }
    for name in exceptions.iter().filter(|name| !found.contains_key(**name)) {
        writeln!(wrong, "{name}: is no exception any more; remove it from the list").expect("ok");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn files_have_up_to_500_lines() {
    let mut found = BTreeMap::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            found.insert(source.name, format!("{lines} lines; make it a folder"));
        }
    }
    assert_only(&LONG_FILES, &found);
}

#[test]
fn functions_have_up_to_70_lines() {
    let mut found = BTreeMap::new();
    for source in sources() {
        for (name, lines) in functions(&source) {
            if lines > FUNCTION_LINES {
                found.insert(format!("{}::{name}", source.name), format!("{lines} lines"));
            }
        }
    }
    assert_only(&LONG_FUNCTIONS, &found);
}

#[test]
fn functions_are_found_with_their_lengths() {
    let rust = "impl X {\n    pub(crate) async fn a<T>(\n        b: T,\n    ) {\n    }\n}\n\
                trait T {\n    fn f(\n        b: T,\n    );\n\n    fn g() {\n    }\n}\n\
                fn d() -> u8 {\n    1\n}\n";
    let rust = Source { name: "x.rs".to_owned(), text: rust.to_owned() };
    let expected =
        [("a", 4), ("f", 3), ("g", 2), ("d", 3)].map(|(name, lines)| (name.to_owned(), lines));
    assert_eq!(functions(&rust), expected);
    let script = "export async function a(b) {\n  if (b) {\n    c();\n  }\n}\nclass D {\n  e() {\n\
                  \x20   f();\n  }\n  static async g(h) {\n  }\n}\n";
    let script = Source { name: "x.js".to_owned(), text: script.to_owned() };
    let expected = [("a".to_owned(), 5), ("e".to_owned(), 3), ("g".to_owned(), 2)];
    assert_eq!(functions(&script), expected);
}

/// The functions of a file with their numbers of lines. The formatter puts the end of a function
/// under its beginning, so indentation finds it.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut functions = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(name) = function_name(source.is_rust(), code) else { continue };
        let indentation = &line[..line.len() - code.len()];
        let (end, declared) = (format!("{indentation}}}"), format!("{indentation})"));
        let is_end = |line: &str| {
            line == end || source.is_rust() && line.starts_with(&declared) && line.ends_with(';')
        };
        let length = lines[first..].iter().position(|line| is_end(line.trim_end()));
        if let Some(length) = length.filter(|_| !code.ends_with(['}', ';'])) {
            functions.push((name, length + 1));
        }
    }
    functions
}

/// The name of the function that begins with this line.
fn function_name(is_rust: bool, code: &str) -> Option<String> {
    let mut rest = code;
    let qualifiers: &[&str] = if is_rust {
        &["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "]
    } else {
        &["export ", "default ", "static ", "async ", "get ", "set "]
    };
    while let Some(shorter) = qualifiers.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    let keyword = if is_rust { "fn " } else { "function " };
    let named = rest.strip_prefix(keyword);
    // A method of JavaScript has no keyword: a name, its parameters and an opening brace.
    let method = (!is_rust && rest.ends_with(") {")).then_some(rest);
    let text = named.or(method)?;
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_$#".contains(c)))?;
    let name = &text[..end];
    let control = ["", "if", "for", "while", "switch", "catch", "else", "return"];
    let called = text[end..].starts_with(['(', '<']);
    (called && !control.contains(&name)).then(|| name.to_owned())
}

#[test]
fn lines_have_up_to_100_columns() {
    let mut found = BTreeMap::new();
    for source in sources() {
        // A URL cannot be broken.
        let is_wide = |line: &str| line.chars().count() > LINE_COLUMNS && !line.contains("://");
        let wide = source.text.lines().position(is_wide);
        if let Some(at) = wide {
            found.insert(source.name, format!("line {} is too long", at + 1));
        }
    }
    assert_only(&WIDE_FILES, &found);
}

#[test]
fn every_file_opens_with_its_purpose() {
    let mut found = BTreeMap::new();
    for source in sources() {
        let opening = if source.is_rust() { "//! " } else { "// " };
        if !source.text.starts_with(opening) {
            found.insert(source.name, format!("does not begin with `{opening}` and its purpose"));
        }
    }
    assert_only(&[], &found);
}

#[test]
fn nothing_is_left_to_do_or_ignored_in_the_sources() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore")];
    let mut found = BTreeMap::new();
    for source in sources() {
        for word in words.iter().filter(|word| source.text.contains(**word)) {
            found.insert(source.name.clone(), format!("says {word}; write an issue instead"));
        }
    }
    assert_only(&[], &found);
}

#[test]
fn the_archive_of_the_engine_is_the_one_that_was_built() {
    let folder = root().join("third_party/v8");
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("it has checksums");
    let mut checked = 0;
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("a sum, two blanks, a name");
        let archive = fs::read(folder.join(name)).expect("what has a checksum is there");
        let mut actual = String::new();
        for byte in Sha256::digest(&archive) {
            write!(actual, "{byte:02x}").expect("a string takes all");
        }
        assert_eq!(actual, sum, "{name} is not what its checksum says");
        checked += 1;
    }
    let archives = fs::read_dir(&folder).expect("the folder is there");
    let archives = archives.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let archives: Vec<PathBuf> =
        archives.filter(|path| path.extension().is_some_and(|end| end == "gz")).collect();
    assert_eq!(checked, archives.len(), "each archive has its checksum: {archives:?}");
}

#[test]
fn the_crates_of_the_engine_are_pinned() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it is there");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let dependencies = manifest["workspace"]["dependencies"].as_table().expect("a table");
    let engine: Vec<_> =
        dependencies.iter().filter(|(name, _)| name.starts_with("deno_")).collect();
    assert!(engine.len() >= 5, "too few were found: {engine:?}");
    for (name, version) in engine {
        let version = version.as_str().or_else(|| version.get("version")?.as_str());
        let pinned = version.is_some_and(|version| version.starts_with('='));
        assert!(pinned, "{name} = {version:?}; pin it with `=`: these crates move together");
    }
    for member in ["Cargo.toml", "ops/Cargo.toml", "store/Cargo.toml"] {
        let text = fs::read_to_string(root().join(member)).expect("it is there");
        let own = text.lines().filter(|line| line.starts_with("deno_"));
        let own = own.filter(|line| !line.contains("workspace = true") && !line.contains("\"="));
        assert_eq!(own.collect::<Vec<_>>(), [""; 0], "{member}");
    }
}
