//! Tokens of the sign-in endpoint: what they say, and whether Graph still takes them.

use std::{
    io,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

use super::{
    assertion::Registered,
    jwt::{Signer, decode, encode},
    settings::Settings,
};

/// How many sign-ins are remembered.
const REMEMBERED: usize = 10_000;

/// Whom a token for Graph may name: the hosts of all clouds, since this emulator stands in for each of them, and
/// Graph's own id.
const AUDIENCES: [&str; 5] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "00000003-0000-0000-c000-000000000000",
];

/// A token that was given to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Whether it was given for a certificate, not for the secret.
    pub by_certificate: bool,
    /// The scope that was asked for.
    pub scope: String,
    /// The claims that were asked for: capabilities of the client, and the answer to a challenge.
    pub claims: Option<String>,
}

/// What is wrong with a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Distrust {
    pub message: &'static str,
    /// The claims that a new one has to have, in base64.
    pub claims: Option<String>,
}

impl Distrust {
    pub(super) const fn plain(message: &'static str) -> Self {
        Self { message, claims: None }
    }
}

/// Up to which number tokens are revoked.
#[derive(Clone, Copy, Debug, Default)]
struct Revoked {
    up_to: u64,
    /// When, in Unix seconds, if clients that can answer a challenge get one.
    challenge: Option<u64>,
}

/// All about the tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    pub signer: Signer,
    pub certificate: Option<Registered>,
    /// Number of the last token.
    last: AtomicU64,
    revoked: RwLock<Revoked>,
    sign_ins: Mutex<Vec<SignIn>>,
}

impl Tokens {
    /// None were given yet.
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        Ok(Self {
            signer: Signer::default(),
            certificate: settings.client_certificate.as_deref().map(Registered::read).transpose()?,
            last: AtomicU64::new(0),
            revoked: RwLock::default(),
            sign_ins: Mutex::default(),
        })
    }

    /// A token for the application, with the claims that Graph's tokens were seen to have.
    pub(super) fn issue(&self, settings: &Settings, sign_in: SignIn, now: SystemTime) -> Option<String> {
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        let (iat, life) = (unix(now), settings.token_life.as_secs());
        let tenant = settings.tenant_id.to_string();
        let issuer = format!("https://sts.windows.net/{tenant}/");
        // The service principal: another id than that of the application, and always the same.
        let principal = principal(settings.client_id).to_string();
        let audience = sign_in.scope.strip_suffix("/.default").unwrap_or_default();
        let mut claims = json!({
            "aud": audience,
            "iss": issuer,
            "iat": iat,
            "nbf": iat,
            "exp": iat + life,
            "app_displayname": "Graph emulator",
            "appid": settings.client_id.to_string(),
            "appidacr": if sign_in.by_certificate { "2" } else { "1" },
            "idp": issuer,
            "idtyp": "app",
            "oid": principal,
            "roles": settings.roles,
            "sub": principal,
            "tid": tenant,
            "uti": encode(u128::from(number).to_be_bytes()),
            "ver": "1.0",
        });
        if is_capable(sign_in.claims.as_deref())
            && let Some(claims) = claims.as_object_mut()
        {
            claims.insert("xms_cc".into(), json!(["CP1"]));
        }
        let mut sign_ins = self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner);
        if sign_ins.len() < REMEMBERED {
            sign_ins.push(sign_in);
        }
        self.signer.sign(&claims)
    }

    /// Takes none of the tokens given so far any more.
    pub(super) fn revoke(&self, challenge: bool, now: SystemTime) {
        let up_to = self.last.load(Ordering::SeqCst);
        let challenge = challenge.then(|| unix(now));
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = Revoked { up_to, challenge };
    }

    /// The tokens given so far.
    pub(super) fn sign_ins(&self) -> Vec<SignIn> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why Graph does not take a token. The texts for audience and lifetime were seen on Graph
    /// (microsoftgraph/microsoft-graph-docs#4752, s1t5/mail-archiver#267), the first one is assumed.
    pub(super) fn distrust(&self, token: &str, now: SystemTime) -> Option<Distrust> {
        let Some(claims) = self.signer.verify(token) else {
            return Some(Distrust::plain("Access token is not valid."));
        };
        let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
        if !AUDIENCES.contains(&audience.trim_end_matches('/')) {
            return Some(Distrust::plain("Access token validation failure. Invalid audience."));
        }
        if claims.get("exp").and_then(Value::as_u64).is_none_or(|end| end <= unix(now)) {
            return Some(Distrust::plain("Lifetime validation failed, the token is expired."));
        }
        let number = claims.get("uti").and_then(Value::as_str).and_then(decode);
        let number = number.and_then(|bytes| bytes.try_into().ok()).map_or(0, u128::from_be_bytes);
        let revoked = *self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        if number > u128::from(revoked.up_to) {
            return None;
        }
        Some(match revoked.challenge.filter(|_| claims.get("xms_cc").is_some()) {
            None => Distrust::plain("Access token is not valid."),
            Some(at) => {
                let nbf = json!({ "essential": true, "value": at.to_string() });
                Distrust {
                    message: "Continuous access evaluation resulted in challenge with result: InteractionRequired \
                              and code: TokenIssuedBeforeRevocationTimestamp",
                    claims: Some(STANDARD.encode(json!({ "access_token": { "nbf": nbf } }).to_string())),
                }
            }
        })
    }
}

/// Whether a client says that it can answer a challenge
/// (<https://learn.microsoft.com/entra/identity-platform/claims-challenge>).
fn is_capable(claims: Option<&str>) -> bool {
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_str(claims).ok());
    let values = claims.as_ref().and_then(|claims| claims.pointer("/access_token/xms_cc/values"));
    values.and_then(Value::as_array).is_some_and(|values| values.iter().any(|value| value == "CP1"))
}

fn principal(client_id: Uuid) -> Uuid {
    Builder::from_random_bytes((!client_id.as_u128()).to_be_bytes()).into_uuid()
}

/// Unix seconds.
pub(super) fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CP1: &str = r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#;

    fn sign_in(resource: &str, claims: Option<&str>) -> SignIn {
        SignIn {
            by_certificate: false,
            scope: format!("{resource}/.default"),
            claims: claims.map(Into::into),
        }
    }

    #[test]
    fn tokens_are_taken_until_they_end_or_are_revoked() {
        let settings = Settings { token_life: Duration::from_secs(60), ..Settings::default() };
        let tokens = Tokens::new(&settings).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(1_000);
        let issue = |resource, claims| tokens.issue(&settings, sign_in(resource, claims), at).unwrap();
        let plain = issue("https://graph.microsoft.us", None);
        let capable = issue("https://graph.microsoft.com/", Some(CP1));
        let other = issue("https://management.azure.com", None);
        let message = |token: &str, at| tokens.distrust(token, at).map(|why| why.message).unwrap_or_default();
        for token in [&plain, &capable] {
            assert_eq!(message(token, at + Duration::from_secs(59)), "");
            assert!(message(token, at + Duration::from_secs(60)).contains("expired"));
        }
        assert!(message(&other, at).contains("audience"));
        assert!(message("emulator-token", at).contains("not valid"));

        tokens.revoke(true, at);
        assert_eq!(tokens.distrust(&plain, at).unwrap().claims, None, "it could not answer");
        let claims = STANDARD.decode(tokens.distrust(&capable, at).unwrap().claims.unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["access_token"]["nbf"], json!({ "essential": true, "value": "1000" }));
        assert_eq!(message(&issue("https://graph.microsoft.com", None), at), "", "a new one");
        tokens.revoke(false, at);
        assert_eq!(tokens.distrust(&capable, at).unwrap().claims, None);
        assert_eq!(tokens.sign_ins().len(), 4);
    }

    #[test]
    fn capabilities_are_read() {
        for (claims, capable) in [
            (None, false),
            (Some(CP1), true),
            (Some(""), false),
            (Some(r#"{"access_token":{"nbf":{}}}"#), false),
            (Some(r#"{"access_token":{"nbf":{},"xms_cc":{"values":["x","CP1"]}}}"#), true),
            (Some(r#"{"access_token":{"xms_cc":{"values":"CP1"}}}"#), false),
        ] {
            assert_eq!(is_capable(claims), capable, "{claims:?}");
        }
    }
}
