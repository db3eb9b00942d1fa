//! The opening handshake of a WebSocket, by the HTTP client that fetches too: the same resolver,
//! certificates and proxies. <https://www.rfc-editor.org/rfc/rfc6455#section-4>
//!
//! Invariant: a connection is handed out only after the server agreed to what was asked.

use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

use super::real::{Clients, transport_error};
use super::{HttpError, authority};

/// A WebSocket that somebody wants.
#[derive(Clone, Debug)]
pub struct WebSocketRequest {
    /// Its URL with the scheme `http` or `https`.
    pub url: Url,
    /// Who asks.
    pub origin: String,
    /// `Sec-WebSocket-Protocol`; empty for none.
    pub protocols: String,
    /// `Cookie`; one character is one byte.
    pub cookies: Option<String>,
    /// 16 random bytes in Base64.
    pub key: String,
}

/// A connection that speaks WebSocket from now on.
pub struct UpgradedConnection {
    /// The protocol that the server chose; empty for none.
    pub protocol: String,
    /// The `Set-Cookie` headers that came with it.
    pub set_cookies: Vec<String>,
    /// The bytes.
    pub stream: Box<dyn DuplexStream>,
}

/// Both directions of a connection.
pub trait DuplexStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> DuplexStream for T {}

/// Connects and shakes hands.
pub(super) async fn connect(
    clients: &Clients,
    request: WebSocketRequest,
) -> Result<UpgradedConnection, HttpError> {
    let url = request.url.clone();
    let failed = |error: reqwest::Error| transport_error(&error, &url);
    let client = clients.web_socket_client(&url)?;
    let mut builder = client
        .get(url.clone())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("origin", &request.origin)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &request.key);
    if !request.protocols.is_empty() {
        builder = builder.header("sec-websocket-protocol", &request.protocols);
    }
    if let Some(cookies) = &request.cookies {
        let bytes: Vec<u8> = cookies.chars().filter_map(|c| u8::try_from(c).ok()).collect();
        builder = builder.header("cookie", bytes);
    }
    let mut handshake = builder.build().map_err(failed)?;
    clients.route(&mut handshake);
    let response = client.execute(handshake).await.map_err(failed)?;
    let protocol = agreed_protocol(&response, &request)
        .map_err(|cause| HttpError::Broken { host: authority(&url), cause })?;
    let set_cookies = response.headers().get_all("set-cookie").into_iter();
    let text =
        |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    let set_cookies = set_cookies.map(text).collect();
    let stream = Box::new(response.upgrade().await.map_err(failed)?);
    Ok(UpgradedConnection { protocol, set_cookies, stream })
}

/// <https://www.rfc-editor.org/rfc/rfc6455#section-4.1>, what the client checks.
fn agreed_protocol(
    response: &reqwest::Response,
    request: &WebSocketRequest,
) -> Result<String, String> {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap_or_default().trim())
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("no WebSocket: the server answered {}", response.status().as_u16()));
    }
    let upgrades = header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let connects = header("connection").is_some_and(|value| {
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case("upgrade"))
    });
    if !upgrades || !connects {
        return Err("no WebSocket: the server switched to something else".to_owned());
    }
    if header("sec-websocket-accept") != Some(&derive_accept_key(request.key.as_bytes())) {
        return Err("no WebSocket: the server did not answer the handshake's key".to_owned());
    }
    if let Some(extensions) = header("sec-websocket-extensions") {
        return Err(format!("no WebSocket: nobody asked for the extension `{extensions}`"));
    }
    let Some(protocol) = header("sec-websocket-protocol") else {
        return match request.protocols.is_empty() {
            true => Ok(String::new()),
            false => Err("no WebSocket: the server chose none of the subprotocols".to_owned()),
        };
    };
    if request.protocols.split(", ").any(|asked| asked == protocol) {
        return Ok(protocol.to_owned());
    }
    Err(format!("no WebSocket: nobody asked for the subprotocol `{protocol}`"))
}
