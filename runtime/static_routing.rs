//! Static routing: who answers a request, by the rules that the worker gave when it installed.
//! <https://w3c.github.io/ServiceWorker/#get-router-source>
//!
//! Invariant: pure; the answer depends on the rules, the request, and on whether the worker runs.

use kittiwake_ops::{RouterCondition, RouterRule, RouterSource, RouterUrlPattern};
use url::Url;
use urlpattern::{UrlPattern, UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions};

use crate::fetch::{Mode, Request};

/// Rules, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Router {
    rules: Vec<RouterRule>,
    matchers: Vec<Matcher>,
}

/// A condition with its patterns compiled.
#[derive(Debug)]
struct Matcher {
    condition: RouterCondition,
    /// `None` for one that cannot be compiled, which matches nothing.
    url_pattern: Option<UrlPattern>,
    or: Vec<Matcher>,
    not: Option<Box<Matcher>>,
}

/// What a request meets.
struct Asked<'a> {
    request: &'a Request,
    is_running: bool,
}

impl Router {
    /// As the store has them; what it does not understand routes nothing.
    pub(crate) fn from_json(rules: &str) -> Router {
        let mut router = Router::default();
        router.add(serde_json::from_str(rules).unwrap_or_default());
        router
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&self.rules).expect("invariant: rules are JSON")
    }

    pub(crate) fn add(&mut self, rules: Vec<RouterRule>) {
        self.matchers.extend(rules.iter().map(|rule| Matcher::new(&rule.condition)));
        self.rules.extend(rules);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The source of the first rule that matches.
    pub(crate) fn source_of(&self, request: &Request, is_running: bool) -> Option<&RouterSource> {
        let asked = Asked { request, is_running };
        let first = self.matchers.iter().position(|matcher| matcher.matches(&asked))?;
        Some(&self.rules[first].source)
    }
}

impl Matcher {
    fn new(condition: &RouterCondition) -> Matcher {
        Matcher {
            condition: condition.clone(),
            url_pattern: condition.url_pattern.as_ref().and_then(compiled),
            or: condition.or.iter().flatten().map(Matcher::new).collect(),
            not: condition.not.as_deref().map(|not| Box::new(Matcher::new(not))),
        }
    }

    /// <https://w3c.github.io/ServiceWorker/#match-router-condition>
    fn matches(&self, asked: &Asked<'_>) -> bool {
        if self.condition.or.is_some() {
            return self.or.iter().any(|each| each.matches(asked));
        }
        if let Some(not) = &self.not {
            return !not.matches(asked);
        }
        let RouterCondition {
            url_pattern,
            request_method,
            request_mode,
            request_destination,
            running_status,
            ..
        } = &self.condition;
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        let Asked { request, is_running } = asked;
        let status = if *is_running { "running" } else { "not-running" };
        (url_pattern.is_none() || self.matches_url(request.url()))
            && is(request_method, &request.method)
            && is(request_mode, mode(request.mode))
            && is(request_destination, &request.destination)
            && is(running_status, status)
    }

    fn matches_url(&self, url: &Url) -> bool {
        let matches = |pattern: &UrlPattern| {
            pattern.test(UrlPatternMatchInput::Url(url.clone())).unwrap_or(false)
        };
        self.url_pattern.as_ref().is_some_and(matches)
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::SameOrigin => "same-origin",
        Mode::NoCors => "no-cors",
        Mode::Cors => "cors",
        Mode::Navigate => "navigate",
    }
}

fn compiled(pattern: &RouterUrlPattern) -> Option<UrlPattern> {
    let init = UrlPatternInit {
        protocol: Some(pattern.protocol.clone()),
        username: Some(pattern.username.clone()),
        password: Some(pattern.password.clone()),
        hostname: Some(pattern.hostname.clone()),
        port: Some(pattern.port.clone()),
        pathname: Some(pattern.pathname.clone()),
        search: Some(pattern.search.clone()),
        hash: Some(pattern.hash.clone()),
        base_url: None,
    };
    UrlPattern::parse(init, UrlPatternOptions { ignore_case: pattern.ignore_case }).ok()
}
