//! State folders: what is refused, what survives, and who may use one.

use std::fs;

use crate::process::{Process, run, start};
use crate::{PAGE, folder, write};

/// A worker and a page, in a folder where state may be kept in `state`.
fn project() -> tempfile::TempDir {
    folder(&[("sw.js", "onsync = () => {};"), ("page.js", PAGE)])
}

const OFFLINE: [&str; 8] =
    ["run", "sw.js", "--page", "page.js", "--state", "state", "--network", "offline"];

fn start_forever(folder: &std::path::Path) -> Process {
    start(folder, &[&OFFLINE[..], &["--until", "forever"]].concat())
}

#[test]
fn a_folder_with_a_foreign_file_is_refused_and_left_alone() {
    let project = project();
    fs::create_dir(project.path().join("state")).expect("a folder");
    let foreign = "a text of somebody else, longer than the header of a database. ".repeat(4);
    write(&project.path().join("state"), "kittiwake.sqlite", &foreign);
    let run = run(project.path(), &OFFLINE).expect_code(1);
    let run = run.expect_stderr("error: ").expect_stderr("kittiwake.sqlite");
    assert_eq!(run.stdout, [""; 0]);
    let kept = fs::read_to_string(project.path().join("state/kittiwake.sqlite"));
    assert_eq!(kept.expect("it is still there"), foreign);
}

#[test]
fn a_file_is_no_state_folder() {
    let project = project();
    write(project.path(), "state", "a file");
    run(project.path(), &OFFLINE).expect_code(1).expect_stderr("state");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let project = project();
    write(project.path(), "state", "a file");
    let options = ["run", "sw.js", "--state", "state/within"];
    run(project.path(), &options).expect_code(1).expect_stderr("state/within");
}

#[test]
fn a_second_process_on_the_same_state_is_told_who_holds_it() {
    let project = project();
    let mut first = start_forever(project.path());
    first.wait_for_line("sync       mail  registered");
    let second = run(project.path(), &OFFLINE).expect_code(1);
    let second = second.expect_stderr("error: ").expect_stderr("state");
    let second = second.expect_stderr(&first.id().to_string());
    assert_eq!(second.stdout, [""; 0]);
    first.terminate();
    first.finish().expect_code(1).expect_stderr("left: \"mail\"");
}

#[test]
fn a_run_that_is_asked_to_stop_leaves_its_state_usable() {
    let project = project();
    let mut first = start_forever(project.path());
    first.wait_for_line("sync       mail  registered");
    first.terminate();
    first.finish().expect_code(1).expect_stderr("left: \"mail\"");
    let second = run(project.path(), &["run", "--state", "state"]).expect_code(0);
    assert_eq!(second.lines_with("sync       mail  done").len(), 1, "{second:#?}");
    assert_eq!(second.lines_with("installing").len(), 0, "{second:#?}");
}

#[test]
fn a_graceful_stop_gives_a_firing_sync_back_uncounted() {
    let project = project();
    let endless =
        "onsync = (event) => event.waitUntil(new Promise(() => setTimeout(() => {}, 1e9)));";
    write(project.path(), "sw.js", endless);
    let simulated = ["--clock", "simulated", "--until", "1m"];
    let register = ["run", "sw.js", "--page", "page.js", "--state", "state"];
    for options in [&register[..], &["run", "--state", "state"]] {
        let run = run(project.path(), &[options, &simulated].concat()).expect_code(1);
        assert_eq!(run.lines_with("firing").len(), 1, "{run:#?}");
        assert_eq!(run.lines_with("sync       mail  firing  attempt 1").len(), 1, "{run:#?}");
        assert_eq!(run.lines_with("waiting").len() + run.lines_with("error").len(), 0, "{run:#?}");
    }
}

#[test]
fn a_worker_that_rejects_install_leaves_nothing_registered() {
    let project = project();
    write(
        project.path(),
        "sw.js",
        "oninstall = (event) => event.waitUntil(Promise.reject(new Error('full')));",
    );
    let options = ["run", "sw.js", "--state", "state"];
    run(project.path(), &options).expect_code(1).expect_stderr("Error: full");
    // Were anything registered, this would find it up to date and not install it.
    write(project.path(), "sw.js", "onsync = () => {};");
    let second = run(project.path(), &options).expect_code(0);
    assert_eq!(second.lines_with("sw.js  installing").len(), 1, "{second:#?}");
    let third = run(project.path(), &options).expect_code(0);
    assert_eq!(third.lines_with("sw.js  installing").len(), 0, "{third:#?}");
}

#[test]
fn a_broken_new_version_leaves_the_old_one_at_work() {
    let project = project();
    run(project.path(), &OFFLINE).expect_code(1).expect_stderr("left: \"mail\"");
    write(project.path(), "sw.js", "onsync = () => { throw 1; }; let x = ;");
    let options = ["run", "sw.js", "--state", "state"];
    let broken = run(project.path(), &options).expect_code(1);
    broken.expect_stderr("SyntaxError");
    let old = run(project.path(), &["run", "--state", "state"]).expect_code(0);
    assert_eq!(old.lines_with("installing").len(), 0, "{old:#?}");
}
