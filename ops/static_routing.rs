//! Router rules, as they cross the border: <https://w3c.github.io/ServiceWorker/#dictdef-routerrule>

use deno_core::{OpState, op2};
use serde::{Deserialize, Serialize};

use crate::{Host, OpError};

/// One rule. JavaScript has checked it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRule {
    /// What a request has to be like.
    pub condition: RouterCondition,
    /// Who answers it then.
    pub source: RouterSource,
}

/// What is given holds, all of it: <https://w3c.github.io/ServiceWorker/#dictdef-routercondition>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterCondition {
    /// Which URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_pattern: Option<RouterUrlPattern>,
    /// Which method, normalized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_method: Option<String>,
    /// Which mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_mode: Option<String>,
    /// Which destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_destination: Option<String>,
    /// `running` or `not-running`: what the worker is when the request comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_status: Option<String>,
    /// One of these holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub or: Option<Vec<RouterCondition>>,
    /// This does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<RouterCondition>>,
}

/// A URL pattern without regular expressions, by its components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "they are the parts of a URL")]
pub struct RouterUrlPattern {
    pub protocol: String,
    pub username: String,
    pub password: String,
    pub hostname: String,
    pub port: String,
    pub pathname: String,
    pub search: String,
    pub hash: String,
    /// Whether `a` is `A`.
    pub ignore_case: bool,
}

/// <https://w3c.github.io/ServiceWorker/#typedefdef-routersource>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RouterSource {
    /// One that has no more to it than its name.
    Named(RouterSourceEnum),
    /// The cache with this name, else the network.
    Cache {
        /// Its name.
        #[serde(rename = "cacheName")]
        cache_name: String,
    },
}

/// <https://w3c.github.io/ServiceWorker/#enumdef-routersourceenum>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouterSourceEnum {
    /// Any cache, else the network.
    Cache,
    /// The worker, as without a rule.
    FetchEvent,
    /// The network.
    Network,
    /// Whichever answers first.
    RaceNetworkAndFetchHandler,
}

/// `InstallEvent.addRoutes()`.
#[op2]
pub fn op_worker_add_routes(
    state: &mut OpState,
    #[serde] rules: Vec<RouterRule>,
) -> Result<(), OpError> {
    let (services, realm) = Host::of(state);
    services.add_routes(realm, rules)
}
