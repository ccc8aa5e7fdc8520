//! One instance of the Auth0 connector with a tenant, a memory and a clock; a new provisioner is a new process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::clock::Clock;
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::model::Connector;
use forebay::connector::secret::{LiveSecret, Secret};
use forebay::error::{Error, Kind, Result};
use forebay::provision::{Provisioner, Report, What};
use forebay::queue::State;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::tenant::{CLIENT_ID, CLIENT_SECRET, Tenant};

pub const ENDPOINT: &str = "https://logs.example.com/api/v2/http/send/auth0-log-stream";
pub const KEY: &str = "the-key-that-auth0-must-show";

/// State in memory; counts what was saved.
#[derive(Default)]
pub struct Remembered {
    pub document: Mutex<Option<Json>>,
    pub latest: Mutex<Option<Timestamp>>,
    pub saves: Mutex<usize>,
    /// How many more are saved before the process is as good as dead; `None`: it lives.
    pub left: Mutex<Option<usize>>,
}

#[async_trait]
impl State for Remembered {
    async fn load(&self, _: &InstanceId) -> Result<Option<Json>> {
        // Who asks may be dropped here, and after a save.
        tokio::task::yield_now().await;
        Ok(self.document.lock().unwrap().clone())
    }
    async fn save(&self, _: &InstanceId, was: Option<&Json>, document: &Json) -> Result<bool> {
        let saved = self.save_at_once(was, document);
        tokio::task::yield_now().await;
        saved
    }
    async fn latest_event_time(&self, _: &InstanceId) -> Result<Option<Timestamp>> {
        Ok(*self.latest.lock().unwrap())
    }
}

impl Remembered {
    fn save_at_once(&self, was: Option<&Json>, document: &Json) -> Result<bool> {
        if let Some(left) = &mut *self.left.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| Error::new(Kind::Io, "the process was killed"))?;
        }
        let mut kept = self.document.lock().unwrap();
        if kept.as_ref() != was {
            return Ok(false);
        }
        *kept = Some(document.clone());
        *self.saves.lock().unwrap() += 1;
        Ok(true)
    }
}

/// A clock that is set.
pub struct SetClock(pub Mutex<Timestamp>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub struct Bench {
    pub tenant: Tenant,
    pub state: Arc<Remembered>,
    pub clock: Arc<SetClock>,
    pub connector: Arc<Connector>,
    pub settings: Map<String, Json>,
    pub secrets: BTreeMap<&'static str, String>,
}

impl Bench {
    pub async fn start() -> Self {
        Self::of(Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/auth0-log-stream").as_path()).await
    }

    /// A bench of another connector, which has the same settings and secrets.
    pub async fn of(connector: &Path) -> Self {
        let tenant = Tenant::start().await;
        let settings = json!({
            "input_mode": "automatic", "authentication_type": "client_credentials", "base_url": tenant.url()
        });
        let secrets = [
            ("client_id", CLIENT_ID.to_owned()),
            ("client_secret", CLIENT_SECRET.to_owned()),
            ("monad_api_key", KEY.to_owned()),
        ];
        Self {
            tenant,
            state: Arc::default(),
            clock: Arc::new(SetClock(Mutex::new("2026-11-22T12:00:00Z".parse().unwrap()))),
            connector: Arc::new(forebay::connector::load::load(connector).unwrap_or_else(|e| panic!("{e}"))),
            settings: settings.as_object().unwrap().clone(),
            secrets: secrets.into(),
        }
    }

    pub fn instance(&self) -> Arc<Instance> {
        let secret = |(name, text): (&&str, &String)| {
            let current = Secret::new(text).unwrap();
            (name.to_string(), LiveSecret::new(current))
        };
        Arc::new(Instance {
            id: InstanceId::parse("auth0-log-stream").unwrap(),
            connector: self.connector.clone(),
            settings: self.settings.clone(),
            secrets: RwLock::new(Arc::new(self.secrets.iter().map(secret).collect())),
            receiver_url: Some(ENDPOINT.parse().unwrap()),
        })
    }

    pub fn caller(&self) -> Arc<Caller> {
        let options = Options {
            allow_loopback: true,
            total_timeout: Duration::from_millis(1500),
            ..Options::default()
        };
        let pace = Pace {
            attempts: 3,
            first: Duration::from_millis(10),
            longest: Duration::from_millis(20),
            total: Duration::from_secs(3),
        };
        Arc::new(Caller::new(Arc::new(HttpTransport::new(options).unwrap()), self.clock.clone(), pace))
    }

    /// A process that has just started.
    pub fn provisioner(&self) -> Provisioner {
        Provisioner::new(self.instance(), self.caller(), self.state.clone(), self.clock.clone())
    }

    /// One pass of a new process: what it did, in order.
    pub async fn pass(&self) -> Vec<What> {
        deeds(&self.provisioner().reconcile().await.unwrap_or_else(|e| panic!("{e}")))
    }

    /// The id of the only http stream.
    pub fn only(&self) -> String {
        let streams = self.tenant.http_streams();
        assert_eq!(streams.len(), 1, "{streams:#?}");
        streams[0]["id"].as_str().unwrap().to_owned()
    }

    /// Methods and paths of what was written at the tenant.
    pub fn written(&self) -> Vec<String> {
        self.tenant.writes().iter().map(|asked| asked.method.to_string()).collect()
    }
}

pub fn deeds(report: &Report) -> Vec<What> {
    report.deeds.iter().map(|deed| deed.what).collect()
}
