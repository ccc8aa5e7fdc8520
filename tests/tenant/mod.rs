//! Our own Auth0-like tenant on loopback, as strict as the real one's contract: an unknown field is a 400, a
//! missing scope a 403, a third stream a 409, and a PATCH without `pii_config` loses it.
//!
//! Any test may start one; it records every request, so that a test can say what was sent and what was not.

#![allow(dead_code)]

mod rules;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The client that the tenant knows.
pub const CLIENT_ID: &str = "tenant-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "tenant-client-secret";
/// A token that is good without being fetched, with every scope.
pub const ACCESS_TOKEN: &str = "tenant-access-token";
/// What a client may be granted.
pub const SCOPES: [&str; 4] =
    ["read:log_streams", "create:log_streams", "update:log_streams", "delete:log_streams"];

/// What goes wrong next. Faults wait in line; each meets the first request that it fits.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The next call of the Management API gets this answer and does nothing.
    Answer(u16, Json),
    /// The next call gets 429 with this Retry-After.
    TooMany(u64),
    /// The next create makes the stream, and the connection is cut before the answer.
    CutAfterCreate,
    /// The next create is cut before anything is made.
    CutBeforeCreate,
    /// The next create makes the stream at once and answers so much later.
    SlowCreate(Duration),
    /// The next create waits so long before it is looked at, and then makes the stream.
    LateCreate(Duration),
    /// Every token given so far is worthless: the next call with one gets 401.
    ExpireTokens,
    /// The next token request gets this answer.
    Token(u16, Json),
    /// The next call with this method meets this.
    On(Method, Box<Fault>),
}

/// One request as it came, and the status of its answer (0: cut).
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Json,
    pub status: u16,
}

struct Inner {
    streams: Vec<Json>,
    requests: Vec<Asked>,
    faults: VecDeque<Fault>,
    tokens: Vec<(String, Vec<String>)>,
    scopes: Vec<String>,
    limit: usize,
    redacted: bool,
    next: u64,
}

/// A running tenant; it ends when dropped.
pub struct Tenant {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tenant {
    /// Starts one with no streams, every scope, and room for two.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner {
            streams: Vec::new(),
            requests: Vec::new(),
            faults: VecDeque::new(),
            tokens: Vec::new(),
            scopes: SCOPES.map(str::to_owned).to_vec(),
            limit: 2,
            redacted: false,
            next: 2466,
        }));
        let task = tokio::spawn(accept(listener, inner.clone()));
        Self { address, inner, task }
    }

    /// `base_url`: plain http on loopback, with the last slash.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Every stream of the tenant, as it really is.
    pub fn streams(&self) -> Vec<Json> {
        self.lock().streams.clone()
    }

    /// The streams of type http.
    pub fn http_streams(&self) -> Vec<Json> {
        self.streams().into_iter().filter(|stream| stream["type"] == "http").collect()
    }

    /// Everything that was asked so far, in order.
    pub fn requests(&self) -> Vec<Asked> {
        self.lock().requests.clone()
    }

    /// What was asked of the Management API to change something: `POST /api/v2/log-streams` and so on.
    pub fn writes(&self) -> Vec<Asked> {
        self.requests()
            .into_iter()
            .filter(|r| r.path.starts_with("/api/") && r.method != Method::GET)
            .collect()
    }

    /// How many tokens were fetched.
    pub fn tokens(&self) -> usize {
        self.requests().iter().filter(|r| r.path == "/oauth/token").count()
    }

    /// Forgets what was asked.
    pub fn forget_requests(&self) {
        self.lock().requests.clear();
    }

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// The scopes of tokens from now on.
    pub fn grant(&self, scopes: &[&str]) {
        self.lock().scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    }

    /// How many regular streams there may be.
    pub fn allow(&self, streams: usize) {
        self.lock().limit = streams;
    }

    /// Whether secrets are shown as stars.
    pub fn redact(&self, redacted: bool) {
        self.lock().redacted = redacted;
    }

    /// A stream that somebody else made; gives its id.
    pub fn add(&self, mut stream: Json) -> String {
        let mut inner = self.lock();
        let id = inner.new_id();
        stream["id"] = json!(id);
        inner.streams.push(stream);
        id
    }

    /// What a person does to a stream by hand.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Json)) {
        change(
            self.lock().streams.iter_mut().find(|stream| stream["id"] == id).expect("a stream of this id"),
        );
    }

    /// A stream that a person deletes by hand.
    pub fn remove(&self, id: &str) {
        self.lock().streams.retain(|stream| stream["id"] != id);
    }

    /// Fails where a request carried what Auth0 does not know (its answer was 400).
    pub fn assert_no_strange_request(&self) {
        for asked in self.requests() {
            assert_ne!(asked.status, 400, "{} {} was refused: {}", asked.method, asked.path, asked.text);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// A stream of another type, beside ours: its sink has no endpoint.
pub fn eventbridge() -> Json {
    json!({
        "name": "audit to AWS", "type": "eventbridge", "status": "active",
        "sink": {"awsAccountId": "999999999999", "awsRegion": "eu-west-1", "awsPartnerEventSource": "aws.partner/x"}
    })
}

async fn accept(listener: TcpListener, inner: Arc<Mutex<Inner>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let inner = inner.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, inner.clone()));
            // A cut connection is an error here, and what was wanted.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is cut instead of an answer.
#[derive(Debug)]
struct Cut;
impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}
impl std::error::Error for Cut {}

async fn serve(
    request: http::Request<Incoming>,
    inner: Arc<Mutex<Inner>>,
) -> Result<http::Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Json::Null),
        text,
        status: 0,
    };
    let late = inner.lock().unwrap().take_late(&asked);
    if let Some(late) = late {
        tokio::time::sleep(late).await;
    }
    let Outcome { answer, delay } = {
        let mut inner = inner.lock().unwrap();
        let outcome = inner.handle(&asked, parts.uri.query());
        asked.status = outcome.answer.as_ref().map_or(0, |answer| answer.status);
        inner.requests.push(asked);
        outcome
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    answer.map(Answer::into_http).ok_or(Cut)
}

/// What becomes of a request; no answer is a cut connection.
struct Outcome {
    answer: Option<Answer>,
    delay: Option<Duration>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), delay: None }
    }
}

struct Answer {
    status: u16,
    body: Option<Json>,
    retry_after: Option<u64>,
}

impl Answer {
    fn new(status: u16, body: Json) -> Self {
        Self { status, body: Some(body), retry_after: None }
    }

    /// In the shape of the Management API; `errorCode` is often absent.
    fn error(status: u16, message: &str, code: Option<&str>) -> Self {
        let reason = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
        let mut body = json!({"statusCode": status, "error": reason, "message": message});
        if let Some(code) = code {
            body["errorCode"] = json!(code);
        }
        Self::new(status, body)
    }

    fn into_http(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::builder()
            .status(self.status)
            .header("X-RateLimit-Limit", "10")
            .header("X-RateLimit-Remaining", "9")
            .header("X-RateLimit-Reset", jiff::Timestamp::now().as_second().to_string());
        if let Some(seconds) = self.retry_after {
            response = response.header("Retry-After", seconds.to_string());
        }
        match self.body {
            Some(body) => response
                .header("Content-Type", "application/json; charset=utf-8")
                .body(Full::new(Bytes::from(body.to_string()))),
            None => response.body(Full::default()),
        }
        .unwrap()
    }
}

impl Inner {
    fn new_id(&mut self) -> String {
        self.next += 1;
        format!("lst_{:016}", self.next)
    }

    fn handle(&mut self, asked: &Asked, query: Option<&str>) -> Outcome {
        if asked.path == "/oauth/token" {
            return self.token(asked).into();
        }
        let Some(rest) = asked.path.strip_prefix("/api/v2/log-streams") else {
            return Answer::error(404, "Not Found", None).into();
        };
        let id = match rest.strip_prefix('/') {
            None if rest.is_empty() => None,
            Some(id) if !id.is_empty() && !id.contains('/') => Some(id),
            _ => return Answer::error(404, "Not Found", None).into(),
        };
        let creates = asked.method == Method::POST && id.is_none();
        match self.take_fault(&asked.method, creates) {
            None => self.manage(asked, id, query).into(),
            Some(Fault::Answer(status, body)) => Answer::new(status, body).into(),
            Some(Fault::TooMany(seconds)) => {
                let text = "Global limit has been reached";
                let mut answer = Answer::error(429, text, Some("too_many_requests"));
                answer.retry_after = Some(seconds);
                answer.into()
            }
            Some(Fault::ExpireTokens) => {
                self.tokens.clear();
                self.manage(asked, id, query).into()
            }
            Some(Fault::CutBeforeCreate) => Outcome { answer: None, delay: None },
            Some(Fault::CutAfterCreate) => {
                self.manage(asked, id, query);
                Outcome { answer: None, delay: None }
            }
            Some(Fault::SlowCreate(delay)) => {
                Outcome { answer: Some(self.manage(asked, id, query)), delay: Some(delay) }
            }
            Some(Fault::Token(..) | Fault::On(..) | Fault::LateCreate(_)) => {
                unreachable!("take_fault takes none of these")
            }
        }
    }

    fn take_late(&mut self, asked: &Asked) -> Option<Duration> {
        let create = asked.method == Method::POST && asked.path == "/api/v2/log-streams";
        let at = self.faults.iter().position(|fault| create && matches!(fault, Fault::LateCreate(_)))?;
        match self.faults.remove(at) {
            Some(Fault::LateCreate(late)) => Some(late),
            _ => None,
        }
    }

    fn take_fault(&mut self, method: &Method, creates: bool) -> Option<Fault> {
        let fits = |fault: &Fault| match fault {
            Fault::Answer(..) | Fault::TooMany(_) | Fault::ExpireTokens => true,
            Fault::CutAfterCreate | Fault::CutBeforeCreate | Fault::SlowCreate(_) => creates,
            Fault::On(only, _) => only == method,
            Fault::Token(..) | Fault::LateCreate(_) => false,
        };
        let at = self.faults.iter().position(fits)?;
        match self.faults.remove(at)? {
            Fault::On(_, fault) => Some(*fault),
            fault => Some(fault),
        }
    }

    /// `POST /oauth/token`, client_credentials, as a form or as JSON.
    fn token(&mut self, asked: &Asked) -> Answer {
        if let Some(at) = self.faults.iter().position(|fault| matches!(fault, Fault::Token(..)))
            && let Some(Fault::Token(status, body)) = self.faults.remove(at)
        {
            return Answer::new(status, body);
        }
        if asked.method != Method::POST {
            return Answer::error(404, "Not Found", None);
        }
        let content_type = asked.headers.get("content-type").map_or("", |v| v.to_str().unwrap());
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(asked.text.as_bytes()).into_owned().collect();
        let field = |name: &str| {
            if content_type.starts_with("application/json") {
                asked.body[name].as_str().map(str::to_owned)
            } else {
                form.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
            }
        };
        if field("grant_type").as_deref() != Some("client_credentials") {
            let text = "Missing required parameter: grant_type";
            return Answer::new(400, json!({"error": "invalid_request", "error_description": text}));
        }
        let basic = format!("Basic {}", BASE64.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}").as_bytes()));
        let by_header = asked.headers.get("authorization").is_some_and(|v| v.as_bytes() == basic.as_bytes());
        let by_body = field("client_id").as_deref() == Some(CLIENT_ID)
            && field("client_secret").as_deref() == Some(CLIENT_SECRET);
        if !(by_header || by_body) {
            return Answer::new(401, json!({"error": "access_denied", "error_description": "Unauthorized"}));
        }
        let host = asked.headers["host"].to_str().unwrap();
        let audience = field("audience").unwrap_or_default();
        if audience != format!("http://{host}/api/v2/") {
            let text = format!(
                "Client is not authorized to access \"{audience}\". You need to create a \"client-grant\" associated to this API."
            );
            return Answer::new(403, json!({"error": "access_denied", "error_description": text}));
        }
        let token = jwt(&self.scopes, self.tokens.len());
        self.tokens.push((token.clone(), self.scopes.clone()));
        Answer::new(200, json!({"access_token": token, "expires_in": 86400, "token_type": "Bearer"}))
    }

    /// What the bearer may do, or why it may nothing.
    fn bearer(&self, asked: &Asked) -> Result<Vec<String>, Answer> {
        let given = asked.headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let token = given
            .strip_prefix("Bearer ")
            .ok_or_else(|| Answer::error(401, "Missing authentication", None))?;
        if token == ACCESS_TOKEN {
            return Ok(self.scopes.clone());
        }
        let known = self.tokens.iter().find(|(known, _)| known == token);
        known.map(|(_, scopes)| scopes.clone()).ok_or_else(|| {
            Answer::error(401, "Expired token received for JSON Web Token validation", Some("invalid_token"))
        })
    }

    fn manage(&mut self, asked: &Asked, id: Option<&str>, query: Option<&str>) -> Answer {
        let (verb, scopes) = match (asked.method.as_str(), id) {
            ("GET", _) => ("read", self.bearer(asked)),
            ("POST", None) => ("create", self.bearer(asked)),
            ("PATCH", Some(_)) => ("update", self.bearer(asked)),
            ("DELETE", Some(_)) => ("delete", self.bearer(asked)),
            _ => return Answer::error(404, "Not Found", None),
        };
        let scopes = match scopes {
            Ok(scopes) => scopes,
            Err(answer) => return answer,
        };
        let needed = format!("{verb}:log_streams");
        if !scopes.contains(&needed) {
            let text = format!("Insufficient scope, expected any of: {needed}");
            return Answer::error(403, &text, Some("insufficient_scope"));
        }
        if let Some(query) = query {
            let text = format!("Query validation error: '{query}' is not allowed.");
            return Answer::error(400, &text, Some("invalid_query_string"));
        }
        if let Some(id) = id
            && !(id.len() == 20 && id.starts_with("lst_"))
        {
            let text = format!(
                "Path validation error: 'Object didn't pass validation for format log-stream-id: {id}' on property id (The id of the log stream)."
            );
            return Answer::error(400, &text, Some("invalid_uri"));
        }
        match (verb, id) {
            ("read", None) => Answer::new(
                200,
                self.streams.iter().map(|stream| self.shown(stream)).collect::<Vec<_>>().into(),
            ),
            ("read", Some(id)) => match self.streams.iter().find(|stream| stream["id"] == id) {
                Some(stream) => Answer::new(200, self.shown(stream)),
                None => Answer::error(404, "The log stream does not exist.", None),
            },
            ("create", _) => self.create(asked),
            ("update", Some(id)) => self.update(asked, id),
            // Deleting what is gone already is a success to Auth0.
            ("delete", Some(id)) => {
                self.streams.retain(|stream| stream["id"] != id);
                Answer { status: 204, body: None, retry_after: None }
            }
            _ => unreachable!("the verbs are told above"),
        }
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        if let Err(why) = rules::create(asked) {
            return Answer::error(400, &format!("Payload validation error: '{why}'."), Some("invalid_body"));
        }
        let priority = asked.body["isPriority"] == true;
        let regular = self.streams.iter().filter(|stream| stream["isPriority"] != true).count();
        if !priority && regular >= self.limit {
            let text = "You have reached the maximum number of log streams for your account.";
            return Answer::error(409, text, None);
        }
        let id = self.new_id();
        let mut stream = json!({"id": id, "status": "active", "isPriority": priority});
        rules::merge(&mut stream, &asked.body);
        stream.as_object_mut().unwrap().remove("startFrom");
        if priority {
            stream["filters"] = json!([{"type": "category", "name": "security"}]);
        }
        self.streams.push(stream.clone());
        Answer::new(200, self.shown(&stream))
    }

    fn update(&mut self, asked: &Asked, id: &str) -> Answer {
        if let Err(why) = rules::update(asked) {
            return Answer::error(400, &format!("Payload validation error: '{why}'."), Some("invalid_body"));
        }
        let Some(at) = self.streams.iter().position(|stream| stream["id"] == id) else {
            return Answer::error(404, "The log stream does not exist.", None);
        };
        let stream = &mut self.streams[at];
        // A PATCH of name and sink without pii_config loses it; filters of a priority stream are ignored.
        if asked.body.get("pii_config").is_none() && asked.body.get("sink").is_some() {
            stream.as_object_mut().unwrap().remove("pii_config");
        }
        let kept = stream["filters"].clone();
        rules::merge(stream, &asked.body);
        if stream["isPriority"] == true {
            stream["filters"] = kept;
        }
        let stream = self.streams[at].clone();
        Answer::new(200, self.shown(&stream))
    }

    /// The stream as this tenant answers it.
    fn shown(&self, stream: &Json) -> Json {
        let mut shown = stream.clone();
        if self.redacted {
            for pointer in ["/sink/httpAuthorization", "/sink/httpCustomHeaders/0/value"] {
                if let Some(value) = shown.pointer_mut(pointer) {
                    *value = json!("********");
                }
            }
        }
        shown
    }
}

/// A token in the shape of Auth0's, whose scopes stand in its claims and nowhere else.
fn jwt(scopes: &[String], number: usize) -> String {
    let part = |json: Json| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let header = part(json!({"alg": "RS256", "typ": "JWT"}));
    let claims = part(json!({"scope": scopes.join(" "), "gty": "client-credentials", "jti": number}));
    format!("{header}.{claims}.c2lnbmF0dXJl")
}
