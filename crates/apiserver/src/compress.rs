//! Large answers, compressed for who can read that (B13).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::respond::{self, Body};

/// What is not larger is sent as it is.
const WORTHWHILE: u64 = 128 * 1024;

/// Whether the client lists `gzip`, and not with a weight of 0.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|clause| {
        let (coding, weight) = clause.split_once(';').unwrap_or((clause, ""));
        coding.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0")
    })
}

/// Compresses an answer that is all there and worth it; streams have no known size and stay as they are.
pub(crate) async fn gzip(response: Response<Body>) -> Response<Body> {
    let size = response.body().size_hint().exact().unwrap_or(0);
    if size <= WORTHWHILE || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return Response::from_parts(head, respond::full(""));
    };
    let plain = body.to_bytes();
    let source = plain.clone();
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(source.len() / 4), Compression::fast());
        encoder.write_all(&source).and_then(|()| encoder.finish())
    });
    let Ok(Ok(packed)) = packed.await else { return Response::from_parts(head, respond::full(plain)) };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(head, respond::full(packed))
}
