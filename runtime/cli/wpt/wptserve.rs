//! The checkout's own server, wptserve, for handlers in Python and for pipes.
//!
//! Invariant: it ends with this process, because it waits for the end of its standard input.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::checkout::Checkout;
use super::site::{PythonPorts, python_settings};

const DRIVER: &str = include_str!("wptserve.py");

/// A running wptserve.
pub struct Wptserve {
    child: Child,
    /// Where it listens.
    pub ports: PythonPorts,
}

impl Wptserve {
    /// Starts it with `python`; fails with what an operator may do about it.
    pub fn start(checkout: &Checkout, python: &str) -> Result<Wptserve, String> {
        let tools = checkout.tools().ok_or_else(|| {
            let shown = checkout.shown();
            format!("no root has tools/wptserve ({shown}); add --root with a checkout that has it")
        })?;
        let arguments = serde_json::json!({
            "roots": checkout.roots(),
            "tools": tools,
            "config": python_settings(),
        });
        let child = Command::new(python)
            .arg("-c")
            .arg(DRIVER)
            .arg(arguments.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("{python} cannot be started: {error}"))?;
        let stdout = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let ports = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        let Some(ports) = ports else {
            // It has failed already, or is no use.
            let _ = child.kill();
            let _ = child.wait();
            let tools = tools.display();
            return Err(format!("{python} could not run the wptserve of {tools}"));
        };
        Ok(Wptserve { child, ports })
    }
}

impl Drop for Wptserve {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It removes its overlay and ends.
        let _ = self.child.wait();
    }
}
