//! The sign-in endpoint of one tenant with one application: tokens for a secret or a certificate, and discovery
//! (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>).

use std::{collections::HashMap, time::SystemTime};

use hyper::Method;
use serde_json::json;

use super::{
    assertion::Expected,
    counters::count,
    options,
    reply::{Reply, Trace},
    service::Service,
    tokens::{SignIn, unix},
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Token,
    Configuration,
    Keys,
}

/// Splits a path of the sign-in endpoint into tenant and place; None for all other paths.
pub(super) fn place(path: &str) -> Option<(&str, Place)> {
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    let place = match rest {
        "oauth2/v2.0/token" => Place::Token,
        "v2.0/.well-known/openid-configuration" => Place::Configuration,
        "discovery/v2.0/keys" => Place::Keys,
        _ => return None,
    };
    Some((tenant, place))
}

/// One call.
pub(super) struct Call<'a> {
    pub tenant: &'a str,
    pub place: Place,
    pub method: &'a Method,
    pub payload: &'a [u8],
    /// Scheme and host by which the caller reached the emulator.
    pub base: &'a str,
    pub now: SystemTime,
    pub trace: &'a Trace,
}

/// Status, OAuth error, number and text of a refusal.
struct Refused(u16, &'static str, u32, String);

/// Answers a call.
pub(super) fn answer(service: &Service, call: &Call<'_>) -> Reply {
    let wanted = if call.place == Place::Token { Method::POST } else { Method::GET };
    if *call.method != wanted {
        return Reply::empty(405).with("Allow", wanted.as_str());
    }
    let tenant = service.settings.tenant_id.to_string();
    let answer = if !call.tenant.eq_ignore_ascii_case(&tenant) {
        let text =
            format!("Tenant '{}' not found. Check to make sure you have the correct tenant ID.", call.tenant);
        Err(Refused(400, "invalid_tenant", 90_002, text))
    } else {
        match call.place {
            Place::Token => token(service, call),
            Place::Configuration => Ok(configuration(&format!("{}/{tenant}", call.base))),
            Place::Keys => Ok(Reply::json(service.tokens.signer.key_set())),
        }
    };
    answer.unwrap_or_else(|refused| {
        if call.place == Place::Token {
            count(&service.tally.sign_ins_refused);
        }
        refusal(refused, call)
    })
}

/// The document that MSAL reads before it asks for a token.
fn configuration(authority: &str) -> Reply {
    Reply::json(json!({
        "issuer": format!("{authority}/v2.0"),
        "token_endpoint": format!("{authority}/oauth2/v2.0/token"),
        "authorization_endpoint": format!("{authority}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{authority}/oauth2/v2.0/devicecode"),
        "jwks_uri": format!("{authority}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "request_uri_parameter_supported": false,
    }))
}

fn token(service: &Service, call: &Call<'_>) -> Result<Reply, Refused> {
    let settings = &service.settings;
    let form = form(call.payload)
        .ok_or_else(|| Refused(400, "invalid_request", 900_144, "The request body cannot be read.".into()))?;
    let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let required = |name: &str| {
        field(name).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refused(400, "invalid_request", 900_144, text)
        })
    };
    let grant = required("grant_type")?;
    if grant != "client_credentials" {
        let text = format!("The app requested an unsupported grant type '{grant}'.");
        return Err(Refused(400, "unsupported_grant_type", 70_003, text));
    }
    let (client, known) = (required("client_id")?, settings.client_id.to_string());
    if !client.eq_ignore_ascii_case(&known) {
        let text =
            format!("Application with identifier '{client}' was not found in the directory 'emulator'.");
        return Err(Refused(400, "unauthorized_client", 700_016, text));
    }
    let scope = required("scope")?;
    let by_certificate = authenticate(service, call, &field, &known)?;
    if scope.contains(' ') || scope.strip_suffix("/.default").is_none_or(str::is_empty) {
        let text =
            format!("The provided value for scope {scope} is not valid: it has to end with /.default.");
        return Err(Refused(400, "invalid_scope", 1_002_012, text));
    }
    let claims = field("claims").map(str::to_owned);
    let sign_in = SignIn { by_certificate, scope: scope.to_owned(), claims };
    let issued = service.tokens.issue(settings, sign_in, call.now);
    let token = issued
        .ok_or_else(|| Refused(500, "server_error", 90_033, "A transient error has occurred.".into()))?;
    count(&service.tally.tokens_issued);
    let life = settings.token_life.as_secs();
    let mut body = json!({
        "token_type": "Bearer",
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": token,
    });
    // Seen with tokens that live for a day: clients are told to come back half-way.
    if life >= 7_200
        && let Some(body) = body.as_object_mut()
    {
        body.insert("refresh_in".into(), (life / 2).into());
    }
    Ok(Reply::json(body))
}

/// Whether the application is what it says it is; gives whether it showed that by its certificate.
fn authenticate<'a>(
    service: &Service,
    call: &Call<'_>,
    field: &impl Fn(&str) -> Option<&'a str>,
    client_id: &str,
) -> Result<bool, Refused> {
    let refused = |number: u32, text: &str| Refused(401, "invalid_client", number, text.into());
    if let Some(assertion) = field("client_assertion") {
        if field("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(refused(50_027, "JWT token is invalid or malformed."));
        }
        let Some(certificate) = &service.tokens.certificate else {
            return Err(refused(700_027, "Client assertion failed signature validation."));
        };
        let audience = format!("{}/{}/oauth2/v2.0/token", call.base, call.tenant);
        let now = i64::try_from(unix(call.now)).unwrap_or(i64::MAX);
        let expected = Expected { audience: &audience, client_id, now };
        certificate.check(assertion, &expected).map_err(|(number, text)| refused(number, text))?;
        return Ok(true);
    }
    match field("client_secret") {
        Some(secret) if secret == service.settings.client_secret => Ok(false),
        Some(_) => Err(refused(
            7_000_215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
             not the client secret ID.",
        )),
        None => Err(refused(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )),
    }
}

/// An error as Entra writes it
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
fn refusal(Refused(status, error, number, text): Refused, call: &Call<'_>) -> Reply {
    let timestamp = format!("{}Z", call.trace.date.replace('T', " "));
    let (trace, correlation) = (&call.trace.request_id, &call.trace.client_request_id);
    let mut reply = Reply::json(json!({
        "error": error,
        "error_description": format!(
            "AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
        ),
        "error_codes": [number],
        "timestamp": timestamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
    }));
    reply.status = status;
    reply
}

fn form(payload: &[u8]) -> Option<HashMap<String, String>> {
    let text = std::str::from_utf8(payload).ok()?;
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((options::decode(name).ok()?, options::decode(value).ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_those_of_graph() {
        assert_eq!(place("/t/oauth2/v2.0/token"), Some(("t", Place::Token)));
        assert_eq!(place("/t/v2.0/.well-known/openid-configuration"), Some(("t", Place::Configuration)));
        assert_eq!(place("/t/discovery/v2.0/keys"), Some(("t", Place::Keys)));
        for other in
            ["", "/", "/t", "/v1.0/$batch", "/oauth2/v2.0/token", "/t/oauth2/token", "/a/t/oauth2/v2.0/token"]
        {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn forms_are_decoded() {
        let form = form(b"scope=https%3A%2F%2Fgraph%2F.default&a=b+c&d&=e").unwrap();
        assert_eq!(form["scope"], "https://graph/.default");
        assert_eq!((form["a"].as_str(), form["d"].as_str()), ("b c", ""));
        assert!(super::form(b"a=%zz").is_none() && super::form(b"\xff").is_none());
    }
}
