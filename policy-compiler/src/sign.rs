//! The key that signs artifacts.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;

/// The seed in an ed25519 private key as `openssl genpkey -algorithm ed25519` writes it (PKCS #8, PEM).
///
/// # Errors
/// What is wrong with it, in words that follow the name of the file.
pub fn seed(pem: &str) -> Result<[u8; 32], String> {
    SigningKey::from_pkcs8_pem(pem).map(|key| key.to_bytes()).map_err(|_| {
        "is not an ed25519 private key in PEM; make one with `openssl genpkey -algorithm ed25519 -out KEY`".to_owned()
    })
}
