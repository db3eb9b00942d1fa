//! The site that tests are served from: `web-platform.test`, its subdomains and the alternative
//! host, on loopback ports without TLS. Files come from the checkout; what needs Python is spliced
//! through to the checkout's own wptserve, byte for byte.
//!
//! Invariant: no path reaches a file outside the checkout.

mod answer;
mod substitution;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use kittiwake::Builder;
use serde::{Deserialize, Serialize};
use url::Url;

use super::checkout::Checkout;
use answer::Answer;
use substitution::OTHER_PORTS;

/// The host of the tests themselves, and the other one.
pub const HOSTS: [&str; 2] = ["web-platform.test", "not-web-platform.test"];

/// Every name before a host; `xn--` ones are `天気の良い日` and `élève`.
pub const SUBDOMAINS: [&str; 6] =
    ["", "www", "www1", "www2", "xn--n8j6ds53lwwkrqhv28a", "xn--lve-6lad"];

/// The ports that tests are told, by scheme; nothing listens at them.
pub const PORTS: [(&str, [u16; 2]); 2] = [("http", [8000, 8001]), ("https", [8443, 8444])];

/// Where tests are at home.
pub const ORIGIN: &str = "https://web-platform.test:8443";

/// More bytes than any test's request head has.
const HEAD_AT_MOST: usize = 256 << 10;

/// The ports of wptserve's two servers, by the scheme that each believes to have, and that of the
/// checkout's server of WebSockets, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonPorts {
    http: u16,
    https: u16,
    ws: Option<u16>,
}

/// What wptserve has to know about the site.
pub fn python_settings() -> serde_json::Value {
    let mut ports: serde_json::Map<String, serde_json::Value> =
        PORTS.iter().map(|(scheme, ports)| ((*scheme).to_owned(), (*ports).into())).collect();
    ports.extend(OTHER_PORTS.iter().map(|(name, port)| ((*name).to_owned(), vec![*port].into())));
    serde_json::json!({
        "browser_host": HOSTS[0],
        "alternate_hosts": { "alt": HOSTS[1] },
        "subdomains": ["www", "www1", "www2", "天気の良い日", "élève"],
        "not_subdomains": ["nonexistent"],
        "ports": ports,
    })
}

/// A site that is served until the process ends.
pub struct Site {
    http: SocketAddr,
    https: SocketAddr,
    web_sockets: Option<SocketAddr>,
    checkout: Checkout,
    interfaces: Arc<Mutex<Checkout>>,
    unanswered: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Starts to serve. Without wptserve, whatever needs it is answered with an error.
    pub fn start(checkout: &Checkout, python: Option<PythonPorts>) -> io::Result<Site> {
        let unanswered = Arc::new(Mutex::new(Vec::new()));
        let interfaces = Arc::new(Mutex::new(checkout.clone()));
        let listen = |scheme, python_port: Option<u16>| {
            let server = Arc::new(Server {
                checkout: checkout.clone(),
                interfaces: Arc::clone(&interfaces),
                scheme,
                python: python_port.map(on_loopback),
                unanswered: Arc::clone(&unanswered),
            });
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            thread::Builder::new().name(format!("site-{scheme}")).spawn(move || {
                for stream in listener.incoming().flatten() {
                    let server = Arc::clone(&server);
                    let serve = thread::Builder::new().name("site-connection".to_owned());
                    // A connection that breaks is the test's concern; without a thread it closes.
                    let _ = serve.spawn(move || server.serve(stream));
                }
            })?;
            Ok::<_, io::Error>(address)
        };
        let http = listen("http", python.map(|ports| ports.http))?;
        let https = listen("https", python.map(|ports| ports.https))?;
        let web_sockets = python.and_then(|ports| ports.ws).map(on_loopback);
        Ok(Site { http, https, web_sockets, checkout: checkout.clone(), interfaces, unanswered })
    }

    /// Serves a test from now on, which is at this path.
    pub fn begin(&self, file: &str) {
        let interfaces = self.checkout.as_seen_from(file);
        *self.interfaces.lock().expect("no holder of this lock panics") = interfaces;
    }

    /// Sends a runtime's requests to this site.
    pub fn route(&self, mut builder: Builder) -> Builder {
        let web_sockets = OTHER_PORTS.iter().filter_map(|(name, port)| {
            // A WebSocket begins as a request.
            let scheme = if *name == "wss" { "https" } else { "http" };
            let is_one = matches!(*name, "ws" | "wss");
            Some((scheme, *port, self.web_sockets.filter(|_| is_one)?))
        });
        let servers = PORTS.into_iter().flat_map(|(scheme, ports)| {
            let address = if scheme == "https" { self.https } else { self.http };
            ports.map(|port| (scheme, port, address))
        });
        for (scheme, port, address) in servers.chain(web_sockets) {
            for host in HOSTS {
                for subdomain in SUBDOMAINS {
                    let dot = if subdomain.is_empty() { "" } else { "." };
                    let origin = format!("{scheme}://{subdomain}{dot}{host}:{port}");
                    let origin = Url::parse(&origin).expect("an origin is a URL");
                    builder = builder.route(&origin, address);
                }
            }
        }
        builder
    }

    /// What was asked for in vain because there is no wptserve, since the last call.
    pub fn take_unanswered(&self) -> Vec<String> {
        std::mem::take(&mut *self.unanswered.lock().expect("no holder of this lock panics"))
    }
}

struct Server {
    checkout: Checkout,
    /// The checkout as the test under way sees its interface definitions.
    interfaces: Arc<Mutex<Checkout>>,
    scheme: &'static str,
    python: Option<SocketAddr>,
    unanswered: Arc<Mutex<Vec<String>>>,
}

/// The head of a request.
pub struct Head {
    method: String,
    /// Path and query as they were sent.
    target: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    scheme: &'static str,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// With its question mark; empty without a query.
    fn query(&self) -> &str {
        let target = self.target.split('#').next().unwrap_or_default();
        target.find('?').map_or("", |at| &target[at..])
    }

    /// What only wptserve knows how to answer.
    fn needs_python(&self) -> bool {
        let path = self.path();
        let conditional = ["range", "if-none-match", "if-modified-since", "if-range"];
        path.ends_with(".py")
            || path.ends_with(".asis")
            || self.query().contains("pipe=")
            || !matches!(self.method.as_str(), "GET" | "HEAD")
            || conditional.iter().any(|name| self.header(name).is_some())
    }
}

impl Server {
    /// Answers one request after the other; the first one for wptserve takes the connection along.
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut received = Vec::new();
        loop {
            let Some((head, length)) = self.read_head(&mut stream, &mut received)? else {
                return Ok(());
            };
            let answer = match head.needs_python() {
                true => None,
                false => self.answer(&head),
            };
            match (answer, self.python) {
                (Some(answer), _) => {
                    received.drain(..length);
                    stream.write_all(&answer.bytes(&head))?;
                }
                (None, Some(python)) => return splice(stream, &received, python),
                (None, None) => {
                    let asked = format!("{} {}", head.method, head.path());
                    self.unanswered.lock().expect("no holder of this lock panics").push(asked);
                    let text = "this needs wptserve, and so Python\n".to_owned();
                    stream.write_all(&Answer::text(501, text).bytes(&head))?;
                    return stream.shutdown(Shutdown::Write);
                }
            }
        }
    }

    /// What the checkout has, or nothing if only wptserve knows it.
    fn answer(&self, head: &Head) -> Option<Answer> {
        if head.path().starts_with("/interfaces/") {
            let interfaces = self.interfaces.lock().expect("no holder of this lock panics").clone();
            return Answer::to(head, &interfaces);
        }
        Answer::to(head, &self.checkout)
    }

    /// The next request's head and its length in bytes, or nothing at the connection's end.
    fn read_head(
        &self,
        stream: &mut TcpStream,
        received: &mut Vec<u8>,
    ) -> io::Result<Option<(Head, usize)>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 256];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(received).map_err(io::Error::other)?;
            if let httparse::Status::Complete(length) = parsed {
                let text = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect();
                let header = |header: &httparse::Header<'_>| {
                    (header.name.to_ascii_lowercase(), text(header.value))
                };
                let head = Head {
                    method: request.method.unwrap_or_default().to_owned(),
                    target: request.path.unwrap_or_default().to_owned(),
                    headers: request.headers.iter().map(header).collect(),
                    scheme: self.scheme,
                };
                return Ok(Some((head, length)));
            }
            let mut chunk = [0; 16 << 10];
            let count = stream.read(&mut chunk)?;
            if count == 0 || received.len() > HEAD_AT_MOST {
                return Ok(None);
            }
            received.extend_from_slice(&chunk[..count]);
        }
    }
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Joins the connection with another to wptserve, which has received `received` by then.
fn splice(client: TcpStream, received: &[u8], python: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(python)?;
    upstream.set_nodelay(true)?;
    upstream.write_all(received)?;
    let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
    let upwards = thread::Builder::new().name("site-upwards".to_owned()).spawn(move || {
        // Either end may go first; what is left is told so by the shutdown.
        let _ = io::copy(&mut from_client, &mut to_upstream);
        let _ = to_upstream.shutdown(Shutdown::Write);
    })?;
    let mut to_client = client;
    let copied = io::copy(&mut upstream, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = upwards.join();
    copied.map(drop)
}
