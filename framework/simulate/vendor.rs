//! The stand-in vendor: an HTTP server that behaves as the spec says the vendor does.
//!
//! `simulate` starts it on a listener it is given; the instance under test calls it through
//! [`super::transport::StandInTransport`]. It knows the connector and what the person configured, no vendor
//! by name, and it is as strict as the spec allows: a request that the spec would not send is refused.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Map, Value as Json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::answer::{Answer, Incoming, refusal};
use super::faults::Faults;
use super::guard::{self, Guard};
use super::handshakes::Handshakes;
use super::pages;
use super::routes::{self, Effect, Named, Route};
use super::serving;
use super::shape;
use super::shelf::{Shelf, Wish};
use super::sign::{published, trust};
use crate::call::mask::Mask;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::connector::model::{Call, Connector, Resource};
use crate::error::{Result, escaped};
use crate::provision::is_automatic;
use crate::run::world::Say;

/// The most that a request to the stand-in may carry.
const BODY_CAP: usize = 1 << 20;

/// The call of the spec that a request is, and what it names; or the answer, where nothing is to be done.
type Examined<'a> = std::result::Result<(&'a Route, Vec<Named>), Answer>;

/// The stand-in vendor.
pub struct Vendor {
    pub(super) instance: Arc<Instance>,
    clock: Arc<dyn Clock>,
    pub(super) guard: Guard,
    shelf: Shelf,
    faults: Faults,
    routes: Vec<Route>,
    say: Option<Say>,
    handshakes: OnceLock<Arc<Handshakes>>,
}

impl Vendor {
    /// Derives the stand-in of an instance's connector. What it answers it says where `say` is given.
    pub fn new(
        instance: Arc<Instance>,
        clock: Arc<dyn Clock>,
        faults: Faults,
        say: Option<Say>,
    ) -> Result<Arc<Self>> {
        // Where a person creates the stream, the vendor is called by nobody.
        let routes = if is_automatic(&instance)? { routes::derive(&instance)? } else { Vec::new() };
        trust(&instance.connector)?;
        let shelf = Shelf::new(&instance, clock.now());
        Ok(Arc::new(Self {
            instance,
            clock,
            guard: Guard::default(),
            shelf,
            faults,
            routes,
            say,
            handshakes: OnceLock::new(),
        }))
    }

    /// Serves until `shutdown` turns true.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: watch::Receiver<bool>) {
        let answer = move |request| {
            let vendor = self.clone();
            async move { Ok::<_, Infallible>(vendor.receive(request).await) }
        };
        serving::serve(listener, shutdown, answer).await;
    }

    async fn receive(&self, request: http::Request<hyper::body::Incoming>) -> http::Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        if let Some(key) = self.published(&parts) {
            return http::Response::new(Full::new(Bytes::from(key)));
        }
        if self.is_set_off(&parts) {
            return Answer::json(200, Json::Object(Map::new())).into_response();
        }
        let answer = match Limited::new(body, BODY_CAP).collect().await {
            Ok(body) => {
                let incoming = Incoming::read(&parts, body.to_bytes());
                let answer = match self.calls_back(&incoming).await {
                    Ok(meant) => self.answered(meant, &incoming),
                    Err(why) => refusal(self.connector(), 400, &format!("the endpoint is not taken: {why}")),
                };
                if let Some(say) = &self.say {
                    // Neither query nor body, and a path without its secrets.
                    let Incoming { method, host, path, .. } = &incoming;
                    let path = escaped(&Mask::of(&self.instance).hide(path), 200);
                    let asked = answer.asked.as_deref().unwrap_or("refused");
                    say(&format!("stand-in: {method} {host}{path} -> {} ({asked})", answer.status));
                }
                answer
            }
            Err(_) => Answer::empty(413),
        };
        answer.into_response()
    }

    /// From now on it performs the spec's handshakes.
    pub fn shakes_hands(&self, handshakes: Arc<Handshakes>) {
        let _ = self.handshakes.set(handshakes);
    }

    /// Whether a request is the call that a handshake was to set off.
    fn is_set_off(&self, parts: &http::request::Parts) -> bool {
        let host = parts.headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        self.handshakes.get().is_some_and(|handshakes| handshakes.expects(&parts.method, host, target))
    }

    /// Looks at a request; where it is taken and tells the receiver's URL, the handshakes are performed: the
    /// unsigned ones while the call is open, and the others soon after.
    async fn calls_back(&self, incoming: &Incoming) -> std::result::Result<Result<Examined<'_>>, String> {
        let examined = self.examined(incoming);
        let Some(handshakes) = self.handshakes.get() else { return Ok(examined) };
        let url = self.instance.receiver_url.as_ref().map(ToString::to_string).unwrap_or_default();
        if matches!(examined, Ok(Ok(_))) && incoming.method != http::Method::GET && incoming.tells(&url) {
            handshakes.unsigned().await?;
            let later = handshakes.clone();
            tokio::spawn(async move { later.signed().await });
        }
        Ok(examined)
    }

    /// The vendor's public key, where it is asked for that.
    fn published(&self, parts: &http::request::Parts) -> Option<String> {
        let host = parts.headers.get("host").and_then(|value| value.to_str().ok())?;
        match published(&self.instance, &parts.method, host, parts.uri.path()) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%error, "the stand-in cannot publish its key");
                None
            }
        }
    }

    /// The answer to one request: token, route, fault, who, shape, effect.
    pub fn answer(&self, incoming: &Incoming) -> Answer {
        self.answered(self.examined(incoming), incoming)
    }

    fn answered(&self, examined: Result<Examined<'_>>, incoming: &Incoming) -> Answer {
        let answer = examined.and_then(|examined| {
            let (route, named) = match examined {
                Ok(meant) => meant,
                Err(answer) => return Ok(answer),
            };
            // 6. What it does.
            let wish = Wish { route, named: &named, call: self.call(route), incoming };
            let answer = self.shelf.act(&self.instance, &wish, self.clock.now())?;
            let name = self.resource(route).map_or("", |resource| resource.name.as_str());
            Ok(answer.to(format!("{} {name}", route.effect.word())))
        });
        answer.unwrap_or_else(|error| {
            tracing::warn!(%error, "the stand-in cannot answer");
            refusal(self.connector(), 500, "the stand-in cannot answer; its log says why")
        })
    }

    /// Which call of the spec it is; or the answer, where it is none that is to be done.
    fn examined(&self, incoming: &Incoming) -> Result<Examined<'_>> {
        let now = self.clock.now();
        // 1. A token endpoint signs nobody in by a route of a resource.
        if let Some(answer) = self.guard.token(&self.instance, incoming, now)? {
            let given = answer.status == 200;
            return Ok(Err(if given { answer.to("token".to_owned()) } else { answer }));
        }
        // 2. The calls of the spec that this may be: two may share a URL and differ in their bodies.
        let asked = incoming.asked();
        let fitting: Vec<_> =
            self.routes.iter().filter_map(|r| r.fits(&asked).map(|named| (r, named))).collect();
        let Some((first, _)) = fitting.first() else {
            let elsewhere = self.routes.iter().any(|r| r.is_at(asked.host, asked.path));
            return Ok(Err(match elsewhere {
                true => refusal(self.connector(), 405, "this method is not known here"),
                false => refusal(self.connector(), 404, "nothing is here"),
            }));
        };
        // 3. A fault that is due comes before anything is done.
        if let Some(answer) = self.faults.due(&self.instance.connector, &self.guard, first.effect) {
            return Ok(Err(answer));
        }
        // 4. Who asks.
        if !self.guard.admits(&self.instance, self.call(first), incoming, now)? {
            let answer = refusal(self.connector(), 401, "Invalid token");
            let answer = answer.with_header("www-authenticate", "Bearer");
            let ended = self.guard.has_ended(incoming);
            return Ok(Err(if ended { answer.to("its token has ended".to_owned()) } else { answer }));
        }
        // 5. Whether it has the shape that the spec gives one of them.
        let mut complaint = None;
        let mut meant = None;
        for (route, named) in &fitting {
            let wrong = match self.unknown_parameter(route, incoming) {
                Some(name) => Some(format!("unknown parameter `{name}`")),
                None => shape::wrong(&self.instance, self.call(route), incoming)?,
            };
            match wrong {
                None => {
                    meant = Some((*route, named.clone()));
                    break;
                }
                Some(wrong) => complaint = complaint.or(Some(wrong)),
            }
        }
        Ok(meant.ok_or_else(|| refusal(self.connector(), 400, &complaint.unwrap_or_default())))
    }

    /// Whose vendor it is.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// How many resources somebody made here and nobody removed.
    pub fn count(&self) -> usize {
        self.shelf.count(&self.instance)
    }

    /// Whether every resource of the spec is there and well.
    pub fn is_well(&self) -> Result<bool> {
        self.shelf.is_well(&self.instance)
    }

    /// Whether a resource was told the receiver's URL.
    pub fn knows_receiver(&self) -> bool {
        self.instance.receiver_url.as_ref().is_some_and(|url| self.shelf.knows(url.as_str()))
    }

    /// Makes every resource unhealthy, as the spec's example shows it; `false` where it shows none.
    pub fn suspend(&self) -> bool {
        self.shelf.suspend(&self.instance)
    }

    /// Whether something here runs out, and must be renewed.
    pub fn renews(&self) -> bool {
        let resources = self.connector().provision.iter().flat_map(|provision| &provision.resources);
        !self.routes.is_empty() && resources.filter(|resource| resource.renew.is_some()).count() > 0
    }

    /// How often something was renewed.
    pub fn renewed(&self) -> u64 {
        self.shelf.renewed()
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shelf.changes()
    }

    fn resource(&self, route: &Route) -> Option<&Resource> {
        self.connector().provision.as_ref()?.resources.get(route.resource)
    }

    /// A parameter of the query that neither the call nor its pages have.
    fn unknown_parameter<'a>(&self, route: &Route, incoming: &'a Incoming) -> Option<&'a String> {
        let find = self.resource(route).and_then(|resource| resource.find.as_ref());
        let find = find.filter(|_| route.effect == Effect::List);
        let knows = |name: &str| {
            route.asks_by(name)
                || find.is_some_and(|find| pages::knows(find, name))
                || guard::is_credential(&self.instance, self.call(route), name)
        };
        incoming.query.keys().find(|name| !knows(name))
    }

    fn call(&self, route: &Route) -> &Call {
        let resource = self.resource(route).expect("a route comes of a resource");
        routes::calls(resource).swap_remove(route.nth).1
    }

    fn connector(&self) -> &Connector {
        &self.instance.connector
    }
}
