//! WPT's template language: `{{host}}`, `{{ports[https][0]}}`, `{{hosts[alt][www]}}` and the like
//! in files named `.sub.`: <https://web-platform-tests.org/writing-tests/server-pipes.html#sub>

use super::{HOSTS, Head, PORTS};

/// Ports of other services; tests ask for their numbers. Only those of WebSockets are there.
pub const OTHER_PORTS: [(&str, u16); 10] = [
    ("ws", 8666),
    ("wss", 8667),
    ("h2", 9000),
    ("quic-transport", 10000),
    ("http-local", 8002),
    ("http-private", 8003),
    ("http-public", 8004),
    ("https-local", 8445),
    ("https-private", 8446),
    ("https-public", 8447),
];

/// Replaces every `{{...}}`; nothing if one is not among what this knows. wptserve knows more, such
/// as `{{uuid()}}`.
pub fn substitute(text: &[u8], head: &Head) -> Option<Vec<u8>> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, b"{{") {
        let Some(end) = find(&rest[at..], b"}}") else { break };
        result.extend_from_slice(&rest[..at]);
        let name = String::from_utf8_lossy(&rest[at + 2..at + end]).into_owned();
        result.extend_from_slice(value(name.trim(), head)?.as_bytes());
        rest = &rest[at + end + 2..];
    }
    result.extend_from_slice(rest);
    Some(result)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn value(name: &str, head: &Head) -> Option<String> {
    let (field, indices) = split(name)?;
    let host = head.header("host").unwrap_or(HOSTS[0]);
    let (hostname, port) = host.split_once(':').unwrap_or((host, ""));
    match (field, indices.as_slice()) {
        ("host", []) => Some(HOSTS[0].to_owned()),
        ("domains", [subdomain]) => domain(HOSTS[0], subdomain),
        ("hosts", ["", subdomain]) => domain(HOSTS[0], subdomain),
        ("hosts", ["alt", subdomain]) => domain(HOSTS[1], subdomain),
        ("ports", [scheme, index]) => port_of(scheme, index.parse().ok()?),
        ("location", [part]) => Some(match *part {
            "server" => format!("{}://{host}", head.scheme),
            "scheme" => head.scheme.to_owned(),
            "host" => host.to_owned(),
            "hostname" => hostname.to_owned(),
            "port" => port.to_owned(),
            "path" | "pathname" => head.path().to_owned(),
            "query" => format!("?{}", head.query().trim_start_matches('?')),
            _ => return None,
        }),
        ("url_base", []) => Some("/".to_owned()),
        ("headers", [name]) => head.header(&name.to_ascii_lowercase()).map(str::to_owned),
        ("GET", [name]) => {
            let query = head.query().trim_start_matches('?').as_bytes();
            let mut pairs = url::form_urlencoded::parse(query);
            let value = pairs.find(|(key, _)| key == name).map(|(_, value)| value);
            Some(value.unwrap_or_default().into_owned())
        }
        _ => None,
    }
}

/// `ports[https][0]` as `ports` and its indices.
fn split(name: &str) -> Option<(&str, Vec<&str>)> {
    let (field, mut rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    let mut indices = Vec::new();
    while !rest.is_empty() {
        let (index, tail) = rest.strip_prefix('[')?.split_once(']')?;
        indices.push(index);
        rest = tail;
    }
    Some((field, indices))
}

fn domain(host: &str, subdomain: &str) -> Option<String> {
    Some(match subdomain {
        "" => host.to_owned(),
        "www" | "www1" | "www2" | "nonexistent" => format!("{subdomain}.{host}"),
        "天気の良い日" => format!("xn--n8j6ds53lwwkrqhv28a.{host}"),
        "élève" => format!("xn--lve-6lad.{host}"),
        _ => return None,
    })
}

fn port_of(scheme: &str, index: usize) -> Option<String> {
    let own = PORTS.iter().find(|(name, _)| *name == scheme).map(|(_, ports)| ports.as_slice());
    let port = match own {
        Some(ports) => *ports.get(index)?,
        None => OTHER_PORTS.iter().find(|(name, _)| *name == scheme && index == 0)?.1,
    };
    Some(port.to_string())
}
