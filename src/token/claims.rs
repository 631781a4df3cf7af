//! What a token says about itself, read for advice alone.
//!
//! A token for Graph is Graph's to read: its form may change, and its signature is not looked at here
//! (<https://learn.microsoft.com/entra/identity-platform/access-tokens>). So nothing fails for want of a claim, and a
//! token of another form is let through; only what Graph would surely refuse is named before it is sent.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde_json::Value;

use crate::graph::cloud::Cloud;
use crate::text::sanitize;

/// Graph's own id, an audience in every cloud (<https://learn.microsoft.com/graph/permissions-reference>).
const GRAPH_ID: &str = "00000003-0000-0000-c000-000000000000";
/// What reprocess needs, as an application or for a person
/// (<https://learn.microsoft.com/graph/api/accesspackageassignment-reprocess>).
const PERMISSION: &str = "EntitlementManagement.ReadWrite.All";
/// So far two clocks may be apart: the tolerance that token validation commonly has.
const SKEW: i64 = 300;
/// How much of a claim is shown.
const SHOWN: usize = 200;

/// The claims that advice is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `tid`: the tenant that issued it.
    pub tenant: Option<String>,
    /// `appid`, or `azp` as later tokens name it: the application that asked for it.
    application: Option<String>,
    /// `aud`: whom it is for.
    audience: Vec<String>,
    /// `exp`: when it ends, Unix seconds.
    expires_on: Option<i64>,
    /// `roles` of an application, `scp` of an application that acts for a person; `None` where it has neither.
    permissions: Option<Vec<String>>,
}

impl Claims {
    /// The claims of a token; `None` if it is no JSON Web Token.
    pub fn read(token: &str) -> Option<Self> {
        let mut pieces = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return None;
        };
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let claims = claims.as_object()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(shown);
        let roles = claims.get("roles").map(texts);
        let scopes = claims
            .get("scp")
            .and_then(Value::as_str)
            .map(|scopes| scopes.split_whitespace().map(str::to_owned).collect());
        Some(Self {
            tenant: text("tid"),
            application: text("appid").or_else(|| text("azp")),
            audience: claims.get("aud").map(texts).unwrap_or_default(),
            // A number with a fraction is a valid date here (RFC 7519).
            expires_on: claims
                .get("exp")
                .and_then(|exp| exp.as_i64().or_else(|| exp.as_f64().map(|exp| exp as i64))),
            permissions: match (roles, scopes) {
                (None, None) => None,
                (roles, scopes) => Some([roles, scopes].into_iter().flatten().flatten().collect()),
            },
        })
    }

    /// Why Graph would surely refuse it, with the remedy. Without a cloud the host may take tokens of any audience.
    pub fn objection(&self, cloud: Option<Cloud>) -> Option<String> {
        let cloud = cloud?;
        let audience = self.audience.first()?;
        if self.audience.iter().any(|audience| is_for(audience, cloud)) {
            return None;
        }
        let (wanted, scope) = (cloud.origin(), cloud.scope());
        let other = Cloud::ALL.into_iter().find(|other| is_for(audience, *other));
        Some(match other {
            Some(other) => format!(
                "the token is for Graph of another cloud, {}, and this client calls {wanted}; give cloud={:?}, or \
                 sign in there for the scope {scope}",
                other.origin(),
                other.name()
            ),
            None => format!(
                "the token is for {}, and this client calls {wanted}; ask for one with the scope {scope}",
                shown(audience)
            ),
        })
    }

    /// When it ends, Unix seconds.
    pub const fn expires_on(&self) -> Option<i64> {
        self.expires_on
    }

    /// For a 403: whether the permission is not among those of the token. No more than a hint, since a role may stand
    /// in for it.
    pub fn hint(&self) -> Option<String> {
        let has = self.permissions.as_ref()?;
        if has.iter().any(|permission| permission == PERMISSION) {
            return None;
        }
        let names = if has.is_empty() { "none".to_owned() } else { shown(&has.join(", ")) };
        Some(format!("The token has no {PERMISSION}; its permissions: {names}."))
    }

    /// For a 401: what it is, so that a wrong tenant or application can be seen.
    pub fn describe(&self) -> String {
        let mut text = String::from("The token");
        let mut add = |before: &str, value: Option<&str>| {
            if let Some(value) = value {
                text.push_str(before);
                text.push_str(value);
            }
        };
        add(" is of the tenant ", Some(self.tenant.as_deref().unwrap_or("(not named)")));
        add(", of the application ", self.application.as_deref());
        add(", for ", self.audience.first().map(|audience| shown(audience)).as_deref());
        add(", valid until ", self.expires_on.and_then(date).as_deref());
        text.push('.');
        text
    }
}

/// Why a token that ended at `expires_on` is not worth sending; times in Unix seconds.
pub fn expired(expires_on: Option<i64>, now: i64) -> Option<String> {
    let at = expires_on.filter(|at| at.saturating_add(SKEW) < now)?;
    let (at, now) = (date(at)?, date(now)?);
    Some(format!(
        "the token expired at {at}, and it is {now} by the clock of this machine; get a new one, or pass a credential \
         that can, and set the clock if it is wrong"
    ))
}

fn is_for(audience: &str, cloud: Cloud) -> bool {
    audience.eq_ignore_ascii_case(GRAPH_ID)
        || audience.trim_end_matches('/').eq_ignore_ascii_case(cloud.origin())
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text.clone()],
        Value::Array(list) => {
            list.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// A claim as it is shown: whoever made the token may have put anything there.
fn shown(claim: &str) -> String {
    sanitize(claim, SHOWN)
}

fn date(unix: i64) -> Option<String> {
    Some(DateTime::from_timestamp(unix, 0)?.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn jwt(claims: &Value) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn read(claims: &Value) -> Claims {
        Claims::read(&jwt(claims)).unwrap()
    }

    #[test]
    fn both_versions_of_tokens_are_read() {
        let old =
            read(&json!({ "aud": "a", "tid": "t", "appid": "i", "exp": 7, "roles": ["r"], "scp": "s u" }));
        let new =
            read(&json!({ "aud": ["a"], "tid": "t", "azp": "i", "exp": 7.9, "roles": "r", "scp": " s  u " }));
        assert_eq!(old, new);
        assert_eq!(old.permissions.as_deref(), Some(["r", "s", "u"].map(str::to_owned).as_slice()));
        assert_eq!(
            old.describe(),
            "The token is of the tenant t, of the application i, for a, valid until 1970-01-01 00:00:07 UTC."
        );
        assert_eq!(read(&json!({})).describe(), "The token is of the tenant (not named).");
        let odd = read(&json!({ "tid": "a\nb\u{1b}[2J", "aud": "\u{2028}" })).describe();
        assert_eq!(odd, "The token is of the tenant a\\nb\\x1b[2J, for \\u2028.");
    }

    #[test]
    fn what_is_no_jwt_is_nothing() {
        for token in ["", "opaque", "a.b", "..", "a.e30.c.d", "a.%.c", "a.W10.c", "a.bm8.c"] {
            assert_eq!(Claims::read(token), None, "{token}");
        }
        let odd = json!({ "aud": 5, "tid": [], "appid": {}, "exp": "soon", "roles": 1, "scp": [] });
        assert_eq!(read(&odd), Claims { permissions: Some(Vec::new()), ..Claims::default() });
    }

    #[test]
    fn a_wrong_audience_or_cloud_is_named() {
        let objection = |aud: &str, cloud| read(&json!({ "aud": aud })).objection(cloud);
        for cloud in Cloud::ALL {
            let origin = cloud.origin();
            for good in [
                origin,
                &format!("{origin}/"),
                &origin.to_uppercase(),
                GRAPH_ID,
                &GRAPH_ID.to_uppercase(),
                "",
            ] {
                assert_eq!(objection(good, Some(cloud)), None, "{good}");
            }
            for other in Cloud::ALL.into_iter().filter(|other| *other != cloud) {
                let said = objection(other.origin(), Some(cloud)).unwrap();
                assert!(said.contains(&format!("cloud={:?}", other.name())), "{said}");
                assert!(said.contains(&cloud.scope()), "{said}");
            }
            let said = objection("https://management.azure.com/", Some(cloud)).unwrap();
            assert!(
                said.contains("https://management.azure.com/") && said.contains(&cloud.scope()),
                "{said}"
            );
            assert!(objection("00000002-0000-0000-c000-000000000000", Some(cloud)).is_some());
        }
        assert_eq!(objection("https://management.azure.com/", None), None);
        assert_eq!(read(&json!({})).objection(Some(Cloud::Global)), None);
        assert_eq!(read(&json!({ "aud": ["x", GRAPH_ID] })).objection(Some(Cloud::Global)), None);
    }

    #[test]
    fn expiry_has_a_tolerance_for_clocks() {
        for (expires_on, now, is_expired) in [
            (None, i64::MAX, false),
            (Some(1_000), 900, false),
            (Some(1_000), 1_300, false),
            (Some(1_000), 1_301, true),
            (Some(i64::MAX), 0, false),
        ] {
            assert_eq!(expired(expires_on, now).is_some(), is_expired, "{expires_on:?} {now}");
        }
        let said = expired(Some(1_000), 9_000).unwrap();
        assert!(said.contains("1970-01-01 00:16:40 UTC") && said.contains("clock"), "{said}");
    }

    #[test]
    fn a_missing_permission_is_a_hint() {
        for (claims, hint) in [
            (json!({}), None),
            (json!({ "roles": [PERMISSION] }), None),
            (json!({ "scp": format!("User.Read {PERMISSION}") }), None),
            (json!({ "scp": "User.Read" }), Some("permissions: User.Read.")),
            (json!({ "roles": [] }), Some("permissions: none.")),
            (json!({ "roles": ["EntitlementManagement.Read.All"] }), Some("EntitlementManagement.Read.All.")),
        ] {
            let said = read(&claims).hint();
            assert_eq!(said.is_some(), hint.is_some(), "{claims}");
            assert!(said.unwrap_or_default().ends_with(hint.unwrap_or_default()));
        }
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(token in "\\PC*", payload in "\\PC*", exp in any::<f64>()) {
            let _ = Claims::read(&token);
            for payload in [payload, format!("{{\"exp\":{exp:e},\"aud\":\"x\"}}")] {
                if let Some(claims) = Claims::read(&format!("a.{}.c", URL_SAFE_NO_PAD.encode(payload))) {
                    let _ = (claims.describe(), claims.hint(), claims.objection(Some(Cloud::China)));
                    let _ = expired(claims.expires_on(), i64::MAX);
                }
            }
        }
    }
}
