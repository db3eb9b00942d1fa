//! What `toMatchSnapshot` saw in earlier runs: a text file for each test file, in `__snapshots__`.
//!
//! Invariant: what is written is read back the same; the order is that of the names, so that a
//! change of one snapshot is a change of its lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

const HEAD: &str = "Snapshots; `kittiwake test --update` accepts what there is now.\n";

/// Before the name of a snapshot, and before each of its lines.
const NAME: &str = "== ";
const LINE: &str = "| ";

/// Where the snapshots of a test file are.
pub fn file_of(test_file: &Path) -> PathBuf {
    let name = test_file.file_name().unwrap_or_default().to_string_lossy();
    let folder = test_file.parent().unwrap_or(Path::new(""));
    folder.join("__snapshots__").join(format!("{name}.snap"))
}

/// The snapshots of a test file; none if it has none yet.
pub fn load(test_file: &Path) -> io::Result<BTreeMap<String, String>> {
    match std::fs::read_to_string(file_of(test_file)) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Writes them; a file without one is removed.
pub fn save(test_file: &Path, texts: &BTreeMap<String, String>) -> io::Result<()> {
    let file = file_of(test_file);
    if texts.is_empty() {
        return match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    std::fs::create_dir_all(file.parent().expect("it lies in its folder"))?;
    std::fs::write(file, write(texts))
}

fn write(texts: &BTreeMap<String, String>) -> String {
    let mut file = HEAD.to_owned();
    for (name, text) in texts {
        let name = name.replace('\n', " ");
        write!(file, "\n{NAME}{name}\n").expect("a string takes all");
        for line in text.split('\n') {
            writeln!(file, "{LINE}{line}").expect("a string takes all");
        }
    }
    file
}

fn parse(file: &str) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut name = None;
    for line in file.lines() {
        if let Some(found) = line.strip_prefix(NAME) {
            name = Some(found.to_owned());
        } else if let (Some(name), Some(line)) = (&name, line.strip_prefix(LINE)) {
            texts.entry(name.clone()).or_default().push(line);
        }
    }
    texts.into_iter().map(|(name, lines)| (name, lines.join("\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let texts = [
            ("group > one 1", "0s  sync  a\n\n5m  sync  b"),
            ("two 1", ""),
            ("two 2", "== not a name\n| not a line\n"),
        ];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(parse(&write(&texts)), texts);
    }
}
