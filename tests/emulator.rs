//! The emulator over real HTTP: what a client sees on the wire.
#![cfg(feature = "emulator")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows these in tests, which does not reach the helpers between them"
)]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use entra_reprocess::emulator::{
    AfterReprocess, AssignmentState, Emulator, Latency, Quota, QuotaModel, Refusal, RetryAfter, Settings,
};
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

/// Both versions with their names of the assignment collection.
const VERSIONS: [(&str, &str); 2] = [("v1.0", "assignments"), ("beta", "accessPackageAssignments")];

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// A started emulator with a client.
struct Graph {
    emulator: Emulator,
    client: Client,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// Status and code of an error, whose body is checked for the form that all errors have.
    fn error(&self) -> (u16, String) {
        let error = &self.json()["error"];
        assert_eq!(self.header("content-type"), "application/json");
        assert!(error["message"].is_string());
        assert_eq!(error["innerError"]["request-id"], self.header("request-id"));
        assert_eq!(error["innerError"]["client-request-id"], self.header("client-request-id"));
        assert_eq!(error["innerError"]["date"].as_str().unwrap().len(), 19);
        (self.status, error["code"].as_str().unwrap().to_owned())
    }
}

impl Graph {
    fn start(settings: Settings) -> Self {
        let emulator = Emulator::start(settings).unwrap();
        Self { emulator, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.emulator.token())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.url())
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(self.with_token(request).send().await.unwrap()).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.send(self.client.post(self.url(path)).header("Content-Length", "0")).await
    }

    async fn get(&self, path: &str) -> Answer {
        let path = if path.starts_with("http") { path.to_owned() } else { self.url(path) };
        self.send(self.client.get(path)).await
    }

    async fn batch(&self, version: &str, parts: &[Value]) -> Answer {
        let body = json!({ "requests": parts }).to_string();
        let url = self.url(&format!("/{version}/$batch"));
        self.send(self.client.post(url).header("Content-Type", "application/json").body(body)).await
    }

    /// The parts of a batch that was answered with 200, by id.
    async fn parts(&self, version: &str, parts: &[Value]) -> HashMap<String, Value> {
        let answer = self.batch(version, parts).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        by_id(&answer)
    }

    fn executed(&self) -> u64 {
        self.emulator.executions().values().sum()
    }
}

fn by_id(answer: &Answer) -> HashMap<String, Value> {
    let responses = answer.json()["responses"].as_array().unwrap().clone();
    responses.into_iter().map(|part| (part["id"].as_str().unwrap().to_owned(), part)).collect()
}

fn path(version: &str, collection: &str, id: impl std::fmt::Display) -> String {
    format!("/{version}/identityGovernance/entitlementManagement/{collection}/{id}/reprocess")
}

fn part(id: impl ToString, collection: &str, assignment: impl std::fmt::Display) -> Value {
    json!({
        "id": id.to_string(),
        "method": "POST",
        "url": format!("/identityGovernance/entitlementManagement/{collection}/{assignment}/reprocess"),
        "headers": { "Content-Type": "application/json" },
        "body": {},
    })
}

#[tokio::test]
async fn reprocess_is_accepted_without_a_body_and_counted() {
    let graph = Graph::start(Settings::default());
    let ids = graph.emulator.ids();
    for (version, collection) in VERSIONS {
        assert_eq!(graph.post(&path(version, collection, ids[0])).await.status, 202);
        let upper = path(version, collection, ids[1].to_string().to_uppercase());
        let qualified = upper.replace("/reprocess", "/microsoft.graph.reprocess");
        let answer = graph.post(&qualified).await;
        assert_eq!((answer.status, answer.text.as_str()), (202, ""));
        for name in ["request-id", "client-request-id", "x-ms-ags-diagnostic", "date"] {
            assert_ne!(answer.header(name), "", "{name}");
        }
        assert_eq!(answer.header("request-id"), answer.header("client-request-id"));
        assert_eq!(answer.header("location"), "");
    }
    assert_eq!(graph.emulator.executions(), HashMap::from([(ids[0], 2), (ids[1], 2)]));
    assert_eq!(graph.emulator.counters().executed, 4);
    assert_eq!(graph.emulator.counters().http_requests, 4);
}

#[tokio::test]
async fn the_client_request_id_is_echoed() {
    let graph = Graph::start(Settings::default());
    let own = Uuid::new_v4().to_string();
    let url = graph.url(&path("v1.0", "assignments", UNKNOWN));
    let request = graph.client.post(url).header("client-request-id", &own).header("Content-Length", "0");
    let answer = graph.send(request).await;
    assert_eq!(answer.header("client-request-id"), own);
    assert_ne!(answer.header("request-id"), own);
    assert_eq!(answer.error(), (404, "ResourceNotFound".into()));
}

#[tokio::test]
async fn refusals_are_as_set() {
    let states = vec![(AssignmentState::Expired, 1)];
    let default = Graph::start(Settings { states: states.clone(), ..Settings::default() });
    let other = Graph::start(Settings {
        states,
        unknown_id: Refusal::forbidden(),
        invalid_id: Refusal::new(422, "", "odd"),
        wrong_state: Refusal::new(409, "Conflict", "busy"),
        ..Settings::default()
    });
    for (version, collection) in VERSIONS {
        let expired = default.emulator.ids()[99].to_string();
        for (id, first, second) in [
            (UNKNOWN, (404, "ResourceNotFound"), (403, "UnAuthorized")),
            ("17", (400, "BadRequest"), (422, "")),
            ("%7B00000000-0000-4000-8000-000000000000%7D", (400, "BadRequest"), (422, "")),
            (&expired, (400, "InvalidAssignmentState"), (409, "Conflict")),
        ] {
            for (graph, (status, code)) in [(&default, first), (&other, second)] {
                let answer = graph.post(&path(version, collection, id)).await;
                assert_eq!(answer.error(), (status, code.to_owned()), "{version} {id}");
                let part = &graph.parts(version, &[part(1, collection, id)]).await["1"];
                assert_eq!(part["status"], status);
                assert_eq!(part["body"]["error"]["code"], code);
                assert_eq!(part["headers"]["Content-Type"], "application/json");
            }
        }
    }
    assert_eq!(default.executed() + other.executed(), 0);
}

#[tokio::test]
async fn wrong_routes_are_told_apart_from_missing_assignments() {
    let graph = Graph::start(Settings::default());
    let id = graph.emulator.ids()[0];
    for (version, collection) in [("v1.0", "accessPackageAssignments"), ("beta", "assignments")] {
        let answer = graph.post(&path(version, collection, id)).await;
        assert_eq!(answer.error(), (404, String::new()));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            message.starts_with("No HTTP resource was found that matches the request URI 'http"),
            "{message}"
        );
    }
    assert_eq!(graph.post("/v1.0/users").await.error(), (400, "BadRequest".into()));
    assert_eq!(graph.post("/v2.0/$batch").await.error(), (400, "BadRequest".into()));
    assert_eq!(graph.executed(), 0);
}

#[tokio::test]
async fn tokens_are_checked_before_anything_else() {
    let graph = Graph::start(Settings { token: "first".into(), ..Settings::default() });
    let path = path("v1.0", "assignments", graph.emulator.ids()[0]);
    for path in [path.as_str(), "/beta/$batch", "/nowhere"] {
        for token in [None, Some("wrong")] {
            let mut request = graph.client.post(graph.url(path)).header("Content-Length", "0");
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.error(), (401, "InvalidAuthenticationToken".into()));
            assert!(answer.header("www-authenticate").starts_with("Bearer realm=\"\", authorization_uri="));
        }
    }
    assert_eq!(graph.emulator.counters().unauthorized, 6);
    assert_eq!(graph.post(&path).await.status, 202);
    let old = graph.emulator.token();
    graph.emulator.set_token("second");
    let late = graph.client.post(graph.url(&path)).header("Content-Length", "0").bearer_auth(old);
    assert_eq!(late.send().await.unwrap().status(), 401);
    assert_eq!(graph.post(&path).await.status, 202);
}

#[tokio::test]
async fn a_caller_without_rights_is_refused_everywhere() {
    let graph = Graph::start(Settings { forbid: true, ..Settings::default() });
    for (version, collection) in VERSIONS {
        let answer = graph.post(&path(version, collection, graph.emulator.ids()[0])).await;
        assert_eq!(answer.error(), (403, "UnAuthorized".into()));
        let part = &graph.parts(version, &[part(1, collection, graph.emulator.ids()[0])]).await["1"];
        assert_eq!(part["status"], 403);
    }
    assert_eq!(graph.executed(), 0);
}

/// Sends raw bytes and returns all that comes back until the server closes.
fn raw(graph: &Graph, request: &str) -> String {
    let mut socket = TcpStream::connect(graph.emulator.url().trim_start_matches("http://")).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_post_needs_a_length() {
    let graph = Graph::start(Settings::default());
    let path = path("beta", "accessPackageAssignments", graph.emulator.ids()[0]);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
        graph.emulator.token()
    );
    for (more, expected) in [
        ("\r\n", "HTTP/1.1 411"),
        ("Content-Length: 0\r\n\r\n", "HTTP/1.1 202"),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 202"),
    ] {
        let answer = raw(&graph, &format!("{head}{more}"));
        assert!(answer.starts_with(expected), "{more:?}: {answer}");
    }
    let lax = Graph::start(Settings { require_length: false, ..Settings::default() });
    assert!(raw(&lax, &format!("{head}\r\n")).starts_with("HTTP/1.1 202"));
}

#[tokio::test]
async fn a_body_can_be_refused() {
    let graph = Graph::start(Settings { accept_body: false, ..Settings::default() });
    let id = graph.emulator.ids()[0];
    let part = &graph.parts("v1.0", &[part(1, "assignments", id)]).await["1"];
    assert_eq!((&part["status"], &part["body"]["error"]["code"]), (&json!(400), &json!("BadRequest")));
    assert_eq!(graph.post(&path("v1.0", "assignments", id)).await.status, 202);
}

#[tokio::test]
async fn a_full_batch_runs_and_is_answered_in_another_order() {
    let graph = Graph::start(Settings::default());
    for (version, collection) in VERSIONS {
        let ids = &graph.emulator.ids()[..20];
        let parts: Vec<_> = ids.iter().enumerate().map(|(n, id)| part(n, collection, id)).collect();
        let answer = graph.batch(version, &parts).await;
        assert_eq!(answer.status, 200);
        let responses = answer.json()["responses"].as_array().unwrap().clone();
        let order: Vec<_> = responses.iter().map(|part| part["id"].as_str().unwrap()).collect();
        let sent: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        assert_ne!(order, sent);
        for part in &responses {
            assert_eq!(part["status"], 202);
            assert!(part.get("body").is_none(), "{part}");
        }
    }
    assert!(graph.emulator.executions().values().all(|count| *count == 2));
    assert_eq!(graph.executed(), 40);
    let counters = graph.emulator.counters();
    assert_eq!((counters.batches, counters.parts, counters.http_requests), (2, 40, 2));
}

#[tokio::test]
async fn malformed_batches_run_nothing() {
    let graph = Graph::start(Settings::default());
    let good = part(1, "assignments", graph.emulator.ids()[0]);
    let mut bare = part(2, "assignments", graph.emulator.ids()[1]);
    bare.as_object_mut().unwrap().remove("body");
    let many: Vec<_> = (0..21).map(|n| part(n, "assignments", graph.emulator.ids()[n])).collect();
    let mut twin = good.clone();
    twin["id"] = json!("1");
    for (parts, message) in [
        (vec![], "Invalid batch payload format."),
        (vec![good.clone(), twin], "Request Id 1 has to be unique in a batch."),
        (vec![good.clone(), bare], "Write request id : 2 does not contain Content-Type header or body."),
        (many, "Number of requests inside batch exceeds the limit."),
    ] {
        let answer = graph.batch("v1.0", &parts).await;
        assert_eq!(answer.error(), (400, "BadRequest".into()));
        assert_eq!(answer.json()["error"]["message"], message);
    }
    let mut absolute = good.clone();
    absolute["url"] = json!(format!("https://graph.microsoft.com/v1.0{}", good["url"].as_str().unwrap()));
    assert_eq!(graph.batch("v1.0", &[absolute]).await.status, 400);
    assert_eq!(graph.executed(), 0);
    assert_eq!((graph.emulator.counters().batches_refused, graph.emulator.counters().parts), (5, 0));

    let mut versioned = good.clone();
    versioned["url"] = json!(format!("/v1.0{}", good["url"].as_str().unwrap()));
    let part = &graph.parts("v1.0", &[versioned]).await["1"];
    assert_eq!(part["status"], 400);
    assert_eq!(part["body"]["error"]["message"], "Resource not found for the segment 'v1.0'.");
}

#[tokio::test]
async fn parts_that_depend_on_a_failed_one_are_not_run() {
    let graph = Graph::start(Settings::default());
    let ids = graph.emulator.ids();
    let after = |mut part: Value, other: &str| {
        part["dependsOn"] = json!([other]);
        part
    };
    let parts = [
        after(part("c", "assignments", ids[2]), "b"),
        after(part("b", "assignments", ids[1]), "a"),
        part("a", "assignments", UNKNOWN),
        after(part("e", "assignments", ids[4]), "d"),
        part("d", "assignments", ids[3]),
    ];
    let answers = graph.parts("v1.0", &parts).await;
    let status = |id: &str| answers[id]["status"].as_u64().unwrap();
    assert_eq!(["a", "b", "c", "d", "e"].map(status), [404, 424, 424, 202, 202]);
    assert_eq!(graph.executed(), 2);
}

/// A quota that grants `calls` and then nothing for an hour.
fn hourly(calls: u32) -> Quota {
    Quota { wait: Some(Duration::from_millis(2128)), ..Quota::bucket(calls, Duration::from_secs(3600)) }
}

#[tokio::test]
async fn throttled_parts_are_told_and_not_executed() {
    for (version, collection) in VERSIONS {
        let graph = Graph::start(Settings { write_quota: Some(hourly(3)), ..Settings::default() });
        let ids = graph.emulator.ids();
        let parts: Vec<_> = (0..8).map(|n| part(n, collection, ids[n])).collect();
        let answers = graph.parts(version, &parts).await;
        let throttled: Vec<_> = answers.values().filter(|part| part["status"] == 429).collect();
        assert_eq!((throttled.len(), graph.executed()), (5, 3));
        for part in throttled {
            assert_eq!(part["headers"]["Retry-After"], "3");
            assert_eq!(part["body"]["error"]["code"], "TooManyRequests");
            assert_eq!(part["body"]["error"]["innerError"]["status"], "429");
        }
        let plain = graph.post(&path(version, collection, ids[0])).await;
        assert_eq!(plain.error(), (429, "TooManyRequests".into()));
        assert_eq!(plain.header("retry-after"), "3");
        let counters = graph.emulator.counters();
        assert_eq!((counters.executed, counters.throttled_parts, counters.throttled_requests), (3, 5, 1));
    }
}

#[tokio::test]
async fn calls_before_the_end_of_a_wait_are_counted() {
    for (throttle_batches, expected) in [(false, 2), (true, 1)] {
        let quota = Some(Quota::bucket(1, Duration::from_secs(3600)));
        let graph = Graph::start(Settings { write_quota: quota, throttle_batches, ..Settings::default() });
        let ids = graph.emulator.ids();
        let parts = [part(1, "assignments", ids[0]), part(2, "assignments", ids[1])];
        graph.parts("v1.0", &parts).await;
        assert_eq!(graph.emulator.counters().writes_during_pause, 0);
        graph.batch("v1.0", &parts).await;
        assert_eq!(graph.emulator.counters().writes_during_pause, expected);
    }
}

#[tokio::test]
async fn retry_after_has_the_form_that_is_set() {
    for (form, expected) in
        [(RetryAfter::Seconds, "3"), (RetryAfter::Decimal, "2.128"), (RetryAfter::Absent, "")]
    {
        let settings = Settings { write_quota: Some(hourly(1)), retry_after: form, ..Settings::default() };
        let graph = Graph::start(settings);
        let path = path("v1.0", "assignments", graph.emulator.ids()[0]);
        graph.post(&path).await;
        assert_eq!(graph.post(&path).await.header("retry-after"), expected, "{form:?}");
    }
}

#[tokio::test]
async fn an_http_date_is_relative_to_the_clock_of_the_server() {
    let settings = Settings {
        write_quota: Some(hourly(1)),
        retry_after: RetryAfter::HttpDate,
        clock_skew: 86_400,
        ..Settings::default()
    };
    let graph = Graph::start(settings);
    let path = path("v1.0", "assignments", graph.emulator.ids()[0]);
    graph.post(&path).await;
    let answer = graph.post(&path).await;
    let date = |name| httpdate::parse_http_date(answer.header(name)).unwrap();
    let wait = date("retry-after").duration_since(date("date")).unwrap();
    assert!(wait >= Duration::from_secs(2) && wait <= Duration::from_secs(60), "{wait:?}");
    let ahead = date("date").duration_since(std::time::SystemTime::now()).unwrap();
    assert!(ahead > Duration::from_secs(80_000), "{ahead:?}");
}

#[tokio::test]
async fn a_whole_batch_is_throttled_only_when_set() {
    let settings = Settings {
        write_quota: Some(hourly(1)),
        throttle_batches: true,
        limit_percentage: true,
        throttle_scope: Some("Tenant_Application/Write/a/t".into()),
        throttle_information: Some("WriteLimitExceeded".into()),
        lowercase_part_headers: true,
        ..Settings::default()
    };
    let graph = Graph::start(settings);
    let ids = graph.emulator.ids();
    let parts = [part(1, "assignments", ids[0]), part(2, "assignments", ids[1])];
    let first = graph.parts("v1.0", &parts).await;
    assert_eq!(first["1"]["headers"]["x-ms-throttle-limit-percentage"], "1.00");
    assert_eq!(first["2"]["headers"]["retry-after"], "3");
    let second = graph.batch("v1.0", &parts).await;
    assert_eq!(second.error(), (429, "TooManyRequests".into()));
    assert_eq!(second.header("retry-after"), "3");
    assert_eq!(second.header("x-ms-throttle-scope"), "Tenant_Application/Write/a/t");
    assert_eq!(second.header("x-ms-throttle-information"), "WriteLimitExceeded");
    assert_eq!(graph.emulator.counters().parts, 2);
}

#[tokio::test]
async fn a_quota_refills() {
    for model in [QuotaModel::Bucket { burst: 1 }, QuotaModel::Window] {
        let quota = Quota { model, ..Quota::bucket(1, Duration::from_millis(50)) };
        let graph = Graph::start(Settings { write_quota: Some(quota), ..Settings::default() });
        let path = path("v1.0", "assignments", graph.emulator.ids()[0]);
        while graph.executed() < 3 {
            graph.post(&path).await;
        }
    }
}

#[tokio::test]
async fn after_a_reprocess_the_state_is_as_set() {
    let ends = AssignmentState::PartiallyDelivered;
    let after_reprocess = AfterReprocess::Delivering { lasts: Duration::ZERO, ends };
    let graph = Graph::start(Settings { after_reprocess, ..Settings::default() });
    let (id, request) = (graph.emulator.ids()[0], graph.emulator.request_ids()[0]);
    assert_eq!(graph.emulator.state(id), Some(AssignmentState::Delivered));
    let retry = path("v1.0", "assignmentRequests", request);
    assert_eq!(graph.post(&retry).await.error(), (400, "InvalidAssignmentState".into()));
    assert_eq!(graph.post(&path("v1.0", "assignments", id)).await.status, 202);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(graph.emulator.state(id), Some(ends));
    assert_eq!(graph.post(&path("v1.0", "assignments", id)).await.error().0, 400);
    let nested = format!("accessPackageAssignments/{id}/accessPackageAssignmentRequests");
    let other =
        format!("accessPackageAssignments/{}/accessPackageAssignmentRequests", graph.emulator.ids()[1]);
    for (path, expected) in [
        (retry, 202),
        (path("beta", "assignmentRequests", request), 202),
        (path("beta", "accessPackageAssignmentRequests", request), 202),
        (path("beta", &nested, request), 202),
        (path("beta", &other, request), 404),
        (path("v1.0", "assignmentRequests", id), 404),
    ] {
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(graph.post(&path).await.status, expected, "{path}");
    }
    assert_eq!(graph.emulator.request_executions(), HashMap::from([(request, 4)]));
    assert_eq!(graph.executed(), 1);
}

/// A collection of entitlement management, with a query whose options are encoded.
fn list(version: &str, collection: &str, options: &[(&str, &str)]) -> String {
    let base = format!("http://x/{version}/identityGovernance/entitlementManagement/{collection}");
    let url = reqwest::Url::parse_with_params(&base, options).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}

/// All entities of a list, page by page, and how many pages there were.
async fn all(graph: &Graph, first: &str) -> (Vec<Value>, usize) {
    let (mut found, mut pages, mut next) = (Vec::new(), 0, Some(first.to_owned()));
    while let Some(path) = next {
        let answer = graph.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let body = answer.json();
        found.extend(body["value"].as_array().unwrap().iter().cloned());
        next = body["@odata.nextLink"].as_str().map(str::to_owned);
        pages += 1;
    }
    (found, pages)
}

/// Names of the properties of a schema in the OpenAPI extract; its layout is fixed, so indentation is enough.
fn published(version: &str, schema: &str) -> Vec<String> {
    let file = format!("{}/tests/data/openapi-{version}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let head = format!("    microsoft.graph.{schema}:");
    let block = text.lines().skip_while(|line| *line != head).skip(1);
    let block = block.take_while(|line| line.starts_with("     "));
    let indent = |line: &str| line.len() - line.trim_start().len();
    let flat = !text.contains(&format!("{head}\n      allOf:"));
    let names = block.filter(|line| indent(line) == if flat { 8 } else { 10 });
    let mut names: Vec<_> =
        names.filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned()).collect();
    names.push("id".into());
    names.retain(|name| !name.contains("@odata"));
    names.sort();
    names
}

fn keys(body: &Value) -> Vec<String> {
    let mut keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    keys.retain(|key| !key.contains("@odata"));
    keys.sort();
    keys
}

#[tokio::test]
async fn bodies_have_the_properties_of_the_published_schemas() {
    let graph = Graph::start(Settings::default());
    for (version, collection) in VERSIONS {
        let body = graph.get(&list(version, collection, &[("$expand", "*")])).await.json();
        let one = &body["value"][0];
        assert_eq!(keys(one), published(version, "accessPackageAssignment"));
        let policy = if version == "beta" { "accessPackageAssignmentPolicy" } else { "assignmentPolicy" };
        for (name, schema) in [
            ("target", "accessPackageSubject"),
            ("accessPackage", "accessPackage"),
            (policy, "accessPackageAssignmentPolicy"),
        ] {
            assert_eq!(keys(&one[name]), published(version, schema), "{version} {name}");
        }
        let mut schedule = published(
            version,
            if version == "beta" { "requestSchedule" } else { "entitlementManagementSchedule" },
        );
        schedule.retain(|name| name != "id");
        assert_eq!(keys(&one["schedule"]), schedule);
    }
}

#[tokio::test]
async fn each_version_spells_states_in_its_own_way() {
    let graph = Graph::start(Settings::default());
    let id = graph.emulator.ids()[7];
    let v1 = graph.get(&list("v1.0", &format!("assignments/{id}"), &[])).await.json();
    assert_eq!(
        (&v1["id"], &v1["state"], &v1["status"]),
        (&json!(id), &json!("delivered"), &json!("Delivered"))
    );
    assert_eq!(v1["schedule"]["expiration"]["type"], "noExpiration");
    let context = v1["@odata.context"].as_str().unwrap();
    let expected = "/v1.0/$metadata#identityGovernance/entitlementManagement/assignments/$entity";
    assert_eq!(context, graph.url(expected));
    let beta = graph.get(&list("beta", &format!("accessPackageAssignments/{id}"), &[])).await.json();
    assert_eq!((&beta["id"], &beta["assignmentState"]), (&json!(id), &json!("Delivered")));
    assert!(v1.get("target").is_none() && beta.get("target").is_none());
}

#[tokio::test]
async fn lists_are_paged_until_the_link_is_gone() {
    for (empty_first_page, expected_pages) in [(false, 3), (true, 4)] {
        let settings = Settings { assignments: 250, empty_first_page, ..Settings::default() };
        let graph = Graph::start(settings);
        for (version, collection) in VERSIONS {
            let (found, pages) = all(&graph, &list(version, collection, &[("$select", "id")])).await;
            let ids: Vec<_> = found.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
            let expected: Vec<_> = graph.emulator.ids().iter().map(Uuid::to_string).collect();
            assert_eq!((ids, pages), (expected, expected_pages));
            assert!(found.iter().all(|one| keys(one) == ["id"]));
        }
    }
    let graph = Graph::start(Settings { page_size: 10, ..Settings::default() });
    let exact = list("v1.0", "assignments", &[("$top", "5"), ("$count", "true")]);
    let first = graph.get(&exact).await.json();
    assert_eq!((first["value"].as_array().unwrap().len(), &first["@odata.count"]), (5, &json!(100)));
    let next = first["@odata.nextLink"].as_str().unwrap();
    assert!(next.starts_with(&graph.url("/v1.0/identityGovernance/entitlementManagement/assignments?")));
    assert!(graph.get(next).await.json().get("@odata.count").is_none());
    assert_eq!(all(&graph, &list("v1.0", "assignments", &[("$top", "50")])).await.1, 10, "clamped");
}

#[tokio::test]
async fn next_links_can_lead_elsewhere() {
    let next_link_base = Some("https://elsewhere.example".into());
    let graph = Graph::start(Settings { next_link_base, ..Settings { page_size: 1, ..Settings::default() } });
    let page = graph.get(&list("v1.0", "accessPackages", &[])).await.json();
    assert!(page["@odata.nextLink"].as_str().unwrap().starts_with("https://elsewhere.example/v1.0/"));
}

#[tokio::test]
async fn lists_are_filtered() {
    let states = vec![(AssignmentState::Expired, 10), (AssignmentState::Delivering, 5)];
    let graph = Graph::start(Settings { states, page_size: 3, ..Settings::default() });
    for (version, collection) in VERSIONS {
        let beta = version == "beta";
        let expand = [("$expand", "*")];
        let everything = all(&graph, &list(version, collection, &expand)).await.0;
        assert_eq!(everything.len(), 100, "expired ones are included");
        let state = if beta { "assignmentState" } else { "state" };
        let policy = if beta { "accessPackageAssignmentPolicy" } else { "assignmentPolicy" };
        let one = &everything[0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (package, user) = (text(&one["accessPackage"]["id"]), text(&one["target"]["objectId"]));
        let policy_id = text(&one[policy]["id"]);
        let of = |test: &dyn Fn(&Value) -> bool| everything.iter().filter(|one| test(one)).count();
        let in_package = of(&|one| one["accessPackage"]["id"] == package.as_str());
        for (filter, expected) in [
            (format!("{state} eq 'Delivered'"), 85),
            (format!("{state} eq 'delivered'"), 85),
            (format!("{state} eq 'Expired'"), 10),
            (format!("({state} eq 'Expired' or {state} eq 'Delivering')"), 15),
            (format!("accessPackage/id eq '{package}'"), in_package),
            (format!("accessPackage/id eq '{package}' and target/objectid eq '{user}'"), 1),
            (format!("target/objectId eq '{user}'"), 4),
            (format!("{policy}/id eq '{policy_id}'"), of(&|one| one[policy]["id"] == policy_id.as_str())),
            ("accesspackage/displayname eq 'Engineer''s Tools'".into(), 25),
            (format!("accessPackage/id eq '{UNKNOWN}'"), 0),
        ] {
            let found = all(&graph, &list(version, collection, &[("$filter", &filter)])).await.0.len();
            assert_eq!(found, expected, "{version} {filter}");
            let count = list(version, &format!("{collection}/$count"), &[("$filter", &filter)]);
            let count = graph.get(&count).await;
            assert_eq!(count.header("content-type"), "text/plain");
            assert_eq!(count.text, expected.to_string());
        }
    }
}

#[tokio::test]
async fn what_a_list_does_not_know_is_refused() {
    let graph = Graph::start(Settings::default());
    for (name, value) in [
        ("$filter", "assignmentState eq 'Delivered'"),
        ("$filter", "state eq"),
        ("$filter", "state gt 'a'"),
        ("$orderby", "id"),
        ("$search", "x"),
        ("$select", "colour"),
        ("$expand", "accessPackageAssignmentPolicy"),
        ("$skiptoken", "abc"),
        ("$skiptoken", "0000000000000000"),
    ] {
        let answer = graph.get(&list("v1.0", "assignments", &[(name, value)])).await;
        assert_eq!(answer.error(), (400, "BadRequest".into()), "{name}={value}");
    }
    for (id, expected) in [(UNKNOWN, 404), ("17", 400)] {
        let one = graph.get(&list("v1.0", &format!("assignments/{id}"), &[])).await;
        assert_eq!(one.error().0, expected);
    }
    assert_eq!(graph.emulator.counters().reads, 0);
}

#[tokio::test]
async fn access_packages_are_found_by_name() {
    let graph = Graph::start(Settings { access_packages: 10, ..Settings::default() });
    for version in ["v1.0", "beta"] {
        for (filter, expected) in [
            ("displayName eq 'Engineer''s Tools'", vec!["Engineer's Tools"]),
            ("contains(displayName,'engineer''s')", vec!["Engineer's Tools", "Engineer's Tools 2"]),
            ("displayName eq 'HR & Payroll'", vec!["HR & Payroll"]),
            ("displayName eq 'Ärzte 100 %'", vec!["Ärzte 100 %"]),
            ("displayName eq 'none'", vec![]),
        ] {
            let found = all(&graph, &list(version, "accessPackages", &[("$filter", filter)])).await.0;
            let names: Vec<_> = found.iter().map(|one| one["displayName"].as_str().unwrap()).collect();
            assert_eq!(names, expected, "{filter}");
            for one in &found {
                assert_eq!(keys(one), published(version, "accessPackage"));
                let id = one["id"].as_str().unwrap();
                let again = graph.get(&list(version, &format!("accessPackages/{id}"), &[])).await.json();
                assert_eq!(again["displayName"], one["displayName"]);
            }
        }
    }
}

#[tokio::test]
async fn parts_can_read() {
    let quota = hourly(2);
    let graph = Graph::start(Settings { read_quota: Some(quota), shuffle: false, ..Settings::default() });
    let id = graph.emulator.ids()[0];
    let read = |n: usize, url: String| json!({ "id": n.to_string(), "method": "GET", "url": url });
    let base = "identityGovernance/entitlementManagement/accessPackageAssignments";
    let filter = "$filter=assignmentState eq 'Delivered'&$select=id";
    let parts = [
        read(1, format!("/{base}/{id}?$select=id,assignmentState")),
        read(2, format!("{base}?{filter}")),
        read(3, format!("/{base}/{id}")),
        part(4, "accessPackageAssignments", id),
    ];
    let answers = graph.parts("beta", &parts).await;
    assert_eq!(answers["1"]["body"]["assignmentState"], "Delivered");
    assert_eq!(answers["2"]["body"]["value"].as_array().unwrap().len(), 100);
    assert_eq!((&answers["3"]["status"], &answers["4"]["status"]), (&json!(429), &json!(202)));
    assert_eq!(graph.emulator.counters().reads, 2);
}

#[tokio::test]
async fn the_seed_decides_ids_request_ids_and_order() {
    let mut seen = Vec::new();
    for seed in [1, 1, 2] {
        let graph = Graph::start(Settings { seed, ..Settings::default() });
        let ids = graph.emulator.ids();
        let parts: Vec<_> = (0..20).map(|n| part(n, "assignments", ids[n])).collect();
        let answer = graph.batch("v1.0", &parts).await;
        seen.push((ids, answer.header("request-id").to_owned(), answer.text));
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0].0, seen[2].0);
    assert_ne!(seen[0].1, seen[2].1);
    assert_ne!(seen[0].2, seen[2].2);
}

#[tokio::test]
async fn latency_delays_each_request_but_not_the_others() {
    let latency = Latency::fixed(Duration::from_millis(300));
    let graph = Graph::start(Settings { latency, ..Settings::default() });
    let path = path("v1.0", "assignments", graph.emulator.ids()[0]);
    let started = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let request = graph.with_token(graph.client.post(graph.url(&path)));
            tokio::spawn(request.header("Content-Length", "0").send())
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 202);
    }
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(5), "one after the other would take 6 s");
    assert!(graph.emulator.counters().in_flight_peak > 1);
}

#[tokio::test]
async fn stopping_is_prompt_while_answers_are_pending() {
    let latency = Latency::fixed(Duration::from_secs(3600));
    let graph = Graph::start(Settings { latency, ..Settings::default() });
    let idle = TcpStream::connect(graph.emulator.url().trim_start_matches("http://")).unwrap();
    let id = graph.emulator.ids()[0];
    let request = graph.with_token(graph.client.post(graph.url(&path("v1.0", "assignments", id))));
    let pending = tokio::spawn(request.header("Content-Length", "0").send());
    while graph.executed() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let started = Instant::now();
    graph.emulator.stop();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(pending.await.unwrap().is_err(), "the connection is closed without an answer");
    assert_eq!((&idle).read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(graph.emulator.url().trim_start_matches("http://")).is_err());
    assert_eq!(graph.executed(), 1, "the counts stay readable");
    graph.emulator.stop();
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Emulator::start(Settings::default()).unwrap();
    let port = first.url().rsplit(':').next().unwrap().parse().unwrap();
    assert!(Emulator::start(Settings { port, ..Settings::default() }).is_err());
}
