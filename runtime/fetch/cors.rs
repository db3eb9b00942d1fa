//! CORS: <https://fetch.spec.whatwg.org/#http-cors-protocol>
//!
//! Invariant: pure, but for the cache of preflights, which only remembers what a server allowed.

use std::collections::BTreeMap;

use url::Url;

use super::{Credentials, FetchError, Request, header};

/// Whether servers decide what another origin's script may read of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// As in a browser: CORS check, preflights, `Cross-Origin-Resource-Policy`.
    Enforce,
    /// Nobody is asked: a headless worker serves its owner, and has no user whom CORS would
    /// protect. `no-cors` requests get opaque responses all the same.
    #[default]
    Relax,
}

const ANY: &str = "*";
const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "POST"];
const SAFE_RESPONSE_HEADERS: [&str; 7] = [
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
];
const SAFE_CONTENT_TYPES: [&str; 3] =
    ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// <https://fetch.spec.whatwg.org/#cors-safelisted-method>
pub(super) fn is_safe_method(method: &str) -> bool {
    SAFE_METHODS.contains(&method)
}

/// <https://fetch.spec.whatwg.org/#cors-unsafe-request-header-names>, sorted and in lower case.
pub(super) fn unsafe_header_names(headers: &[(String, String)]) -> Vec<String> {
    let mut names = Vec::new();
    let mut potentially_unsafe = Vec::new();
    let mut safe_size = 0;
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if is_safe_header(&name, value) {
            potentially_unsafe.push(name);
            safe_size += value.chars().count();
        } else {
            names.push(name);
        }
    }
    if safe_size > 1024 {
        names.extend(potentially_unsafe);
    }
    names.sort();
    names.dedup();
    names
}

/// <https://fetch.spec.whatwg.org/#cors-safelisted-request-header>
fn is_safe_header(name: &str, value: &str) -> bool {
    if value.chars().count() > 128 {
        return false;
    }
    match name {
        "accept" => !value.chars().any(is_unsafe_byte),
        "accept-language" | "content-language" => {
            value.chars().all(|c| c.is_ascii_alphanumeric() || " *,-.;=".contains(c))
        }
        "content-type" => {
            let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            !value.chars().any(is_unsafe_byte) && SAFE_CONTENT_TYPES.contains(&essence.as_str())
        }
        "range" => is_simple_range(value),
        _ => false,
    }
}

/// <https://fetch.spec.whatwg.org/#cors-unsafe-request-header-byte>
fn is_unsafe_byte(c: char) -> bool {
    (c < ' ' && c != '\t') || "\"():<>?@[\\]{}\u{7f}".contains(c)
}

/// <https://fetch.spec.whatwg.org/#simple-range-header-value>, from some byte on
fn is_simple_range(value: &str) -> bool {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return false;
    };
    let (Ok(first), true) = (first.parse::<u64>(), last.bytes().all(|b| b.is_ascii_digit())) else {
        return false;
    };
    last.is_empty() || last.parse::<u64>().is_ok_and(|last| first <= last)
}

/// <https://fetch.spec.whatwg.org/#concept-cors-check>
pub(super) fn check(request: &Request, headers: &[(String, String)]) -> Result<(), String> {
    let Some(allowed) = header(headers, "access-control-allow-origin") else {
        return Err("it has no access-control-allow-origin".to_owned());
    };
    let includes = request.credentials == Credentials::Include;
    if !includes && allowed == ANY {
        return Ok(());
    }
    let origin = request.serialized_origin();
    if allowed != origin {
        return Err(format!("access-control-allow-origin is `{allowed}`, not `{origin}`"));
    }
    let credentials = header(headers, "access-control-allow-credentials");
    if !includes || credentials.as_deref() == Some("true") {
        return Ok(());
    }
    Err("access-control-allow-credentials is not `true`".to_owned())
}

/// The names of the headers that a CORS filtered response has:
/// <https://fetch.spec.whatwg.org/#concept-filtered-response-cors>
pub(super) fn exposes(
    request: &Request,
    headers: &[(String, String)],
) -> impl Fn(&str) -> bool + use<> {
    let exposed = list(headers, "access-control-expose-headers").unwrap_or_default();
    let all = request.credentials != Credentials::Include && exposed.iter().any(|it| it == ANY);
    move |name: &str| {
        let name = name.to_ascii_lowercase();
        all || SAFE_RESPONSE_HEADERS.contains(&name.as_str()) || exposed.contains(&name)
    }
}

/// A header that is a list of tokens, in lower case; `None` if it is none.
/// <https://fetch.spec.whatwg.org/#extract-header-list-values>
fn list(headers: &[(String, String)], name: &str) -> Option<Vec<String>> {
    let Some(value) = header(headers, name) else { return Some(Vec::new()) };
    let tokens = value.split(',').map(|token| token.trim().to_ascii_lowercase());
    let tokens: Vec<String> = tokens.filter(|token| !token.is_empty()).collect();
    tokens.iter().all(|token| token.bytes().all(is_token_byte)).then_some(tokens)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a preflight asks for.
pub(super) struct Preflight {
    pub(super) method: String,
    /// Sorted, in lower case.
    pub(super) unsafe_headers: Vec<String>,
}

impl Preflight {
    pub(super) fn of(request: &Request) -> Preflight {
        let method = request.method.clone();
        Preflight { method, unsafe_headers: unsafe_header_names(&request.headers) }
    }

    pub(super) fn is_needed(&self) -> bool {
        !is_safe_method(&self.method) || !self.unsafe_headers.is_empty()
    }

    /// What the preflight asks: <https://fetch.spec.whatwg.org/#cors-preflight-fetch>
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("Accept".to_owned(), ANY.to_owned()),
            ("Access-Control-Request-Method".to_owned(), self.method.clone()),
        ];
        if !self.unsafe_headers.is_empty() {
            let names = self.unsafe_headers.join(",");
            headers.push(("Access-Control-Request-Headers".to_owned(), names));
        }
        headers
    }

    /// Whether the response to the preflight allows the request; what it allows is remembered.
    pub(super) fn check(
        &self,
        request: &Request,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<Grant, String> {
        check(request, headers)?;
        if !(200..300).contains(&status) {
            return Err(format!("its status is {status}"));
        }
        let invalid = |name: &str| format!("{name} is no list");
        let methods_name = "access-control-allow-methods";
        // Methods are told apart by case.
        let methods = match header(headers, methods_name) {
            None => Vec::new(),
            Some(value) => {
                list(headers, methods_name).ok_or_else(|| invalid(methods_name))?;
                let tokens = value.split(',').map(|token| token.trim().to_owned());
                tokens.filter(|token| !token.is_empty()).collect()
            }
        };
        let headers_name = "access-control-allow-headers";
        let allowed = list(headers, headers_name).ok_or_else(|| invalid(headers_name))?;
        let grant = Grant { methods, headers: allowed };
        self.check_grant(request, &grant)?;
        Ok(grant)
    }

    fn check_grant(&self, request: &Request, grant: &Grant) -> Result<(), String> {
        let any_is_all = request.credentials != Credentials::Include;
        let method_is_allowed = is_safe_method(&self.method)
            || grant.methods.contains(&self.method)
            || (any_is_all && grant.methods.iter().any(|method| method == ANY));
        if !method_is_allowed {
            return Err(format!("it does not allow the method {}", self.method));
        }
        let any_header = any_is_all && grant.headers.iter().any(|name| name == ANY);
        // `authorization` must be named: an asterisk does not stand for it.
        let refused = self.unsafe_headers.iter().find(|name| {
            let is_allowed = any_header && name.as_str() != "authorization";
            !is_allowed && !grant.headers.contains(name)
        });
        match refused {
            Some(name) => Err(format!("it does not allow the header {name}")),
            None => Ok(()),
        }
    }
}

/// What a server allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    methods: Vec<String>,
    headers: Vec<String>,
}

/// <https://fetch.spec.whatwg.org/#concept-cache>
#[derive(Default)]
pub(crate) struct PreflightCache {
    entries: BTreeMap<(String, String, bool), (Grant, f64)>,
}

/// How many servers' permissions are remembered.
const ENTRIES: usize = 1024;
const DEFAULT_MAX_AGE_S: f64 = 5.0;
/// Chromium's limit.
const LONGEST_MAX_AGE_S: f64 = 7200.0;

impl PreflightCache {
    pub(super) fn allows(&self, request: &Request, preflight: &Preflight, now_ms: f64) -> bool {
        self.entries.get(&key(request)).is_some_and(|(grant, expires_ms)| {
            now_ms < *expires_ms && preflight.check_grant(request, grant).is_ok()
        })
    }

    pub(super) fn remember(
        &mut self,
        request: &Request,
        grant: Grant,
        headers: &[(String, String)],
        now_ms: f64,
    ) {
        let max_age = header(headers, "access-control-max-age");
        let seconds = max_age.and_then(|text| text.trim().parse::<f64>().ok());
        let seconds = seconds.unwrap_or(DEFAULT_MAX_AGE_S).clamp(0.0, LONGEST_MAX_AGE_S);
        self.entries.retain(|_, (_, expires_ms)| now_ms < *expires_ms);
        // Whoever has no origin of its own shares none of what it may.
        if seconds > 0.0 && !request.is_origin_tainted() && self.entries.len() < ENTRIES {
            self.entries.insert(key(request), (grant, now_ms + seconds * 1e3));
        }
    }

    /// <https://fetch.spec.whatwg.org/#cors-preflight-cache>, after a network error
    pub(super) fn forget(&mut self, request: &Request) {
        self.entries.remove(&key(request));
    }
}

fn key(request: &Request) -> (String, String, bool) {
    let mut url: Url = request.url().clone();
    url.set_fragment(None);
    (request.serialized_origin(), url.into(), request.credentials == Credentials::Include)
}

pub(super) fn cors_error(request: &Request, problem: String) -> FetchError {
    FetchError::Cors { url: request.url().clone(), problem }
}
