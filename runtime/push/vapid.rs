//! Whoever sends push messages says who it is: <https://www.rfc-editor.org/rfc/rfc8292>
//!
//! Invariant: pure; nothing but the header, the key and the time decides.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::Deserialize;

/// A token may be good for so long: <https://www.rfc-editor.org/rfc/rfc8292#section-2>
const VALID_AT_MOST_S: f64 = 24.0 * 60.0 * 60.0;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    exp: f64,
}

/// Checks an `Authorization` header for the owner of `key`; says what is wrong with it.
pub(super) fn verify(
    authorization: &str,
    key: &[u8],
    audience: &str,
    now_ms: f64,
) -> Result<(), &'static str> {
    let (scheme, parameters) = authorization.split_once(' ').ok_or("it has no parameters")?;
    if !scheme.eq_ignore_ascii_case("vapid") {
        return Err("its scheme is not `vapid`");
    }
    let parameter = |name: &str| {
        let mut all = parameters.split(',').filter_map(|each| each.trim().split_once('='));
        all.find(|(each, _)| *each == name).map(|(_, value)| value.trim_matches('"'))
    };
    let token = parameter("t").ok_or("it has no token `t`")?;
    let sender = parameter("k").and_then(|key| BASE64.decode(key.trim_end_matches('=')).ok());
    if sender.ok_or("it has no key `k`")? != key {
        return Err("its key is not the subscription's applicationServerKey");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("its token is no JWT")?;
    let (header, claims) = signed.split_once('.').ok_or("its token is no JWT")?;
    let header: Header = json(header).ok_or("its token is no JWT")?;
    if header.alg != "ES256" {
        return Err("its token is not signed with ES256");
    }
    let signature = BASE64.decode(signature).ok();
    let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
    let verifying =
        VerifyingKey::from_sec1_bytes(key).map_err(|_| "the subscription has no key")?;
    let verified = signature.map(|signature| verifying.verify(signed.as_bytes(), &signature));
    if !matches!(verified, Some(Ok(()))) {
        return Err("its token's signature is wrong");
    }
    let claims: Claims = json(claims).ok_or("its token has no `aud` and `exp`")?;
    let left_s = claims.exp - now_ms / 1e3;
    match () {
        () if claims.aud != audience => Err("its token is for another push service"),
        () if left_s <= 0.0 => Err("its token has expired"),
        () if left_s > VALID_AT_MOST_S => Err("its token is valid for more than 24 hours"),
        () => Ok(()),
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    use super::*;

    const NOW_MS: f64 = 1_760_000_000_000.0;
    const NOW_S: i64 = 1_760_000_000;

    fn key() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    fn public() -> Vec<u8> {
        key().verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    fn header(alg: &str, aud: &str, exp: i64) -> String {
        let part = |value: serde_json::Value| BASE64.encode(value.to_string());
        let head = part(serde_json::json!({ "typ": "JWT", "alg": alg }));
        let claims = part(serde_json::json!({ "aud": aud, "exp": exp, "sub": "mailto:a@b.test" }));
        let signed = format!("{head}.{claims}");
        let signature: Signature = key().sign(signed.as_bytes());
        let signature = BASE64.encode(signature.to_bytes());
        format!("vapid t={signed}.{signature}, k={}", BASE64.encode(public()))
    }

    fn check(authorization: &str) -> Result<(), &'static str> {
        verify(authorization, &public(), "https://push.test", NOW_MS)
    }

    #[test]
    fn the_owner_of_the_key_may_send() {
        assert_eq!(check(&header("ES256", "https://push.test", NOW_S + 3600)), Ok(()));
    }

    #[test]
    fn whoever_else_sends_hears_why_not() {
        let good = header("ES256", "https://push.test", NOW_S + 3600);
        let cases = [
            ("Bearer x".to_owned(), "its scheme is not `vapid`"),
            ("vapid k=x".to_owned(), "it has no token `t`"),
            (good.replace(", k=", ", x="), "it has no key `k`"),
            (good.replace(", k=B", ", k=C"), "its key is not the subscription's"),
            (good.replacen('.', ".A", 1), "its token's signature is wrong"),
            (header("none", "https://push.test", NOW_S + 9), "its token is not signed with ES256"),
            (header("ES256", "https://other.test", NOW_S + 9), "its token is for another push"),
            (header("ES256", "https://push.test", NOW_S), "its token has expired"),
            (header("ES256", "https://push.test", NOW_S + 90_000), "its token is valid for more"),
        ];
        for (header, reason) in cases {
            let refused = check(&header).unwrap_err();
            assert!(refused.starts_with(reason), "{refused} is not {reason}");
        }
    }
}
