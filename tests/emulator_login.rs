//! The emulator's sign-in endpoint over real HTTP, and its tokens at the door of Graph.
#![cfg(feature = "emulator")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in tests, which does not reach the helpers between them"
)]

use std::time::Duration;

use entra_reprocess::emulator::{Emulator, Settings};
use reqwest::{Client, Method};
use serde_json::Value;

const GRAPH: &str = "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";

struct Tenant {
    emulator: Emulator,
    client: Client,
}

impl Tenant {
    fn start(settings: Settings) -> Self {
        let emulator = Emulator::start(settings).unwrap();
        Self { emulator, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn tenant(&self) -> String {
        self.emulator.application().0.to_string()
    }

    async fn call(&self, method: Method, path: &str, body: String) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.emulator.url())).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        assert!(response.headers().get("odata-version").is_none());
        if status != 405 {
            assert_eq!(response.headers()["cache-control"], "no-store, no-cache");
        }
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    /// Asks for a token; `{id}` stands for the application.
    async fn ask(&self, form: &str) -> (u16, Value) {
        let form = form.replace("{id}", &self.emulator.application().1.to_string());
        self.call(Method::POST, &format!("/{}/oauth2/v2.0/token", self.tenant()), form).await
    }

    async fn token(&self, more: &str) -> String {
        let form = "grant_type=client_credentials&client_id={id}&client_secret=emulator-secret";
        let (status, body) = self.ask(&format!("{form}&{more}")).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    /// What Graph answers to a token: status, message and challenge.
    async fn knock(&self, token: &str) -> (u16, String, String) {
        let url =
            format!("{}/v1.0/identityGovernance/entitlementManagement/assignments", self.emulator.url());
        let response = self.client.get(url).bearer_auth(token).send().await.unwrap();
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        (status, body["error"]["message"].as_str().unwrap_or_default().to_owned(), challenge)
    }
}

#[tokio::test]
async fn its_tokens_open_graph_beside_the_fixed_one() {
    let tenant = Tenant::start(Settings::default());
    let token = tenant.token(GRAPH).await;
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(tenant.knock(&token).await.0, 200);
    assert_eq!(tenant.knock("emulator-token").await.0, 200);
    tenant.emulator.set_token("another");
    assert_eq!(tenant.knock("emulator-token").await.0, 401);
    assert_eq!(tenant.knock(&token).await.0, 200);
    let (status, message, challenge) = tenant.knock(&format!("{token}x")).await;
    assert_eq!((status, message.as_str()), (401, "Access token is not valid."));
    assert!(!challenge.contains("claims"), "{challenge}");
    let counters = tenant.emulator.counters();
    assert_eq!((counters.tokens_issued, counters.http_requests, counters.unauthorized), (1, 5, 2));
}

#[tokio::test]
async fn tokens_end_and_are_revoked() {
    let tenant = Tenant::start(Settings { token_life: Duration::from_secs(1), ..Settings::default() });
    let short = tenant.token(GRAPH).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(tenant.knock(&short).await.1.contains("expired"));

    let tenant = Tenant::start(Settings::default());
    let capable = tenant.token(&format!("{GRAPH}&claims=%7B%22access_token%22%3A%7B%22xms_cc%22%3A%7B%22values%22%3A%5B%22CP1%22%5D%7D%7D%7D")).await;
    let plain = tenant.token(GRAPH).await;
    tenant.emulator.revoke_tokens(true);
    let (status, message, challenge) = tenant.knock(&capable).await;
    assert_eq!(status, 401);
    assert!(message.contains("TokenIssuedBeforeRevocationTimestamp"), "{message}");
    assert!(challenge.contains("error=\"insufficient_claims\", claims=\""), "{challenge}");
    assert!(!tenant.knock(&plain).await.2.contains("claims"));
    assert_eq!(tenant.knock(&tenant.token(GRAPH).await).await.0, 200);
    let sign_ins = tenant.emulator.sign_ins();
    assert_eq!(sign_ins.len(), 3);
    assert!(sign_ins[0].claims.as_ref().unwrap().contains("CP1") && !sign_ins[0].by_certificate);
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let tenant = Tenant::start(Settings::default());
    let token = tenant.token("scope=https%3A%2F%2Fmanagement.azure.com%2F.default").await;
    let (status, message, _) = tenant.knock(&token).await;
    assert_eq!((status, message.as_str()), (401, "Access token validation failure. Invalid audience."));
}

#[tokio::test]
async fn refusals_have_the_form_of_entra() {
    let tenant = Tenant::start(Settings::default());
    let right = "grant_type=client_credentials&client_id={id}";
    let assertion = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    for (form, status, error, number) in [
        (String::new(), 400, "invalid_request", 900_144),
        ("grant_type=%ff".into(), 400, "invalid_request", 900_144),
        ("grant_type=password&client_id={id}".into(), 400, "unsupported_grant_type", 70_003),
        ("grant_type=client_credentials".into(), 400, "invalid_request", 900_144),
        ("grant_type=client_credentials&client_id=x".into(), 400, "unauthorized_client", 700_016),
        (right.into(), 400, "invalid_request", 900_144),
        (format!("{right}&{GRAPH}"), 401, "invalid_client", 7_000_218),
        (format!("{right}&{GRAPH}&client_secret=wrong"), 401, "invalid_client", 7_000_215),
        (format!("{right}&scope=a&client_secret=emulator-secret"), 400, "invalid_scope", 1_002_012),
        (format!("{right}&{GRAPH}&client_assertion=a"), 401, "invalid_client", 50_027),
        (format!("{right}&{GRAPH}&client_assertion=a.b.c&{assertion}"), 401, "invalid_client", 700_027),
    ] {
        let (got, body) = tenant.ask(&form).await;
        assert_eq!((got, &body["error"]), (status, &error.into()), "{form}");
        assert_eq!(body["error_codes"], serde_json::json!([number]), "{form}");
        let text = body["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{number}: ")) && !text.contains("wrong"), "{text}");
        for field in ["timestamp", "trace_id", "correlation_id", "error_uri"] {
            assert!(body[field].is_string(), "{field}");
        }
    }
    let path = "/11111111-1111-4111-8111-111111111111/oauth2/v2.0/token";
    let (status, body) = tenant.call(Method::POST, path, right.into()).await;
    assert_eq!((status, &body["error_codes"][0]), (400, &90_002.into()));
    let path = format!("/{}/oauth2/v2.0/token", tenant.tenant());
    assert_eq!(tenant.call(Method::GET, &path, String::new()).await.0, 405);
    assert_eq!(tenant.emulator.counters().sign_ins_refused, 12);
    assert_eq!(tenant.emulator.counters().http_requests, 0);
}

#[tokio::test]
async fn discovery_leads_to_the_endpoints_and_the_key() {
    let tenant = Tenant::start(Settings::default());
    let authority = format!("{}/{}", tenant.emulator.url(), tenant.tenant());
    let path = format!("/{}/v2.0/.well-known/openid-configuration", tenant.tenant());
    let (status, body) = tenant.call(Method::GET, &path, String::new()).await;
    assert_eq!((status, &body["token_endpoint"]), (200, &format!("{authority}/oauth2/v2.0/token").into()));
    let keys = body["jwks_uri"].as_str().unwrap().strip_prefix(&tenant.emulator.url()).unwrap().to_owned();
    let (status, body) = tenant.call(Method::GET, &keys, String::new()).await;
    assert_eq!((status, &body["keys"][0]["kty"]), (200, &"RSA".into()));
}
