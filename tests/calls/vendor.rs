//! An instance of the tests' own connector, and its calls by name.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use forebay::call::answer::Answer;
use forebay::call::caller::Caller;
use forebay::call::failure::CallError;
use forebay::call::retry::{Pace, Repeat};
use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::clock::Clock;
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::model::Call;
use forebay::connector::secret::{LiveSecret, Secret};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

pub const ID: &str = "client:1&x";
pub const KEY: &str = "k3y-that-nobody+may see/";

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct Hand(Arc<Mutex<Timestamp>>);

impl Hand {
    pub fn forward(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A caller, an instance and a clock.
pub struct Bench {
    pub caller: Arc<Caller>,
    pub instance: Arc<Instance>,
    pub clock: Hand,
}

pub fn pace() -> Pace {
    Pace {
        attempts: 3,
        first: Duration::from_millis(2),
        longest: Duration::from_millis(10),
        total: Duration::from_secs(5),
    }
}

impl Bench {
    pub fn new(at: SocketAddr, auth: &str, settings: &[(&str, Json)]) -> Self {
        Self::of("tests/calls/vendor", at, auth, settings)
    }

    /// The same of another connector.
    pub fn of(folder: &str, at: SocketAddr, auth: &str, settings: &[(&str, Json)]) -> Self {
        let transport = HttpTransport::new(Options {
            allow_loopback: true,
            total_timeout: Duration::from_secs(10),
            ..Options::default()
        });
        let clock = Hand(Arc::new(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())));
        let caller = Caller::new(Arc::new(transport.unwrap()), Arc::new(clock.clone()), pace());
        let mut all = Map::new();
        all.insert("base_url".to_owned(), format!("http://{at}").into());
        all.insert("auth".to_owned(), auth.into());
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Self { caller: Arc::new(caller), instance: Arc::new(instance(folder, all)), clock }
    }

    pub async fn call(&self, name: &str, repeat: Repeat) -> Result<Answer, CallError> {
        self.caller.call(&self.instance, self.named(name), &self.instance.scope(), repeat).await
    }

    /// A step of `create` by its name, or `find`, `check`, `delete`.
    pub fn named(&self, name: &str) -> &Call {
        let thing = &self.instance.connector.provision.as_ref().unwrap().resources[0];
        match name {
            "find" => &thing.find.as_ref().unwrap().call,
            "check" => &thing.check.as_ref().unwrap().call,
            "delete" => thing.delete[0].call.as_ref().unwrap(),
            name => {
                let step = thing.create.iter().find(|step| step.name.as_deref() == Some(name));
                step.unwrap().call.as_ref().unwrap()
            }
        }
    }

    pub fn change_key(&self, key: &str) {
        let mut secrets = self.instance.secrets.write().unwrap();
        let mut changed = (**secrets).clone();
        changed.insert("key".to_owned(), live(key));
        *secrets = Arc::new(changed);
    }
}

fn live(text: &str) -> LiveSecret {
    LiveSecret::new(Secret::new(text).unwrap())
}

fn instance(folder: &str, settings: Map<String, Json>) -> Instance {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let connector = forebay::connector::load::load(&folder).unwrap_or_else(|error| panic!("{error}"));
    let secret = |(name, text): (&str, &str)| (name.to_owned(), live(text));
    let all = [("id", ID), ("key", KEY), ("client_id", ID), ("client_secret", KEY)].map(secret);
    let known = |name: &str| connector.secrets.iter().any(|secret| secret.name == name);
    let secrets = all.into_iter().filter(|(name, _)| known(name)).collect();
    Instance {
        id: InstanceId::parse("acme").unwrap(),
        connector: Arc::new(connector),
        settings,
        secrets: RwLock::new(Arc::new(secrets)),
        receiver_url: None,
    }
}
