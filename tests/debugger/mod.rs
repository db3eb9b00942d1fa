//! A debugger, as Chromium's front end or an editor is one: HTTP for the list, a WebSocket for the
//! protocol. <https://chromedevtools.github.io/devtools-protocol/>
//!
//! Invariant: it waits for answers and events, and for nothing longer than `PATIENCE`.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const PATIENCE: Duration = Duration::from_secs(120);

/// An address at which nobody listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Status and body of an answer; `host` is how the server is called.
pub fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
}

/// Status and body of the answer to a request, as it goes over the line.
pub fn request(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// What `/json/list` has.
pub fn targets(address: SocketAddr) -> Vec<Value> {
    let (status, body) = get(address, &address.to_string(), "/json/list");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A session with one target.
pub struct Debugger {
    socket: WebSocketStream<tokio::net::TcpStream>,
    last_id: u64,
    events: VecDeque<Value>,
    /// URLs of scripts by their identifiers.
    scripts: BTreeMap<String, String>,
}

impl Debugger {
    /// Connects to the target with this title.
    pub async fn connect(address: SocketAddr, title: &str) -> Self {
        let targets = targets(address);
        let target = targets.iter().find(|target| target["title"] == title);
        let url = target.unwrap_or_else(|| panic!("{title} is not in {targets:?}"));
        let url = url["webSocketDebuggerUrl"].as_str().unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let mut debugger =
            Debugger { socket, last_id: 0, events: VecDeque::new(), scripts: BTreeMap::new() };
        debugger.ask("Debugger.enable", json!({})).await;
        debugger
    }

    /// Sends a command and waits for its result.
    pub async fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let command = json!({ "id": self.last_id, "method": method, "params": parameters });
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            let message = self.next().await;
            if message["id"] == self.last_id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    /// Waits for the next event of a kind, and answers what it tells.
    pub async fn event(&mut self, method: &str) -> Value {
        loop {
            let found = self.events.iter().position(|event| event["method"] == method);
            if let Some(event) = found.and_then(|place| self.events.remove(place)) {
                return event["params"].clone();
            }
            let message = self.next().await;
            self.events.push_back(message);
        }
    }

    /// Lets the target run its first script, and answers where it pauses at its beginning.
    pub async fn start(&mut self) -> (String, u64) {
        self.ask("Runtime.runIfWaitingForDebugger", json!({})).await;
        let paused = self.event("Debugger.paused").await;
        self.place(&paused)
    }

    /// Has the target pause at a line, counted from 1.
    pub async fn break_at(&mut self, url: &str, line: u64) {
        let place = json!({ "url": url, "lineNumber": line - 1 });
        self.ask("Debugger.setBreakpointByUrl", place).await;
    }

    /// What an expression is where the target is paused.
    pub async fn evaluate(&mut self, paused: &Value, expression: &str) -> Value {
        let frame = &paused["callFrames"][0]["callFrameId"];
        let asked =
            json!({ "callFrameId": frame, "expression": expression, "returnByValue": true });
        self.ask("Debugger.evaluateOnCallFrame", asked).await["result"]["value"].clone()
    }

    pub async fn resume(&mut self) {
        self.ask("Debugger.resume", json!({})).await;
    }

    /// The URL and the line, counted from 1, at which the target is paused.
    pub fn place(&self, paused: &Value) -> (String, u64) {
        let location = &paused["callFrames"][0]["location"];
        let url = &self.scripts[location["scriptId"].as_str().unwrap()];
        (url.clone(), location["lineNumber"].as_u64().unwrap() + 1)
    }

    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let message = next.expect("it says something").expect("it stays connected").unwrap();
        let message: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        if message["method"] == "Debugger.scriptParsed" {
            let text = |name: &str| message["params"][name].as_str().unwrap().to_owned();
            self.scripts.insert(text("scriptId"), text("url"));
        }
        message
    }
}
