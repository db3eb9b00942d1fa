//! `docs/testing.md`, followed as a reader would: each file is written, each command run, and what
//! the guide says that it prints is printed.
//!
//! Invariant: no file and no command of the guide is left out.

use std::path::Path;
use std::process::Command;

use super::process::{Finished, Process, run};
use super::{is_there, text, write};

/// A fenced block: what stands after the back quotes, and its lines.
struct Block {
    info: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/testing.md");
    let guide = std::fs::read_to_string(guide).expect("the guide is there");
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for line in guide.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block { info: info.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    blocks
}

/// Without the times, which differ, and what they say of a machine that is busy.
fn without_times(text: &str) -> String {
    let slowest = text.find("\nslowest:\n");
    let text = match slowest.and_then(|start| Some((start, text[start + 1..].find("\n\n")?))) {
        Some((start, length)) => format!("{}{}", &text[..start], &text[start + 1 + length + 1..]),
        None => text.to_owned(),
    };
    let without = |line: &str| match line.rsplit_once("  ") {
        Some((rest, time)) if time.ends_with("ms") => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(without).collect::<Vec<_>>().join("\n")
}

/// As a reader has it who installed the package.
fn node<'a>(folder: &Path, arguments: impl Iterator<Item = &'a str>) -> Finished {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm");
    let modules = folder.join("node_modules");
    std::fs::create_dir_all(&modules).expect("a folder");
    std::os::unix::fs::symlink(package, modules.join("kittiwake")).expect("a link");
    let mut node = Command::new("node");
    node.args(arguments).current_dir(folder).env_remove("NODE_TEST_CONTEXT");
    node.env("KITTIWAKE_BINARY", env!("CARGO_BIN_EXE_kittiwake"));
    Process::start(&mut node).finish()
}

#[test]
fn the_guide_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut last: Option<Finished> = None;
    let (mut files, mut commands) = (0, 0);
    for Block { info, text: block } in blocks() {
        match info.split_once(' ').unwrap_or((&info, "")) {
            ("js", file) => {
                assert!(!file.is_empty(), "a file of the guide has no name:\n{block}");
                write(folder.path(), file, &block);
                files += 1;
            }
            ("sh", outcome) => {
                let mut words = block.split_whitespace();
                let finished = match words.next() {
                    Some("kittiwake") => run(folder.path(), &words.collect::<Vec<_>>()),
                    Some("node") if is_there("node") => node(folder.path(), words),
                    Some("node") => {
                        println!("skipped: there is no node for: {block}");
                        continue;
                    }
                    _ => panic!("nobody knows how to run: {block}"),
                };
                let expected = i32::from(outcome == "fails");
                last = Some(finished.expect_code(expected));
                commands += 1;
            }
            ("text", _) => {
                let printed = without_times(&text(last.as_ref().expect("a command came first")));
                assert!(printed.contains(block.trim_end()), "{block}\nis not in\n{printed}");
            }
            other => panic!("nobody knows what {other:?} is"),
        }
    }
    assert_eq!((files, commands), (5, if is_there("node") { 9 } else { 8 }));
}
