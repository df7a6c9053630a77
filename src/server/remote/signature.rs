//! Who may say what the configuration is: the owner of an Ed25519 key (RFC 8032), by a detached signature.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410, section 4).
const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// A public key.
#[derive(Debug)]
pub(super) struct Key(UnparsedPublicKey<[u8; KEY_BYTES]>);

impl Key {
    /// Reads PEM (`BEGIN PUBLIC KEY`), or base64 of the bare key or of the same structure.
    ///
    /// # Errors
    /// Why `text` is no such key.
    pub(super) fn parse(text: &str) -> Result<Key, String> {
        let bytes = if text.contains("-----BEGIN") {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(
                |_| "no `BEGIN PUBLIC KEY` in it; the private key is not for this machine",
            )?;
            der.to_vec()
        } else {
            decode(text).map_err(|error| format!("neither PEM nor base64: {error}"))?
        };
        let bare = bytes.strip_prefix(&PREFIX).unwrap_or(&bytes);
        let key = <[u8; KEY_BYTES]>::try_from(bare).map_err(|_| "no Ed25519 key")?;
        Ok(Key(UnparsedPublicKey::new(&ED25519, key)))
    }

    /// Is `signature`, base64 of 64 bytes, the owner's for `message`?
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(signature).map_err(|_| "the signature is no base64")?;
        let bytes = decode(text).map_err(|error| format!("the signature is no base64: {error}"))?;
        if bytes.len() != SIGNATURE_BYTES {
            return Err(format!(
                "the signature has {} bytes, not {SIGNATURE_BYTES}",
                bytes.len()
            ));
        }
        let verified = self.0.verify(message, &bytes);
        verified.map_err(|_| "the signature is not that of `--config-key` for this text".to_owned())
    }
}

fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let bare: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    fn pair() -> (Ed25519KeyPair, Vec<u8>) {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key().as_ref().to_vec();
        (pair, public)
    }

    #[test]
    fn a_key_is_read_in_each_of_its_forms_and_verifies() {
        let (pair, public) = pair();
        let spki = [&PREFIX[..], &public].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(&spki)
        );
        let signature = STANDARD.encode(pair.sign(b"text"));
        for text in [STANDARD.encode(&public), STANDARD.encode(&spki) + "\n", pem] {
            let key = Key::parse(&text).unwrap();
            key.verify(b"text", format!("{signature}\n").as_bytes())
                .unwrap();
            assert!(key.verify(b"texts", signature.as_bytes()).is_err());
            assert!(
                key.verify(b"text", b"AAAA")
                    .unwrap_err()
                    .contains("3 bytes")
            );
            assert!(key.verify(b"text", b"?").unwrap_err().contains("base64"));
        }
    }

    #[test]
    fn other_keys_say_why_not() {
        for (text, why) in [
            ("", "Ed25519"),
            ("AAAA", "Ed25519"),
            ("?", "base64"),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "private",
            ),
        ] {
            assert!(Key::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
