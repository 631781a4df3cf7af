//! HTTP around the service: the token, lengths, the headers that all answers carry, and latency.

use std::{
    convert::Infallible,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::{request::Parts, uri::Authority},
};
use uuid::Builder;

use super::{
    counters::count,
    login,
    reply::{Payload, Reply, Trace},
    route,
    seed::{self, Kind},
    service::{Call, Service},
    tokens::Distrust,
    wall_clock,
};

/// Longest request body in bytes, far above 20 parts (assumed).
const LONGEST: usize = 4 << 20;

/// Names the gateway that answered, in the form seen on Graph.
const DIAGNOSTIC: &str = concat!(
    r#"{"ServerInfo":{"DataCenter":"Local","Slice":"E","Ring":"1","#,
    r#""ScaleUnit":"000","RoleInstance":"EMULATOR"}}"#
);

/// Graph's challenge (observed as a claims challenge, which adds an error and claims).
const CHALLENGE: &str = concat!(
    r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", "#,
    r#"client_id="00000003-0000-0000-c000-000000000000""#
);

/// The service with what HTTP needs beside it.
#[derive(Debug)]
pub(super) struct Front {
    pub service: Arc<Service>,
    /// Number of the next request; all that is random about a request follows from it and the seed.
    serial: AtomicU64,
    in_flight: AtomicU64,
}

impl Front {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, serial: AtomicU64::new(0), in_flight: AtomicU64::new(0) }
    }
}

/// Counts one request as under way until it is answered or given up.
struct InFlight(Arc<Front>);

impl InFlight {
    fn new(front: &Arc<Front>) -> Self {
        let under_way = front.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        front.service.tally.in_flight_peak.fetch_max(under_way, Ordering::Relaxed);
        Self(Arc::clone(front))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Everything goes through here, since the path decides only after version and token.
pub(super) async fn answer(
    front: Arc<Front>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let login = login::place(request.uri().path()).is_some();
    // Signing in is no business of Graph's: it is neither counted with it nor as slow.
    let _under_way = (!login).then(|| InFlight::new(&front));
    let service = &front.service;
    if !login {
        count(&service.tally.http_requests);
    }
    let serial = front.serial.fetch_add(1, Ordering::Relaxed);
    let mut random = seed::random(service.settings.seed, Kind::Call, serial);
    let latency = service.settings.latency.draw(&mut random);
    let request_id = Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid().to_string();
    let (parts, body) = request.into_parts();
    if parts.version == Version::HTTP_2 && !login {
        count(&service.tally.http2_requests);
    }
    let wall = wall_clock::now(service.settings.clock_skew);
    let trace = Trace {
        client_request_id: text(&parts.headers, "client-request-id").unwrap_or(&request_id).to_owned(),
        date: wall_clock::stamp(wall),
        request_id,
    };
    let body = Limited::new(body, LONGEST).collect().await;
    if let Some((tenant, place)) = login::place(parts.uri.path()) {
        let payload = body.map(|body| body.to_bytes()).unwrap_or_default();
        let (base, method) = (base(service, &parts), &parts.method);
        let call =
            login::Call { tenant, place, method, payload: &payload, base: &base, now: wall, trace: &trace };
        return Ok(login_response(login::answer(service, &call), &trace, wall));
    }
    let reply = match body {
        Ok(body) => judge(service, &parts, &body.to_bytes(), &trace, &mut random, wall),
        Err(_) => Reply::error(413, "RequestEntityTooLarge", "The request is too large.", &trace),
    };
    // The work is done by now: who gives up waiting cannot know it.
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    Ok(response(reply, &trace, wall))
}

/// What comes before the operation: length, version and token.
fn judge(
    service: &Service,
    parts: &Parts,
    payload: &[u8],
    trace: &Trace,
    random: &mut fastrand::Rng,
    wall: SystemTime,
) -> Reply {
    let headers = &parts.headers;
    // HTTP/2 frames every body, so that its end is known without a header.
    let measured = parts.version == Version::HTTP_2
        || headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    if service.settings.require_length && parts.method == Method::POST && !measured {
        return Reply::error(411, "LengthRequired", "A Content-Length header is required.", trace);
    }
    let token = text(headers, "authorization").and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    if let Some(Distrust { message, claims }) = distrust(service, token, wall) {
        count(&service.tally.unauthorized);
        let challenge = match claims {
            None => CHALLENGE.to_owned(),
            Some(claims) => format!(
                "{CHALLENGE}, errorDescription=\"{message}\", error=\"insufficient_claims\", claims=\"{claims}\""
            ),
        };
        return Reply::error(401, "InvalidAuthenticationToken", message, trace)
            .with("WWW-Authenticate", challenge);
    }
    // Observed: microsoftgraph/msgraph-sample-blazor-clientside#94.
    let Some((version, rest)) = route::version(parts.uri.path()) else {
        return Reply::bad_request("Invalid version.", trace);
    };
    let query = parts.uri.query();
    let target = query.map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
    let base = base(service, parts);
    let call = Call {
        version,
        method: parts.method.as_str(),
        target: &target,
        has_body: !payload.is_empty(),
        base: &base,
        now: service.now(),
    };
    let reply = if parts.method == Method::POST && rest == "$batch" {
        service.batch(call, payload, trace, random)
    } else {
        service.one(call, trace)
    };
    if reply.status == 429 {
        count(&service.tally.throttled_requests);
    }
    reply
}

/// Scheme and host by which the caller reached the emulator.
fn base(service: &Service, parts: &Parts) -> String {
    // HTTP/2 names the host in the request line, HTTP/1.1 in a header.
    let named = parts.uri.authority().map(Authority::as_str);
    let host = named.or_else(|| text(&parts.headers, "host"));
    let scheme = if service.settings.tls { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// Why a token is not accepted. The text for none was seen on Graph.
fn distrust(service: &Service, token: Option<&str>, now: SystemTime) -> Option<Distrust> {
    let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) else {
        return Some(Distrust::plain("Access token is empty."));
    };
    let fixed = service.token.read().unwrap_or_else(PoisonError::into_inner);
    if token == *fixed { None } else { service.tokens.distrust(token, now) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Adds the headers that identityGovernance answers were seen to carry.
fn response(reply: Reply, trace: &Trace, wall: SystemTime) -> Response<Full<Bytes>> {
    let (kind, body) = match reply.payload {
        Payload::Empty => (None, Vec::new()),
        Payload::Json(body) => (Some("application/json"), serde_json::to_vec(&body).unwrap_or_default()),
        Payload::Written(body) => (Some("application/json"), body),
        Payload::Text(body) => (Some("text/plain"), body.into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in [
        ("vary", "Accept-Encoding"),
        ("strict-transport-security", "max-age=31536000"),
        ("odata-version", "4.0"),
        ("x-ms-ags-diagnostic", DIAGNOSTIC),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let mut add = |name: &'static str, value: &str| {
        // Names come in Graph's spelling; HTTP compares them without case.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    add("request-id", &trace.request_id);
    add("client-request-id", &trace.client_request_id);
    add("date", &httpdate::fmt_http_date(wall));
    for (name, value) in &reply.headers {
        add(name, value);
    }
    response
}

/// The same for the sign-in endpoint, whose answers are never to be kept.
fn login_response(reply: Reply, trace: &Trace, wall: SystemTime) -> Response<Full<Bytes>> {
    let mut response = response(reply.with("x-ms-request-id", &trace.request_id), trace, wall);
    let headers = response.headers_mut();
    for name in ["odata-version", "x-ms-ags-diagnostic", "request-id", "vary"] {
        headers.remove(name);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
