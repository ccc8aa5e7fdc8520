//! What the tenant answers: tokens, streams, faults. Called by the tenant alone.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value as Json, json};

use super::{ACCESS_TOKEN, Asked, CLIENT_ID, CLIENT_SECRET, Fault, Inner, rules};

/// What becomes of a request; no answer is a cut connection.
pub(super) struct Outcome {
    pub(super) answer: Option<Answer>,
    pub(super) delay: Option<Duration>,
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), delay: None }
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
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

    pub(super) fn into_http(self) -> http::Response<Full<Bytes>> {
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
    pub(super) fn new_id(&mut self) -> String {
        self.next += 1;
        format!("lst_{:016}", self.next)
    }

    pub(super) fn handle(&mut self, asked: &Asked, query: Option<&str>) -> Outcome {
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

    pub(super) fn take_late(&mut self, asked: &Asked) -> Option<Duration> {
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
