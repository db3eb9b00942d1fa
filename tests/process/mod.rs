//! The command `kittiwake` as a real process: started, listened to line by line, and ended.
//!
//! Invariant: no process outlives its test, and no wait is longer than `PATIENCE`.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, prlimit};

/// Far more than anything here takes, also on a busy machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command under test.
pub fn kittiwake() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kittiwake"))
}

/// A process under way.
pub struct Process {
    child: Child,
    stdout: Receiver<String>,
    seen: Vec<String>,
    stderr: Option<JoinHandle<String>>,
    stderr_lines: Receiver<String>,
}

/// A process that has ended by itself.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// Its standard output, line by line.
    pub stdout: Vec<String>,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `kittiwake` to its end, in `folder`.
pub fn run(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Finished {
    start(folder, arguments).finish()
}

/// Starts `kittiwake` in `folder`.
pub fn start(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Process {
    Process::start(kittiwake().current_dir(folder).args(arguments))
}

impl Process {
    /// Starts a command and listens to it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let (send, stdout) = channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
        let (send, stderr_lines) = channel();
        let stderr = spawn(move || {
            let mut text = String::new();
            let mut start = 0;
            while err.read_line(&mut text).expect("it writes UTF-8") > 0 {
                // Nobody may be listening any more.
                let _ = send.send(text[start..].to_owned());
                start = text.len();
            }
            text
        });
        Process { child, stdout, seen: Vec::new(), stderr: Some(stderr), stderr_lines }
    }

    /// Its identifier, as the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of standard output that contains `part`, and answers it.
    pub fn wait_for_line(&mut self, part: &str) -> String {
        loop {
            let Ok(line) = self.stdout.recv_timeout(PATIENCE) else {
                panic!("no line with {part:?} came; there were {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits for a line of standard error that contains `part`.
    pub fn wait_for_stderr(&mut self, part: &str) {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = self.stderr_lines.recv_timeout(PATIENCE) else {
                panic!("no line with {part:?} came to standard error; there were {seen:#?}");
            };
            if line.contains(part) {
                return;
            }
            seen.push(line);
        }
    }

    /// The next line that contains `part`, if one comes within this time.
    pub fn line_within(&mut self, part: &str, time: Duration) -> Option<String> {
        let line = self.stdout.recv_timeout(time).ok()?;
        self.seen.push(line.clone());
        if line.contains(part) { Some(line) } else { self.line_within(part, time) }
    }

    /// Asks it to end: SIGTERM.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("the process is there");
    }

    /// Has the system refuse it more than so many bytes beyond what it has of address space.
    #[cfg(target_os = "linux")]
    pub fn allow_more_memory(&self, bytes: u64) {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id()));
        let statm = statm.expect("the process is there");
        let pages = statm.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
        let own = pages.expect("a number of pages") * rustix::param::page_size() as u64;
        let limit = Rlimit { current: Some(own + bytes), maximum: None };
        prlimit(Some(self.pid()), Resource::As, limit).expect("one's own child is limited");
    }

    fn pid(&self) -> Pid {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.expect("a process has an identifier")
    }

    /// Ends it without a warning: SIGKILL. Answers when it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("it can be waited for");
    }

    /// Ends it as `kill` does; answers all that it said.
    pub fn kill_and_read(mut self) -> Vec<String> {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("it can be waited for");
        self.seen.extend(self.stdout.iter());
        std::mem::take(&mut self.seen)
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        loop {
            match self.stdout.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("it does not end; there were {:#?}", self.seen)
                }
            }
        }
        let status = self.child.wait().expect("it can be waited for");
        let stderr = self.stderr.take().expect("it finishes once");
        Finished {
            code: status
                .code()
                .unwrap_or_else(|| panic!("it was ended by {status}; it said {:#?}", self.seen)),
            stdout: std::mem::take(&mut self.seen),
            stderr: stderr.join().expect("its reader does not panic"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then both say so, and nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// The lines that contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<&str> {
        let lines = self.stdout.iter().map(String::as_str);
        lines.filter(|line| line.contains(part)).collect()
    }

    /// Fails, with everything that was said, unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Fails unless standard error contains `part`.
    #[track_caller]
    pub fn expect_stderr(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "{part:?} is not in {self:#?}");
        self
    }
}
