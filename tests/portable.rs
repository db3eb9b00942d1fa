//! The built command alone: it runs where there is no cargo registry, no home and no repository.
//!
//! Invariant: the test fails where it cannot take the registry away; it never passes unproved.

mod process;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use process::Process;
use rustix::process::geteuid;

/// Touches whatever a lazily loaded part of the platform could hide behind.
const WORKER: &str = r#"
for (let scope = self; scope !== null; scope = Object.getPrototypeOf(scope)) {
  for (const name of Object.getOwnPropertyNames(scope)) {
    try {
      Reflect.get(scope, name, self);
    } catch (error) {
      console.log(name, error);
    }
  }
}

self.addEventListener("install", (event) => event.waitUntil(touch()));

async function touch() {
  const bytes = new TextEncoder().encode("text");
  const packed = new Response(bytes).body.pipeThrough(new CompressionStream("gzip"));
  const text = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text();
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(structuredClone({ text }));
  port2.close();
  new BroadcastChannel("name").close();
  new URLPattern({ pathname: "/:id" }).exec("https://app.test/1");
  new Intl.DateTimeFormat("de").format(0);
  performance.mark("mark");
  const form = new FormData();
  form.append("file", new File([bytes], "name"));
  await new Request("https://app.test/", { method: "POST", body: form }).formData();
  console.log(text, digest.byteLength, crypto.randomUUID().length, (await fetch("/sw.js")).status);
}
"#;

#[test]
fn the_command_runs_without_a_cargo_registry() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = folder.path();
    let command = here.join("kittiwake");
    fs::copy(env!("CARGO_BIN_EXE_kittiwake"), &command).expect("a copy of the command");
    fs::write(here.join("sw.js"), WORKER).expect("a worker");
    fs::create_dir(here.join("home")).expect("an empty home");
    // Another user is to read it.
    fs::set_permissions(here, Permissions::from_mode(0o755)).expect("the folder is ours");

    let registry = registry();
    prove_unreadable(here, &registry);
    let mut without = without(&registry);
    without.arg(&command).args(["run", "sw.js"]);
    let run = Process::start(clean(&mut without, here)).finish().expect_code(0);
    assert_eq!(run.lines_with("sw.js  activated").len(), 1, "{run:#?}");
    assert_eq!(run.stderr, "log: text 32 36 200\n");
}

/// Where cargo keeps the sources that this command was built from.
#[expect(clippy::disallowed_methods, reason = "cargo itself finds its home by these two variables")]
fn registry() -> PathBuf {
    let home = std::env::var("CARGO_HOME").map(PathBuf::from).unwrap_or_else(|_| {
        Path::new(&std::env::var("HOME").expect("a home folder")).join(".cargo")
    });
    home.join("registry")
}

/// Begins a command in a world without the registry: as a user who may not read it, or, for those
/// who may not change users, in a mount namespace where something empty lies upon it.
fn without(registry: &Path) -> Command {
    if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        return command;
    }
    let mut command = Command::new("unshare");
    let script = r#"mount -t tmpfs none "$0" && exec "$@""#;
    command.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", script]).arg(registry);
    command
}

/// An environment with nothing in it that leads anywhere.
fn clean<'a>(command: &'a mut Command, here: &Path) -> &'a mut Command {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.current_dir(here).env_clear().env("PATH", path);
    command.env("HOME", here.join("home")).env("CARGO_HOME", here.join("home/none"))
}

/// Fails, with the remedy, unless the sources really are out of reach.
fn prove_unreadable(here: &Path, registry: &Path) {
    let sources = registry.join("src");
    assert!(sources.is_dir(), "{} should be there to be hidden", sources.display());
    let mut probe = without(registry);
    probe.args(["sh", "-c", r#"echo started; test -r "$0" && echo readable; true"#]);
    let found = clean(probe.arg(&sources), here)
        .output()
        .unwrap_or_else(|error| panic!("{:?}: {error}; install util-linux", probe.get_program()));
    let said = String::from_utf8_lossy(&found.stdout);
    assert!(
        said.starts_with("started"),
        "cannot hide the registry: {}; run the tests as root, or allow user namespaces",
        String::from_utf8_lossy(&found.stderr)
    );
    assert!(
        !said.contains("readable"),
        "every user may read {0}; run `chmod o-rx {0}` first",
        registry.display()
    );
}
