//! Subresource integrity: <https://w3c.github.io/webappsec-subresource-integrity/>
//!
//! Invariant: pure; metadata that names no known digest asks for nothing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn parse(name: &str) -> Option<Algorithm> {
        match name.to_ascii_lowercase().as_str() {
            "sha256" => Some(Algorithm::Sha256),
            "sha384" => Some(Algorithm::Sha384),
            "sha512" => Some(Algorithm::Sha512),
            _ => None,
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Algorithm::Sha256 => Sha256::digest(bytes).to_vec(),
            Algorithm::Sha384 => Sha384::digest(bytes).to_vec(),
            Algorithm::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// Whether metadata asks for anything.
pub(super) fn asks(metadata: &str) -> bool {
    !parse(metadata).is_empty()
}

/// <https://w3c.github.io/webappsec-subresource-integrity/#does-response-match-metadatalist>
pub(super) fn matches(metadata: &str, bytes: &[u8]) -> bool {
    let digests = parse(metadata);
    let Some(strongest) = digests.iter().map(|(algorithm, _)| *algorithm).max() else {
        return true;
    };
    let actual = strongest.digest(bytes);
    digests.iter().any(|(algorithm, expected)| {
        let decoded = STANDARD.decode(expected).or_else(|_| URL_SAFE.decode(expected));
        *algorithm == strongest && decoded.is_ok_and(|expected| expected == actual)
    })
}

/// <https://w3c.github.io/webappsec-subresource-integrity/#parse-metadata>
fn parse(metadata: &str) -> Vec<(Algorithm, &str)> {
    let items = metadata.split_ascii_whitespace();
    let digests = items.filter_map(|item| {
        let expression = item.split('?').next().unwrap_or_default();
        let (algorithm, digest) = expression.split_once('-')?;
        Some((Algorithm::parse(algorithm)?, digest))
    });
    digests.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_digest_decides() {
        let of = |algorithm: Algorithm, bytes| STANDARD.encode(algorithm.digest(bytes));
        let right = of(Algorithm::Sha256, b"text");
        let wrong = of(Algorithm::Sha512, b"other");
        assert!(matches(&format!("sha256-{right}"), b"text"));
        assert!(matches(&format!("SHA256-{right}?option sha256-x"), b"text"));
        assert!(!matches(&format!("sha256-{right} sha512-{wrong}"), b"text"));
        assert!(matches("md5-x unknown", b"text"));
        assert!(!asks("md5-x unknown"));
    }
}
