//! Scheme fetch, for what needs no network: <https://fetch.spec.whatwg.org/#scheme-fetch>
//!
//! Invariant: pure.

use bytes::Bytes;
use data_url::DataUrl;
use url::Url;

use super::{FetchError, Request, Response, ResponseSource, ResponseType};
use crate::http::whole_body;

/// <https://fetch.spec.whatwg.org/#port-blocking>
const BAD_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990,
    993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667,
    6668, 6669, 6679, 6697, 10080,
];

/// <https://fetch.spec.whatwg.org/#block-bad-port>
pub(crate) fn require_good_port(url: &Url) -> Result<(), FetchError> {
    match url.port() {
        Some(port) if BAD_PORTS.contains(&port) => Err(FetchError::BadPort { port }),
        _ => Ok(()),
    }
}

/// Whether no other protocol has the URL's port.
pub(crate) fn has_good_port(url: &Url) -> bool {
    require_good_port(url).is_ok()
}

/// The response of a URL that is neither http nor https.
pub(super) fn local_response(
    request: &Request,
    kind: ResponseType,
) -> Result<Response, FetchError> {
    let url = request.url();
    match url.scheme() {
        "data" => data_response(request),
        "about" if url.path() == "blank" => {
            Ok(ok(url, kind, "text/html;charset=utf-8".to_owned(), Bytes::new()))
        }
        "blob" => Err(FetchError::NoBlob { url: url.clone() }),
        scheme => Err(FetchError::Scheme { scheme: scheme.to_owned() }),
    }
}

/// <https://fetch.spec.whatwg.org/#data-url-processor>
fn data_response(request: &Request) -> Result<Response, FetchError> {
    let url = request.url();
    let invalid = || FetchError::InvalidData { url: shortened(url) };
    let data = DataUrl::process(url.as_str()).map_err(|_| invalid())?;
    let (body, _fragment) = data.decode_to_vec().map_err(|_| invalid())?;
    let content_type = data.mime_type().to_string();
    let mut response = ok(url, ResponseType::Basic, content_type, Bytes::from(body));
    if request.method == "HEAD" {
        response.body = None;
    }
    Ok(response)
}

fn ok(url: &Url, kind: ResponseType, content_type: String, body: Bytes) -> Response {
    Response {
        kind,
        status: 200,
        status_text: "OK".to_owned(),
        headers: vec![("content-type".to_owned(), content_type)],
        url_list: vec![url.clone()],
        body: Some(whole_body(body)),
        source: ResponseSource::Network,
    }
}

/// A URL as a trace may show it: data: URLs may be megabytes.
pub(crate) fn shortened(url: &Url) -> String {
    match url.as_str() {
        text if text.len() > 200 && url.scheme() == "data" => {
            let end = text.floor_char_boundary(100);
            format!("{}... ({} bytes)", &text[..end], text.len())
        }
        text => text.split('#').next().unwrap_or_default().to_owned(),
    }
}
