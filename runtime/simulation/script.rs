//! Reads scripted servers from the `[servers]` table of a `scenario.toml`.
//!
//! Invariant: whatever is accepted can be answered; whatever is not says where it stands and why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::{Answer, End, Failure, Outcome, Route, RouteKey, ScriptedServers, World};

/// A `[servers]` table that cannot be read: where, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ServersError {
    place: String,
    problem: String,
}

impl TryFrom<BTreeMap<String, BTreeMap<String, serde_json::Value>>> for ScriptedServers {
    type Error = ServersError;

    fn try_from(
        table: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    ) -> Result<ScriptedServers, ServersError> {
        let mut world = World::default();
        for (address, script) in table {
            let place = format!("servers.\"{address}\"");
            let at = |problem| ServersError { place: place.clone(), problem };
            let origin = parse_origin(&address).map_err(at)?;
            let mut routes = BTreeMap::new();
            for (name, answers) in script {
                let place = format!("{place}.\"{name}\"");
                let at = |problem| ServersError { place: place.clone(), problem };
                let key = parse_key(&origin, &name).map_err(at)?;
                let answers = parse_answers(answers).map_err(at)?;
                if routes.insert(key, Route { answers, given: 0 }).is_some() {
                    return Err(at("the same route is there twice".to_owned()));
                }
            }
            let origin = origin.origin().ascii_serialization();
            if world.servers.insert(origin, routes).is_some() {
                return Err(at("the same origin is there twice".to_owned()));
            }
        }
        Ok(ScriptedServers(Arc::new(Mutex::new(world))))
    }
}

impl ScriptedServers {
    /// Scripts one route, in place of what it answered before: `GET /data` and one answer, or a
    /// list of them.
    pub(crate) fn script(
        &self,
        origin: &Url,
        route: &str,
        answers: serde_json::Value,
    ) -> Result<(), ServersError> {
        let at = |problem| ServersError { place: format!("{origin} \"{route}\""), problem };
        let key = parse_key(origin, route).map_err(at)?;
        let answers = parse_answers(answers).map_err(at)?;
        let origin = origin.origin().ascii_serialization();
        let mut world = self.world();
        world.servers.entry(origin).or_default().insert(key, Route { answers, given: 0 });
        Ok(())
    }
}

fn parse_origin(address: &str) -> Result<Url, String> {
    let url = Url::parse(address).ok().filter(|url| {
        let rest_is_empty = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && rest_is_empty
    });
    url.ok_or_else(|| "no origin; write it as `https://api.test`".to_owned())
}

fn parse_key(origin: &Url, name: &str) -> Result<RouteKey, String> {
    let wrong = || "no route; write method and path, as in `GET /data`".to_owned();
    let (method, path) = name.split_once(' ').ok_or_else(wrong)?;
    let method_is_upper = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if !method_is_upper || !path.starts_with('/') || path.starts_with("//") {
        return Err(wrong());
    }
    // As a URL, so that it is written in the same way as the URL of a request.
    let url = origin.join(path).map_err(|_| wrong())?;
    Ok(RouteKey {
        method: method.to_owned(),
        path: url.path().to_owned(),
        query: url.query().map(str::to_owned),
    })
}

fn parse_answers(value: serde_json::Value) -> Result<Vec<Answer>, String> {
    match value {
        serde_json::Value::Array(list) if list.is_empty() => {
            Err("an empty list answers nothing; write one answer at least".to_owned())
        }
        serde_json::Value::Array(list) => list.into_iter().map(parse_answer).collect(),
        one => Ok(vec![parse_answer(one)?]),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerTable {
    status: Option<i64>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    delay: Option<String>,
    fail: Option<Failure>,
    #[serde(default)]
    breaks: bool,
}

fn parse_answer(value: serde_json::Value) -> Result<Answer, String> {
    let table = match value {
        serde_json::Value::Number(number) => {
            let status = number.as_i64().ok_or_else(|| format!("{number} is no status"))?;
            let (headers, body) = (Vec::new(), Bytes::new());
            let (status, end) = (parse_status(status)?, End::Whole);
            let outcome = Outcome::Reply { status, headers, body, end };
            return Ok(Answer { delay: Duration::ZERO, outcome });
        }
        table @ serde_json::Value::Object(_) => table,
        other => return Err(format!("{other} is no answer; write a status or a table")),
    };
    let table: AnswerTable = serde_json::from_value(table).map_err(|error| error.to_string())?;
    let delay = match &table.delay {
        Some(delay) => humantime::parse_duration(delay)
            .map_err(|cause| format!("delay `{delay}`: write it as in `2s` ({cause})"))?,
        None => Duration::ZERO,
    };
    Ok(Answer { delay, outcome: parse_outcome(table)? })
}

fn parse_outcome(table: AnswerTable) -> Result<Outcome, String> {
    if let Some(failure) = table.fail {
        let has_body = table.body.is_some() || table.breaks;
        let reply = table.status.is_some() || has_body || !table.headers.is_empty();
        return match reply {
            true => Err("`fail` means no response: leave status, headers and body out".to_owned()),
            false => Ok(Outcome::Fail(failure)),
        };
    }
    let status = parse_status(table.status.unwrap_or(200))?;
    let body = Bytes::from(table.body.unwrap_or_default());
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return Err(format!("a response with status {status} has no body"));
    }
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    let headers = table.headers.into_iter().map(lower).collect();
    let end = if table.breaks { End::Broken } else { End::Whole };
    Ok(Outcome::Reply { status, headers, body, end })
}

fn parse_status(status: i64) -> Result<u16, String> {
    let valid = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
    valid.ok_or_else(|| format!("{status} is no status; write one from 200 to 599"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_script_says_where_and_what_to_write() {
        let cases = [
            ("['api.test']", "servers.\"api.test\": no origin; write it as `https://api.test`"),
            (
                "['https://a.test/x']",
                "servers.\"https://a.test/x\": no origin; write it as `https://api.test`",
            ),
            (
                "['https://a.test']\n['https://a.test:443']",
                "servers.\"https://a.test:443\": the same origin is there twice",
            ),
            (
                "['https://a.test']\n'/x' = 200",
                "no route; write method and path, as in `GET /data`",
            ),
            (
                "['https://a.test']\n'get /x' = 200",
                "servers.\"https://a.test\".\"get /x\": no route",
            ),
            ("['https://a.test']\n'GET /x' = 99", "99 is no status; write one from 200 to 599"),
            ("['https://a.test']\n'GET /x' = []", "an empty list answers nothing"),
            (
                "['https://a.test']\n'GET /x' = 'ok'",
                "\"ok\" is no answer; write a status or a table",
            ),
            ("['https://a.test']\n'GET /x' = { stat = 200 }", "unknown field `stat`, expected"),
            ("['https://a.test']\n'GET /x' = { delay = '2' }", "delay `2`: write it as in `2s` ("),
            ("['https://a.test']\n'GET /x' = { fail = 'no' }", "unknown variant `no`, expected"),
            (
                "['https://a.test']\n'GET /x' = { fail = 'reset', status = 200 }",
                "`fail` means no response: leave status, headers and body out",
            ),
            (
                "['https://a.test']\n'GET /x' = { status = 204, body = 'x' }",
                "a response with status 204 has no body",
            ),
        ];
        for (script, message) in cases {
            let error = toml::from_str::<ScriptedServers>(script).unwrap_err().to_string();
            assert!(error.contains(message), "{error}\nshould say: {message}");
            assert!(error.contains("servers.\""), "{error}");
        }
    }
}
