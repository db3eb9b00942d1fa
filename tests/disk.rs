//! Disks that are full or write-protected, and databases that are damaged: the real command on a
//! file system of its own, made by the test in a mount namespace. Where the system permits no such
//! namespace, the test says so and is skipped.
//!
//! Invariant: what was reported as registered is sent as soon as the disk allows it.

mod process;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use process::run;

const WORKER: &str = r#"self.onsync = () => {};"#;

/// Registers until it is refused; each tag takes a page of the database.
const PAGE: &str = r#"
navigator.serviceWorker.ready.then(async ({ sync }) => {
  try {
    for (let i = 0; i < 1000; i++) await sync.register(`${i}-`.padEnd(4000, "x"));
  } catch (error) {
    console.log(`refused: ${error.name}`);
  }
});
"#;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("sw.js"), WORKER).expect("a file");
    fs::write(folder.path().join("page.js"), PAGE).expect("a file");
    fs::create_dir(folder.path().join("state")).expect("a folder");
    folder
}

/// What a step of a script said, and its exit code.
struct Said {
    code: String,
    stdout: String,
    stderr: String,
}

/// Runs a shell script in a mount namespace of its own, where `step NAME OPTION...` runs the
/// command. `None` where no such namespace is permitted.
fn in_namespace(folder: &Path, script: &str) -> Option<()> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-euc", script]);
        command.current_dir(folder).env("KITTIWAKE", env!("CARGO_BIN_EXE_kittiwake")).output()
    };
    let permitted = unshare("mount -t tmpfs -o size=64k kittiwake state");
    match &permitted {
        Ok(output) if output.status.success() => {}
        refused => {
            println!("skipped: no mount namespace is permitted here: {refused:?}");
            return None;
        }
    }
    let step = "step() {
        name=$1; shift; code=0
        \"$KITTIWAKE\" run --state state \"$@\" > $name.out 2> $name.err || code=$?
        echo $code > $name.code
    }";
    let output = unshare(&format!("{step}\n{script}")).expect("it was possible a moment ago");
    assert!(output.status.success(), "{output:?}");
    Some(())
}

fn said(folder: &Path, step: &str) -> Said {
    let read =
        |kind| fs::read_to_string(folder.join(format!("{step}.{kind}"))).expect("the step has run");
    Said { code: read("code").trim().to_owned(), stdout: read("out"), stderr: read("err") }
}

/// The tags that a trace says have entered a state.
fn tags(stdout: &str, state: &str) -> BTreeSet<String> {
    let syncs = stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let entered = syncs.filter(|words| words.get(1) == Some(&"sync") && words[3] == state);
    entered.map(|words| words[2].to_owned()).collect()
}

#[test]
fn a_full_disk_refuses_a_sync_and_room_lets_all_go_on() {
    let project = project();
    let script = "mount -t tmpfs -o size=600k kittiwake state
        step full sw.js --page page.js --network offline
        step still_full --network online
        mount -o remount,size=32m state
        step room --network online";
    let Some(()) = in_namespace(project.path(), script) else { return };

    let full = said(project.path(), "full");
    let registered = tags(&full.stdout, "registered");
    assert!(registered.len() > 10, "{}", full.stdout);
    assert_eq!(full.code, "1", "{}", full.stderr);
    assert!(full.stderr.contains("refused: UnknownError"), "{}", full.stderr);
    let remedy = "no space left for state/kittiwake.sqlite: free some space on that disk";
    assert!(full.stdout.contains(remedy), "{}", full.stdout);

    let still = said(project.path(), "still_full");
    assert_eq!(still.code, "1", "{}", still.stdout);
    assert!(still.stdout.contains(remedy), "{}", still.stdout);
    assert!(still.stderr.contains("left: "), "{}", still.stderr);

    let room = said(project.path(), "room");
    assert_eq!(room.code, "0", "{}{}", room.stdout, room.stderr);
    assert_eq!(tags(&room.stdout, "done"), registered);
}

#[test]
fn a_write_protected_folder_is_refused_by_name_and_loses_nothing() {
    let project = project();
    let script = "mount -t tmpfs -o size=32m kittiwake state
        step first sw.js --page page.js --network offline
        mount -o remount,ro state
        step protected --network online
        mount -o remount,rw state
        step writable --network online";
    let Some(()) = in_namespace(project.path(), script) else { return };
    let protected = said(project.path(), "protected");
    assert_eq!((protected.code.as_str(), protected.stdout.as_str()), ("1", ""));
    assert!(protected.stderr.contains("error: "), "{}", protected.stderr);
    assert!(protected.stderr.contains("state"), "{}", protected.stderr);
    let registered = tags(&said(project.path(), "first").stdout, "registered");
    assert_eq!(registered.len(), 1000);
    let writable = said(project.path(), "writable");
    assert_eq!(writable.code, "0", "{}", writable.stderr);
    assert_eq!(tags(&writable.stdout, "done"), registered);
}

#[test]
fn a_damaged_database_is_named_and_keeps_every_byte() {
    let project = project();
    let offline = ["run", "sw.js", "--page", "page.js", "--state", "state", "--network", "offline"];
    run(project.path(), &offline).expect_code(1).expect_stderr("left: ");
    let database = project.path().join("state/kittiwake.sqlite");
    let mut bytes = fs::read(&database).expect("a database");
    // The schema, behind the header: https://www.sqlite.org/fileformat.html
    bytes[100..4096].fill(0xff);
    fs::write(&database, &bytes).expect("it can be written");
    for command in [&["run", "sw.js"][..], &["syncs"], &["sync", "mail"]] {
        let damaged = run(project.path(), &[command, &["--state", "state"]].concat());
        let damaged = damaged.expect_code(1).expect_stderr("kittiwake.sqlite is damaged");
        assert_eq!(damaged.stdout, [""; 0]);
        assert!(fs::read(&database).expect("it is still there") == bytes);
    }
}
