//! How the emulator is reached: TLS with its throwaway authority, HTTP/1.1 and HTTP/2.
#![cfg(feature = "emulator")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in tests, which does not reach the helpers between them"
)]

use std::time::{Duration, Instant};

use entra_reprocess::emulator::{Emulator, Refusal, Settings};
use reqwest::{Certificate, Client, ClientBuilder, Response, Version};
use serde_json::Value;

const ASSIGNMENTS: &str = "/v1.0/identityGovernance/entitlementManagement/assignments";

/// A client that trusts the emulator's authority and no other.
fn client(emulator: &Emulator) -> ClientBuilder {
    let builder = Client::builder().no_proxy();
    match emulator.ca_pem() {
        Some(pem) => builder.tls_certs_only([Certificate::from_pem(pem.as_bytes()).unwrap()]),
        None => builder,
    }
}

async fn reprocess(emulator: &Emulator, client: &Client) -> Response {
    let url = format!("{}{ASSIGNMENTS}/{}/reprocess", emulator.url(), emulator.ids()[0]);
    let request = client.post(url).bearer_auth(emulator.token());
    request.header("Content-Length", "0").send().await.unwrap()
}

async fn get(emulator: &Emulator, client: &Client, path: &str) -> (u16, Option<String>, Value) {
    let request = client.get(format!("{}{ASSIGNMENTS}{path}", emulator.url()));
    let response = request.bearer_auth(emulator.token()).send().await.unwrap();
    let location = response.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, location, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn tls_is_trusted_by_its_authority_alone_and_offers_http2() {
    let emulator = Emulator::start(Settings { tls: true, page_size: 40, ..Settings::default() }).unwrap();
    assert!(emulator.url().starts_with("https://localhost:"));
    let trusting = client(&emulator).build().unwrap();
    let answer = reprocess(&emulator, &trusting).await;
    assert_eq!((answer.status().as_u16(), answer.version()), (202, Version::HTTP_2));
    let (_, _, page) = get(&emulator, &trusting, "").await;
    assert!(page["@odata.nextLink"].as_str().unwrap().starts_with(&emulator.url()), "{page}");
    assert_eq!(emulator.counters().http2_requests, 2);
    let old = client(&emulator).http1_only().build().unwrap();
    assert_eq!(reprocess(&emulator, &old).await.version(), Version::HTTP_11);
    assert_eq!(emulator.counters().tls_failures, 0);
    let other = Emulator::start(Settings { tls: true, ..Settings::default() }).unwrap();
    let stranger = client(&other).build().unwrap();
    assert!(stranger.get(emulator.url()).send().await.is_err());
    // The client gives up before the server has read why.
    let deadline = Instant::now() + Duration::from_secs(10);
    while emulator.counters().tls_failures == 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(emulator.counters().tls_failures, 1);
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let emulator = Emulator::start(Settings { tls: true, http2: false, ..Settings::default() }).unwrap();
    let answer = reprocess(&emulator, &client(&emulator).build().unwrap()).await;
    assert_eq!((answer.status().as_u16(), answer.version()), (202, Version::HTTP_11));
}

#[tokio::test]
async fn without_tls_http2_comes_by_prior_knowledge() {
    let emulator = Emulator::start(Settings::default()).unwrap();
    assert_eq!(emulator.ca_pem(), None);
    let knowing = client(&emulator).http2_prior_knowledge().build().unwrap();
    assert_eq!(reprocess(&emulator, &knowing).await.version(), Version::HTTP_2);
    let plain = client(&emulator).build().unwrap();
    assert_eq!(reprocess(&emulator, &plain).await.version(), Version::HTTP_11);
    assert_eq!(emulator.counters().connections, 2);
    assert_eq!(emulator.counters().executed, 2);
}

#[tokio::test]
async fn errors_of_the_backend_name_an_inner_host_when_set() {
    let inner_host = Some("igaelm.invalid".to_owned());
    let emulator = Emulator::start(Settings { inner_host, ..Settings::default() }).unwrap();
    let client = client(&emulator).build().unwrap();
    let unknown = "/00000000-0000-4000-8000-000000000000";
    let (status, location, _) = get(&emulator, &client, unknown).await;
    let expected = "https://igaelm.invalid/api/v1/identityGovernance/entitlementManagement/assignments";
    assert_eq!((status, location), (404, Some(format!("{expected}{unknown}"))));
    assert_eq!(get(&emulator, &client, "/a/b").await.1, Some(format!("{expected}/a/b")));
    assert_eq!(get(&emulator, &client, "").await.1, None, "no error");
}

#[tokio::test]
async fn catalog_roles_see_one_package_at_a_time() {
    let emulator = Emulator::start(Settings { catalog_roles_only: true, ..Settings::default() }).unwrap();
    let client = client(&emulator).build().unwrap();
    let (package, _) = emulator.access_packages().remove(0);
    let one = format!("$filter=accessPackage/id%20eq%20'{package}'");
    for (path, expected) in [
        (String::new(), 403),
        ("/$count".into(), 403),
        ("?$filter=state%20eq%20'Delivered'".into(), 403),
        (format!("?{one}%20or%20state%20eq%20'Delivered'"), 403),
        (format!("?{one}"), 200),
        (format!("?{one}%20and%20state%20eq%20'Delivered'"), 200),
        (format!("/$count?{one}"), 200),
        (format!("/{}", emulator.ids()[0]), 200),
    ] {
        let (status, _, body) = get(&emulator, &client, &path).await;
        assert_eq!(status, expected, "{path}");
        if status == 403 {
            assert_eq!(body["error"]["code"], Refusal::forbidden().code.as_str());
        }
    }
    assert_eq!(reprocess(&emulator, &client).await.status().as_u16(), 202);
}

#[tokio::test]
async fn what_was_seeded_can_be_read() {
    let settings =
        Settings { assignments: 5, access_packages: 2, users: 3, bare_targets: true, ..Settings::default() };
    let state = entra_reprocess::emulator::AssignmentState::Delivering;
    let emulator = Emulator::start(Settings { states: vec![(state, 1)], ..settings }).unwrap();
    assert_eq!((emulator.access_packages().len(), emulator.users().len()), (2, 3));
    assert_eq!(emulator.states().last(), Some(&state));
    let (_, _, page) = get(&emulator, &client(&emulator).build().unwrap(), "?$expand=target").await;
    let targets: Vec<_> = page["value"].as_array().unwrap().iter().map(|one| &one["target"]).collect();
    assert_eq!(targets[0]["objectId"], emulator.users()[0].0.to_string());
    assert_eq!(targets[0]["email"], emulator.users()[0].1.as_str());
    assert_eq!(targets[4]["objectId"], Value::Null, "still being delivered");
    assert!(targets[4]["email"].is_string());
}
