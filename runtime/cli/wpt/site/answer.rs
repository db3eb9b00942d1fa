//! What the site answers from files: contents, types, `.headers`, `.sub.` and the scripts that
//! WPT's server makes.

use std::fs;
use std::path::Path;

use super::super::checkout::Checkout;
use super::super::manifest::{page_wrapper, worker_wrapper};
use super::Head;
use super::substitution::substitute;

const REPORTER: &str = include_str!("../reporter.js");
const DOCUMENT: &str = include_str!("../document.js");

/// An answer that is here as a whole.
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// Plain text.
    pub fn text(status: u16, text: String) -> Answer {
        let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
        Answer { status, headers, body: text.into_bytes() }
    }

    /// The answer to a `GET` or `HEAD` of a file; nothing if only wptserve knows it.
    pub fn to(head: &Head, checkout: &Checkout) -> Option<Answer> {
        let path = percent_decoded(head.path());
        // wptserve takes several slashes for one.
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let path = parts.join("/");
        let path = match path.as_str() {
            // Renamed long ago; old tests still ask for it.
            "resources/WebIDLParser.js" => "resources/webidl2/lib/webidl2.js",
            other => other,
        };
        match checkout.find(path) {
            Some(file) => Answer::file(head, checkout, path, &file),
            None => {
                let wrapper = Answer::wrapper(head, checkout, path);
                let missing = || Answer::text(404, format!("there is no {path}\n"));
                Some(wrapper.unwrap_or_else(missing))
            }
        }
    }

    fn file(head: &Head, checkout: &Checkout, path: &str, file: &Path) -> Option<Answer> {
        let mut body = match fs::read(file) {
            Ok(body) => body,
            Err(error) => return Some(Answer::text(500, format!("{path}: {error}\n"))),
        };
        if path.contains(".sub.") {
            body = substitute(&body, head)?;
        }
        if path == "resources/testharness.js" {
            body = [DOCUMENT.as_bytes(), &body, REPORTER.as_bytes()].concat();
        }
        let mut headers = Vec::new();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for of in [format!("{folder}/__dir__"), path.to_owned()] {
            let read = |name: &str| checkout.find(name).and_then(|file| fs::read(file).ok());
            let text = match read(&format!("{of}.sub.headers")) {
                Some(text) => Some(substitute(&text, head)?),
                None => read(&format!("{of}.headers")),
            };
            headers.extend(text.iter().flat_map(|text| parse_headers(text)));
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.insert(0, ("Content-Type".to_owned(), content_type(path).to_owned()));
        }
        Some(Answer { status: 200, headers, body })
    }

    /// `x.any.worker.js` and `x.any.html`, which are made from `x.any.js`; `x.window.html`.
    fn wrapper(head: &Head, checkout: &Checkout, path: &str) -> Option<Answer> {
        let read = |script: &str| {
            let text = fs::read(checkout.find(script)?).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let (kind, body) = match path.strip_suffix(".any.worker.js") {
            Some(stem) => {
                let any = format!("{stem}.any.js");
                let text = read(&any)?;
                ("text/javascript", worker_wrapper(&format!("/{any}"), &text, head.query()))
            }
            None => {
                let script = format!("{}.js", path.strip_suffix(".html")?);
                let is_made = script.ends_with(".any.js") || script.ends_with(".window.js");
                let text = read(&script).filter(|_| is_made)?;
                ("text/html", page_wrapper(&format!("/{script}"), &text))
            }
        };
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Some(Answer { status: 200, headers, body: body.into_bytes() })
    }

    /// The answer as HTTP/1.1 has it.
    pub fn bytes(&self, head: &Head) -> Vec<u8> {
        let status = match self.status {
            200 => "200 OK",
            404 => "404 Not Found",
            501 => "501 Not Implemented",
            _ => "500 Internal Server Error",
        };
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", self.body.len());
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
        if head.method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn parse_headers(text: &[u8]) -> Vec<(String, String)> {
    let text: String = text.iter().map(|byte| char::from(*byte)).collect();
    let headers = text.lines().filter_map(|line| line.split_once(':'));
    headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten();
        let hex = escaped.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// wptserve's table.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "html" | "htm" => "text/html",
        "txt" | "md" => "text/plain",
        "css" => "text/css",
        "wasm" => "application/wasm",
        "xml" => "application/xml",
        "xht" | "xhtm" | "xhtml" => "application/xhtml+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "svg" => "image/svg+xml",
        "event_stream" => "text/event-stream",
        "manifest" => "text/cache-manifest",
        "vtt" => "text/vtt",
        "mp3" => "audio/mpeg",
        "wav" => "audio/x-wav",
        "oga" => "audio/ogg",
        "mp4" | "m4v" => "video/mp4",
        "ogg" | "ogv" => "video/ogg",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
