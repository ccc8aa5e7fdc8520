//! What runs out: renewed in time, also by the next process and after the clock jumped; and what `plan` and the
//! status say of it. The vendor is the stand-in, with a clock that is set.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::call::{Request, Response, Transport, TransportError};
use forebay::connector::clock::Clock;
use forebay::connector::instance::{Instance, InstanceId};
use forebay::connector::load::load;
use forebay::provision::{Provisioner, What};
use forebay::simulate::answer::Incoming;
use forebay::simulate::configure::{fill, instance};
use forebay::simulate::faults::Faults;
use forebay::simulate::vendor::Vendor;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};

use super::bench::{Remembered, SetClock, deeds};
use crate::support::root;

/// The stand-in, asked without a socket.
struct Asked(Arc<Vendor>);

#[async_trait]
impl Transport for Asked {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let host = request.url.host_str().unwrap().to_owned();
        let target = request.url[url::Position::BeforePath..].to_owned();
        let mut head = http::Request::builder().method(request.method).uri(target).header("host", host);
        for (name, value) in &request.headers {
            head = head.header(name, value);
        }
        let (parts, ()) = head.body(()).unwrap().into_parts();
        // Who asks may be dropped before the call, and before its answer.
        tokio::task::yield_now().await;
        let answer = self.0.answer(&Incoming::read(&parts, request.body)).into_response();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        tokio::task::yield_now().await;
        Ok(Response { status: parts.status, headers: parts.headers, body })
    }
}

pub struct Stage {
    vendor: Arc<Vendor>,
    instance: Arc<Instance>,
    clock: Arc<SetClock>,
    state: Arc<Remembered>,
}

impl Stage {
    pub fn of(spec: &str) -> Self {
        let connector = Arc::new(load(&root().join("tests/provisioning/specs").join(spec)).unwrap());
        let filled = fill(&connector, Default::default(), Default::default(), true).unwrap();
        let id = InstanceId::parse(spec).unwrap();
        let instance = instance(connector, id, filled, "the test").unwrap();
        let instance = Arc::new(instance.at_base(&"https://forebay.example".parse().unwrap()).unwrap());
        let clock = Arc::new(SetClock(Mutex::new("2026-11-22T12:00:00Z".parse().unwrap())));
        let vendor = Vendor::new(instance.clone(), clock.clone(), Faults::none(), None).unwrap();
        Self { vendor, instance, clock, state: Arc::default() }
    }

    pub fn provisioner(&self) -> Provisioner {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let caller = Caller::new(Arc::new(Asked(self.vendor.clone())), clock.clone(), Pace::default());
        Provisioner::new(self.instance.clone(), Arc::new(caller), self.state.clone(), clock)
    }

    /// One pass of a new process.
    pub async fn pass(&self) -> Vec<What> {
        deeds(&self.provisioner().reconcile().await.unwrap_or_else(|e| panic!("{e}")))
    }

    /// What is planned, with the calls.
    async fn planned(&self) -> Vec<(What, String)> {
        let plan = self.provisioner().plan().await.unwrap().unwrap();
        assert!(plan.trouble.is_none(), "{:?}", plan.trouble);
        let deeds = plan.resources.into_iter().flat_map(|planned| planned.deeds);
        deeds.map(|deed| (deed.what, deed.calls.join("\n"))).collect()
    }

    pub fn after_ms(&self, milliseconds: i64) {
        *self.clock.0.lock().unwrap() += SignedDuration::from_millis(milliseconds);
    }

    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    fn now(&self) -> Timestamp {
        *self.clock.0.lock().unwrap()
    }
}

#[tokio::test]
async fn a_lease_is_prolonged_in_time_by_any_process_and_made_anew_when_it_ran_out() {
    let stage = Stage::of("leases");
    assert_eq!(stage.pass().await, [What::Created]);
    // The stand-in's leases live four seconds, written in whole ones.
    stage.after_ms(1_000);
    assert_eq!(stage.planned().await.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [What::Kept]);
    assert_eq!(stage.pass().await, [What::Kept]);
    stage.after_ms(1_500);
    let planned = stage.planned().await;
    assert_eq!(planned[0].0, What::Renewed);
    assert!(planned[0].1.contains("/prolong"), "{planned:?}");
    assert_eq!(stage.vendor.renewed(), 0, "a plan changes nothing");
    let provisioner = stage.provisioner();
    assert_eq!(deeds(&provisioner.reconcile().await.unwrap()), [What::Renewed]);
    let lifetimes = provisioner.status().borrow().lifetimes;
    assert!(
        lifetimes.renewal.unwrap() > stage.now() && lifetimes.expires > lifetimes.renewal,
        "{lifetimes:?}"
    );
    assert_eq!(stage.pass().await, [What::Kept], "the next process knows that it was renewed");
    // A night passes in one jump.
    stage.after_ms(10 * 3_600_000);
    assert_eq!(stage.pass().await, [What::Recreated]);
    assert_eq!(stage.vendor.count(), 1);
    // The clock goes back: what it said of the future is not believed.
    stage.after_ms(-3_600_000);
    assert_eq!(stage.pass().await, [What::Renewed]);
    assert_eq!(stage.pass().await, [What::Kept]);
}

#[tokio::test]
async fn a_message_of_the_vendor_renews_before_the_time() {
    let stage = Stage::of("leases");
    let provisioner = stage.provisioner();
    assert_eq!(deeds(&provisioner.reconcile().await.unwrap()), [What::Created]);
    provisioner.ask_renewal("lease");
    assert_eq!(deeds(&provisioner.reconcile().await.unwrap()), [What::Renewed]);
    assert_eq!(deeds(&provisioner.reconcile().await.unwrap()), [What::Kept]);
}

#[tokio::test]
async fn a_relay_is_replaced_in_time_and_the_old_one_goes_when_its_time_beside_the_new_one_is_over() {
    let stage = Stage::of("relays");
    assert_eq!(stage.pass().await, [What::Created]);
    stage.after_ms(3_100);
    let planned = stage.planned().await;
    assert_eq!(planned[0].0, What::Renewed);
    assert!(planned[0].1.contains("POST") && planned[0].1.contains("DELETE"), "{planned:?}");
    assert_eq!(stage.pass().await, [What::Renewed]);
    assert_eq!(stage.vendor.count(), 2, "both are there");
    let planned = stage.planned().await;
    assert_eq!(planned.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [What::Deleted]);
    // What is removed is both, the old one too.
    let report = stage.provisioner().destroy(false).await.unwrap();
    assert_eq!(deeds(&report), [What::Deleted]);
    assert_eq!(stage.vendor.count(), 0);
}
