//! JSON Web Tokens, signed with RS256 as those of Entra are, by a key that lives as long as the emulator.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signs and verifies. The key is made when it is first needed, since that takes a while.
#[derive(Default)]
pub(super) struct Signer(Mutex<Option<KeyPair>>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// A token with these claims; None if the system gives no randomness for a key.
    pub(super) fn sign(&self, claims: &Value) -> Option<String> {
        self.with(|key| {
            let kid = kid(key);
            let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid });
            let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
            Some(format!("{signed}.{}", encode(signature)))
        })?
    }

    /// The claims of a token that was signed here.
    pub(super) fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = decode(signature)?;
        // Where nothing was signed yet, there is nothing to verify and no need for a key.
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref()?.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&decode(signed.split_once('.')?.1)?).ok()
    }

    /// The public half, as a key set of one.
    pub(super) fn key_set(&self) -> Value {
        let key = self.with(|key| {
            let (kid, public) = (kid(key), key.public_key());
            let [n, e] = [public.modulus(), public.exponent()]
                .map(|number| encode(number.big_endian_without_leading_zero()));
            json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "x5t": kid, "n": n, "e": e })
        });
        json!({ "keys": key.into_iter().collect::<Vec<_>>() })
    }

    fn with<T>(&self, use_key: impl FnOnce(&KeyPair) -> T) -> Option<T> {
        let mut key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if key.is_none() {
            *key = KeyPair::generate(KeySize::Rsa2048).ok();
        }
        key.as_ref().map(use_key)
    }
}

fn kid(key: &KeyPair) -> String {
    encode(digest(&SHA256, key.public_key().as_ref()))
}

/// Base64 as tokens write it.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same the other way; padding is passed over, since azure-identity's asynchronous half writes it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_here_is_verified_and_nothing_else() {
        let (signer, other) = (Signer::default(), Signer::default());
        assert_eq!(signer.verify("a.b.c"), None);
        let claims = json!({ "tid": "t" });
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.verify(&token), Some(claims.clone()));
        assert!(other.sign(&claims).is_some());
        assert_eq!(other.verify(&token), None);
        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{}.{}.{signature}", head.split_once('.').unwrap().0, encode("{}"));
        for wrong in [forged.as_str(), head, "", "..", signature] {
            assert_eq!(signer.verify(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_key_set_has_the_key_of_the_tokens() {
        let signer = Signer::default();
        let set = signer.key_set();
        let token = signer.sign(&json!({})).unwrap();
        let header: Value =
            serde_json::from_slice(&decode(token.split_once('.').unwrap().0).unwrap()).unwrap();
        assert_eq!(set["keys"][0]["kid"], header["kid"]);
        assert_eq!(decode(set["keys"][0]["n"].as_str().unwrap()).unwrap().len(), 256);
        assert_eq!(set["keys"][0]["e"], "AQAB");
    }
}
