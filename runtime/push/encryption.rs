//! Push messages are encrypted for their subscription: <https://www.rfc-editor.org/rfc/rfc8291>
//!
//! Invariant: pure; nothing but the bytes decides.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey, ecdh};
use sha2::Sha256;

/// Salt, record size, and the length of the key that follows.
const HEADER_BYTES: usize = 16 + 4 + 1;

/// The least that a record may have: <https://www.rfc-editor.org/rfc/rfc8188#section-2.1>
const RECORD_BYTES_AT_LEAST: u32 = 18;

/// Ends the last record: <https://www.rfc-editor.org/rfc/rfc8188#section-2>
const LAST_RECORD: u8 = 2;

/// The public key of a private one, uncompressed; None if it is none.
pub(super) fn public_key(private_key: &[u8]) -> Option<Vec<u8>> {
    let secret = SecretKey::from_slice(private_key).ok()?;
    Some(secret.public_key().to_encoded_point(false).as_bytes().to_vec())
}

/// Whether these bytes are an uncompressed point of the curve.
pub(super) fn is_public_key(bytes: &[u8]) -> bool {
    bytes.len() == 65 && PublicKey::from_sec1_bytes(bytes).is_ok()
}

/// The text of a message in the content coding `aes128gcm`, or why there is none.
pub(super) fn decrypt(
    private_key: &[u8],
    auth: &[u8],
    message: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let (header, rest) = message.split_at_checked(HEADER_BYTES).ok_or("it is too short")?;
    let (salt, header) = header.split_at(16);
    let record_size = u32::from_be_bytes(header[..4].try_into().expect("four bytes"));
    if record_size < RECORD_BYTES_AT_LEAST {
        return Err("its record size is less than 18");
    }
    let key_length = usize::from(header[4]);
    let (sender, record) = rest.split_at_checked(key_length).ok_or("it is too short")?;
    if record.len() > record_size as usize {
        return Err("it has more than one record");
    }
    let sender_key = PublicKey::from_sec1_bytes(sender).map_err(|_| "it has no sender's key")?;
    let secret = SecretKey::from_slice(private_key).map_err(|_| "the subscription has no key")?;
    let receiver = secret.public_key().to_encoded_point(false);
    let shared = ecdh::diffie_hellman(secret.to_nonzero_scalar(), sender_key.as_affine());

    let mut info = b"WebPush: info\0".to_vec();
    info.extend_from_slice(receiver.as_bytes());
    info.extend_from_slice(sender);
    let input: [u8; 32] = expand(auth, shared.raw_secret_bytes(), &info);
    let key: [u8; 16] = expand(salt, &input, b"Content-Encoding: aes128gcm\0");
    let nonce: [u8; 12] = expand(salt, &input, b"Content-Encoding: nonce\0");

    let cipher = Aes128Gcm::new_from_slice(&key).expect("a key of 16 bytes");
    let padded = cipher.decrypt(Nonce::from_slice(&nonce), record);
    let padded = padded.map_err(|_| "it is not encrypted for this subscription")?;
    let end = padded.iter().rposition(|byte| *byte != 0).ok_or("it has no end")?;
    match padded[end] {
        LAST_RECORD => Ok(padded[..end].to_vec()),
        _ => Err("it has no end"),
    }
}

fn expand<const N: usize>(salt: &[u8], input: &[u8], info: &[u8]) -> [u8; N] {
    let mut output = [0; N];
    let derived = Hkdf::<Sha256>::new(Some(salt), input).expand(info, &mut output);
    derived.expect("few bytes");
    output
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

    use super::*;

    const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const MESSAGE: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml\
        mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZ\
        wbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    fn bytes(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8291_is_decrypted() {
        let text = decrypt(&bytes(PRIVATE), &bytes(AUTH), &bytes(MESSAGE)).unwrap();
        assert_eq!(text, b"When I grow up, I want to be a watermelon");
    }

    #[test]
    fn whatever_is_changed_or_missing_is_refused() {
        let (private, auth, message) = (bytes(PRIVATE), bytes(AUTH), bytes(MESSAGE));
        for end in 0..message.len() {
            assert!(decrypt(&private, &auth, &message[..end]).is_err(), "cut at {end}");
        }
        for at in (0..message.len()).filter(|at| !(16..20).contains(at)) {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(decrypt(&private, &auth, &changed).is_err(), "changed at {at}");
        }
        assert!(decrypt(&private, &[0; 16], &message).is_err());
    }
}
