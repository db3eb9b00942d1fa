//! Headless Chromium, asked over a pipe by the Chrome DevTools protocol:
//! <https://chromedevtools.github.io/devtools-protocol/>
//!
//! Invariant: the browser ends with its value, and whatever a page logs, throws or requests is
//! kept.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::is_there;

/// Only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// As Debian, and others, call it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The browser takes commands on descriptor 3 and answers on 4, which a shell can give it.
const START: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1"#;

/// A browser with one page.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// What the page logged as an error or warning, or threw.
    pub complaints: Vec<String>,
    /// What it asked the network for.
    pub requests: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; answers why it cannot.
    pub fn start() -> Result<Self, String> {
        let name = NAMES.iter().find(|name| is_there(name));
        let name = name.ok_or("there is no Chromium; install Debian's package chromium")?;
        let profile = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut child = Command::new("sh")
            .args(["-c", START, "sh", name, "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let commands = child.stdin.take().expect("it is piped");
        let mut answering = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, answers) = channel();
        spawn(move || {
            let mut message = Vec::new();
            while answering.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                let value = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if send.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            child,
            commands,
            answers,
            session: None,
            last_id: 0,
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(1400, 1000);
        Ok(browser)
    }

    /// Says how large the window is, in pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// Opens a file and waits until its scripts have run.
    pub fn open(&mut self, file: &Path, fragment: &str) {
        let url = format!("file://{}{fragment}", file.display());
        self.ask("Page.navigate", json!({ "url": "about:blank" }));
        self.ask("Page.navigate", json!({ "url": url }));
        self.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done() \
             : addEventListener('load', () => done()))",
        );
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.ask(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(answer.get("exceptionDetails").is_none(), "{expression}\n{answer:#}");
        answer["result"]["value"].take()
    }

    /// Presses a key and lets it go.
    pub fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "key": key }));
        }
    }

    /// Clicks at the first element that a selector finds.
    pub fn click(&mut self, selector: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const found = document.querySelector({selector:?});
               found.scrollIntoView({{ block: 'center' }});
               const {{ x, y, width, height }} = found.getBoundingClientRect();
               return [x + width / 2, y + height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let (x, y) = (&place[0], &place[1]);
            let mouse = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", mouse);
        }
    }

    /// Asks for a domain's method; answers its result.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.commands, "{message}\0").expect("the browser runs");
        loop {
            let mut answer =
                self.answers.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {method}"));
            if answer["id"] == self.last_id {
                assert!(answer.get("error").is_none(), "{method}: {answer:#}");
                return answer["result"].take();
            }
            self.hear(&answer);
        }
    }

    /// What the page looks like, as a PNG image.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        BASE64_STANDARD.decode(answer["data"].as_str().expect("it is a text")).expect("Base64")
    }

    fn hear(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.consoleAPICalled") => self.complaints.push(params["args"].to_string()),
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => self.complaints.push(params["entry"].to_string()),
            Some("Network.requestWillBeSent") => {
                self.requests.push(params["request"]["url"].as_str().unwrap_or("").to_owned());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already; then both say so, and nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
