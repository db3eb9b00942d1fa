//! `kittiwake init`: a first test for a service worker that is there.
//!
//! Invariant: no file is overwritten, and the test passes for a worker that installs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::discovery::ROOT_FILES;
use super::note;
use crate::{Refusal, usage};

/// Where workers are, below the folder in which the command was started.
const FOLDERS: [&str; 7] = ["", "public", "src", "static", "app", "dist", "www"];

/// The options of `kittiwake init`.
#[derive(clap::Args)]
pub struct InitOptions {
    /// The service worker's script [default: sw.js, service-worker.js and the like, here or in
    /// public/, src/, static/, app/, dist/, www/]
    #[arg(value_name = "SCRIPT")]
    script: Option<PathBuf>,
}

/// Writes the test beside the script.
pub fn init(options: &InitOptions) -> Result<ExitCode, Refusal> {
    let script = match &options.script {
        Some(script) => script.clone(),
        None => match find_worker() {
            Some(script) => script,
            None => {
                return usage("there is no sw.js or service-worker.js here; name the script");
            }
        },
    };
    let source = std::fs::read_to_string(&script)
        .map_err(|error| Refusal::Failure(format!("cannot read {}: {error}", script.display())))?;
    let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.trim_end_matches(".mjs").trim_end_matches(".js");
    let file = script.with_file_name(format!("{stem}.test.js"));
    if file.exists() {
        let file = file.display();
        return Err(Refusal::Failure(format!("{file} is there already; it stays as it is")));
    }
    std::fs::write(&file, test_for(&name, &source))
        .map_err(|error| Refusal::Failure(format!("cannot write {}: {error}", file.display())))?;
    note(&format!("wrote {}; run it with: kittiwake test", file.display()));
    Ok(ExitCode::SUCCESS)
}

fn find_worker() -> Option<PathBuf> {
    let names = || ROOT_FILES.iter().filter(|name| **name != "index.html");
    let paths = FOLDERS.iter().flat_map(|folder| names().map(|name| Path::new(folder).join(name)));
    paths.into_iter().find(|path| path.is_file())
}

fn test_for(name: &str, source: &str) -> String {
    let options = match is_module(source) {
        true => ", { type: \"module\" }",
        false => "",
    };
    let mut text = format!(
        r#"import {{ expect, test }} from "kittiwake:test";

test("the worker is installed and activated", async ({{ worker }}) => {{
  await worker.register("/{name}"{options});
  expect(worker.state).toBe("activated");
}});
"#
    );
    if has_listener(source, "sync") {
        let tag = tag_in(source).unwrap_or_else(|| "outbox".to_owned());
        let tag = serde_json::Value::from(tag).to_string();
        text.push_str(&format!(
            r#"
test("a sync waits for the network", async ({{ clock, network, server, worker }}) => {{
  // What your server answers; the last answer repeats. A route may be a whole URL.
  // server.on("POST /outbox", [503, 204]);
  const {{ sync }} = await worker.register("/{name}"{options});

  await network.offline();
  await sync.register({tag});
  expect(worker.events.filter(({{ type }}) => type === "sync")).toEqual([]);

  await network.online();
  await clock.runUntilIdle();
  expect(worker.events.at(-1)).toMatchObject({{ type: "sync", tag: {tag} }});
  // expect(server.requests).toHaveLength(2);
}});
"#
        ));
    }
    if has_listener(source, "fetch") {
        text.push_str(&format!(
            r#"
test("a page is answered while the network is away", async ({{ host, network, worker }}) => {{
  await worker.register("/{name}"{options});
  await network.offline();
  // Say what your worker promises: that the page is there, or that the request fails.
  await host.openPage("/").catch(() => {{}});
  expect(worker.events.at(-1)).toMatchObject({{ type: "fetch", url: "https://app.test/" }});
}});
"#
        ));
    }
    text
}

fn is_module(source: &str) -> bool {
    source.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("import ") || line.starts_with("import{") || line.starts_with("export ")
    })
}

fn has_listener(source: &str, event: &str) -> bool {
    let quoted = ['"', '\'', '`'].map(|quote| format!("addEventListener({quote}{event}{quote}"));
    quoted.iter().any(|text| source.contains(text)) || source.contains(&format!("on{event} ="))
}

/// The tag that the worker compares with: `event.tag === "outbox"`.
fn tag_in(source: &str) -> Option<String> {
    let (_, rest) = source.split_once(".tag")?;
    let rest = rest.trim_start().trim_start_matches('=').trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let tag = rest[1..].split(quote).next()?;
    (!tag.is_empty() && tag.len() < 100).then(|| tag.to_owned())
}
