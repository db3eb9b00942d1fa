//! The push service of `kittiwake serve`, at which the endpoints of subscriptions are.
//! <https://www.rfc-editor.org/rfc/rfc8030#section-5>

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use kittiwake::{PushRequest, Runtime};
use url::Url;

use super::exchange::{Answer, plain};

/// The folder of the endpoints.
pub const PATH: &str = "/.well-known/kittiwake/push/";

/// More than any message may have: whoever sends more is refused without being read.
const MAX_BYTES: usize = 64 << 10;

/// Whether it is for the push service.
pub fn is_push(request: &Request<Incoming>) -> bool {
    request.method() == Method::POST && request.uri().path().starts_with(PATH)
}

/// Takes a message for a subscription.
pub async fn answer(runtime: &Runtime, origin: &Url, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let mut endpoint = origin.clone();
    endpoint.set_path(head.uri.path());
    let Ok(body) = Limited::new(body, MAX_BYTES).collect().await else {
        let text = "a message has 4096 bytes at most\n";
        return plain(StatusCode::PAYLOAD_TOO_LARGE, text.to_owned());
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_bytes())));
    let body = body.to_bytes().to_vec();
    match runtime.receive_push(PushRequest { endpoint, headers: headers.collect(), body }).await {
        Ok(response) => {
            let status = StatusCode::from_u16(response.status);
            let reason = response.reason;
            let line = if reason.is_empty() { reason } else { format!("{reason}\n") };
            plain(status.expect("our own status"), line)
        }
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
