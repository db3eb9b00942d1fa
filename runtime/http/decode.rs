//! Content codings: <https://httpwg.org/specs/rfc9110.html#content.codings>
//!
//! Invariant: a body whose codings are known is decoded as it comes; any other is left as it is.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures::stream::LocalBoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader};

use super::HttpError;

/// How much is decoded at once.
const CHUNK: usize = 64 << 10;

type Body = LocalBoxStream<'static, Result<Bytes, HttpError>>;

/// The body that a response with these headers means; `host` is whose it is, for errors.
pub(super) fn decoded(headers: &[(String, String)], body: Body, host: &str) -> Body {
    let values = headers.iter().filter(|(name, _)| name == "content-encoding");
    let codings: Vec<String> = values
        .flat_map(|(_, value)| value.split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .collect();
    if !codings.iter().all(|coding| is_known(coding)) {
        return body;
    }
    codings.iter().rev().fold(body, |body, coding| decoded_once(coding, body, host))
}

fn is_known(coding: &str) -> bool {
    matches!(coding, "gzip" | "x-gzip" | "deflate" | "br" | "zstd")
}

fn decoded_once(coding: &str, body: Body, host: &str) -> Body {
    let (coding, host) = (coding.to_owned(), host.to_owned());
    let decode = async move {
        let mut body = body.peekable();
        // A response without a body has nothing to decode, whatever its headers say.
        if std::pin::Pin::new(&mut body).peek().await.is_none() {
            return futures::stream::empty().boxed_local();
        }
        let reader = StreamReader::new(body.map_err(io::Error::other));
        // https://httpwg.org/specs/rfc9659.html: a window has 8 MiB at most.
        let decoded = match coding.as_str() {
            "br" => chunks(BrotliDecoder::new(reader)),
            "deflate" => chunks(ZlibDecoder::new(reader)),
            "zstd" => chunks(ZstdDecoder::with_params(reader, &[DParameter::window_log_max(23)])),
            _ => chunks(GzipDecoder::new(reader)),
        };
        decoded.map_err(move |error| told(error, &coding, &host)).boxed_local()
    };
    futures::stream::once(decode).flatten().boxed_local()
}

fn chunks(
    reader: impl tokio::io::AsyncRead + 'static,
) -> LocalBoxStream<'static, io::Result<Bytes>> {
    ReaderStream::with_capacity(reader, CHUNK).boxed_local()
}

fn told(error: io::Error, coding: &str, host: &str) -> HttpError {
    let transport = error.get_ref().and_then(|inner| inner.downcast_ref::<HttpError>());
    transport.cloned().unwrap_or_else(|| HttpError::Broken {
        host: host.to_owned(),
        cause: format!("what it sent is not {coding}: {error}"),
    })
}
