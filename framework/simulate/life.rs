//! A simulated life, from the first token to the last delete, against the stand-in.
//!
//! `run --simulate` calls [`run`]. The instance is started as `run` starts it: same host, same receiver, same
//! store and sinks; only the transport leads to the stand-in. The real state is never touched.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::books::{self, Books, Checked};
use super::faults::Faults;
use super::folder::Folder;
use super::handshakes::Handshakes;
use super::hurry::Tempo;
use super::ledger::Ledger;
use super::plan::Plan;
use super::record::Recording;
use super::sender::Sender;
use super::summary::{Bar, Summary};
use super::transport::StandInTransport;
use super::vendor::Vendor;
use super::wire::Wire;
use crate::call::Transport;
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::connector::clock::Clock;
use crate::connector::instance::Instance;
use crate::deliver::config::SinkConfig;
use crate::deliver::sinks::Outside;
use crate::error::{Error, Kind, Result};
use crate::provision::state::{Memory, Window};
use crate::provision::{Provisioner, What, is_automatic};
use crate::queue::State;
use crate::queue::local::Local;
use crate::run::config::{self, Configured};
use crate::run::health::Health;
use crate::run::host::{self, Tallies};
use crate::run::world::{Onlookers, Say, World};
use crate::{queue, receive};

/// The base of the receiver's URL as the stand-in knows it: a name that is nobody's (RFC 2606).
const PUBLIC_URL: &str = "https://forebay.example/";
/// How long nothing may happen before a wait is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most events of one push.
const MOST_OF_A_PUSH: u64 = 100;
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(20);
/// Ids that come with other bytes under `--faults`.
const REUSED: u64 = 5;
/// How long the simulated operator lets unsigned handshakes in.
const WINDOW_SECONDS: i64 = 600;

/// What a simulation needs from outside.
pub struct Simulation {
    /// The instance, configured as [`super::configure::fill`] does it, without a receiver's URL.
    pub instance: Instance,
    /// Where records go; none: a file in the folder.
    pub sinks: Vec<SinkConfig>,
    /// The folder of its own.
    pub folder: Folder,
    /// Distinct good events; 0 is endless.
    pub events: u64,
    /// Whether the vendor misbehaves.
    pub faults: bool,
    /// How long what only takes time may take.
    pub tempo: Tempo,
    /// The bounds of the receiver.
    pub receive: receive::Limits,
    /// The bounds of the store.
    pub queue: queue::limits::Limits,
    /// Where the receiver listens.
    pub receiver: TcpListener,
    /// Where the stand-in listens.
    pub stand_in: TcpListener,
    /// What reaches loopback.
    pub loopback: Arc<dyn Transport>,
    /// What sinks need.
    pub outside: Outside,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Lines for people.
    pub say: Say,
    /// Whether a person looks at a terminal.
    pub terminal: bool,
    /// What keeps all of it as a case.
    pub recording: Option<Arc<Recording>>,
    /// When to stop sending; the life goes on to its end.
    pub shutdown: watch::Receiver<bool>,
}

/// Lives it.
///
/// # Errors
/// What kept the life from its end. Sums that do not agree are no error: [`Summary::agrees`] tells.
pub async fn run(mut simulation: Simulation) -> Result<Summary> {
    let begun = Instant::now();
    let bar = Bar::new(simulation.terminal, simulation.events);
    simulation.say = bar.beside(simulation.say);
    simulation.tempo.quicken(&mut simulation.instance, simulation.faults);
    let base = url::Url::parse(PUBLIC_URL).expect("a constant that is a URL");
    let instance = Arc::new(simulation.instance.at_base(&base)?);
    if let Some(recording) = &simulation.recording {
        recording.is_of(instance.clone());
    }
    let plan = Plan::new(&instance.connector, simulation.clock.now(), MOST_OF_A_PUSH)?;
    let folder = simulation.folder.clone();
    // 1. The stand-in serves before anybody calls it; the instance starts as `run` starts it.
    let mut life = Life::start(simulation, instance, &bar).await?;
    // 2. Created, pushed, arrived, destroyed.
    let lived = life.live(plan).await;
    // 3. Stop, whatever came of it: the instance first, then the vendor.
    let stopped = life.stop().await;
    bar.finish();
    lived?;
    let removed = stopped?;
    // 4. The books.
    let (member, checked, ledger) = (life.member, life.checked, life.ledger);
    let first = life.books.close().await?;
    let others = books::bury(folder.path(), &member.instance.id, &checked.sink, &ledger)?;
    let shown = folder.is_own(&checked.path).then_some(first);
    let left = member.automatic.then(|| life.vendor.count());
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let handshakes = life.handshakes.told();
    Ok(Summary::of(&ledger, (removed, left, handshakes), begun.elapsed(), (checked.path, shown), others))
}

/// The parts of a life that its steps work on.
struct Life {
    member: Configured,
    vendor: Arc<Vendor>,
    store: Arc<Local>,
    provisioner: Provisioner,
    sender: Arc<Sender>,
    handshakes: Arc<Handshakes>,
    checked: Checked,
    books: Books,
    ledger: Arc<Mutex<Ledger>>,
    host: Option<JoinHandle<Result<Tallies>>>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    stop_vendor: watch::Sender<bool>,
    events: u64,
    faults: bool,
    clock: Arc<dyn Clock>,
    say: Say,
    recording: Option<Arc<Recording>>,
    shutdown: watch::Receiver<bool>,
}

impl Life {
    async fn start(simulation: Simulation, instance: Arc<Instance>, bar: &Bar) -> Result<Self> {
        let Simulation { clock, say, loopback, events, faults, .. } = simulation;
        let stand_in = simulation.stand_in.local_addr().map_err(no_port)?;
        let receiver = simulation.receiver.local_addr().map_err(no_port)?;
        let (stop_vendor, vendor_stop) = watch::channel(false);
        let misbehaviour =
            if faults { Faults::all(simulation.tempo.throttled_seconds) } else { Faults::none() };
        let vendor = Vendor::new(instance.clone(), clock.clone(), misbehaviour, Some(say.clone()))?;
        let serving = tokio::spawn(vendor.clone().serve(simulation.stand_in, vendor_stop));
        let (sinks, checked) = simulation.folder.sinks(simulation.sinks);
        let automatic = is_automatic(&instance)?;
        let (path, overlap) = (instance.receiver_path()?, config::OVERLAP);
        let allowed_sources = Vec::new();
        let member = Configured { automatic, path, instance, allowed_sources, sinks, overlap };
        let mut transport: Arc<dyn Transport> =
            Arc::new(StandInTransport { inner: loopback.clone(), stand_in });
        if let Some(recording) = &simulation.recording {
            transport = recording.over(transport);
        }
        let caller = Arc::new(Caller::new(transport, clock.clone(), Pace::default()));
        let store = Local::open(simulation.folder.path(), simulation.queue, clock.clone())?;
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let enclosed = member.instance.connector.output.envelope.is_some();
        let books = Books::keep(checked.clone(), enclosed, ledger.clone(), bar.clone());
        let state: Arc<dyn State> = store.clone();
        let wire = Arc::new(Wire {
            instance: member.instance.clone(),
            transport: loopback,
            receiver,
            public_url: member.instance.receiver_url.clone().expect("`at_base` gave it one"),
            clock: clock.clone(),
            memory: Memory::new(member.instance.id.clone(), state.clone()),
        });
        let sender = Arc::new(Sender {
            wire: wire.clone(),
            ledger: ledger.clone(),
            shuffle: faults,
            tempo: simulation.tempo,
        });
        let (outcomes, expected) = (Mutex::default(), Mutex::default());
        let handshakes = Arc::new(Handshakes { wire, outcomes, expected });
        vendor.shakes_hands(handshakes.clone());
        let provisioner = Provisioner::new(member.instance.clone(), caller.clone(), state, clock.clone());
        let witness = simulation.recording.as_ref().map(|recording| -> Onlookers {
            provisioner.watched_by(recording.clone());
            (recording.clone(), recording.clone())
        });
        let (stop, stopped) = watch::channel(false);
        let world = World {
            store: store.clone(),
            clock: clock.clone(),
            caller,
            outside: simulation.outside,
            listener: simulation.receiver,
            limits: simulation.receive,
            tls: None,
            admin: None,
            reread: (Arc::new(config::Reread::default), watch::channel(0).1),
            say: say.clone(),
            plain: true,
            written: None,
            summary: std::time::Duration::from_secs(60),
            terminal: false,
            health: Arc::new(Health::default()),
            witness,
            shutdown: stopped,
        };
        let host = Some(tokio::spawn(host::run(vec![member.clone()], world)));
        let (recording, shutdown) = (simulation.recording, simulation.shutdown);
        Ok(Self {
            member,
            vendor,
            store,
            provisioner,
            sender,
            handshakes,
            checked,
            books,
            ledger,
            host,
            stop,
            serving,
            stop_vendor,
            events,
            faults,
            clock,
            say,
            recording,
            shutdown,
        })
    }

    /// The steps, in order.
    async fn live(&mut self, mut plan: Plan) -> Result<()> {
        let automatic = self.member.automatic;
        // 1. The stream is made, and knows where to send.
        if automatic {
            self.stream_is_made().await?;
        } else {
            self.receiver_answers().await?;
            // The operator expects them.
            let at = self.clock.now().as_second();
            let window = Window { from_seconds: at, until_seconds: at.saturating_add(WINDOW_SECONDS) };
            self.handshakes.wire.memory.open_captures(Some(window)).await?;
            // What became of each is for the summary to say.
            let _ = self.handshakes.unsigned().await;
            let _ = self.handshakes.signed().await;
        }
        self.hands_are_shaken().await?;
        // 2. The vendor pushes; 3. everything arrives. What has a lifetime is renewed meanwhile.
        self.push(&mut plan, automatic).await?;
        if automatic && self.vendor.renews() {
            self.stream_is_renewed().await?;
        }
        self.everything_arrives().await?;
        // 4. Ids that are stored come with other bytes.
        if self.faults {
            let pushes = plan.reused(REUSED, self.clock.now());
            self.sender.send_all(pushes).await?;
            self.everything_arrives().await?;
        }
        // A recording has every pass whole.
        if let Some(recording) = self.recording.clone() {
            self.until("provisioning to come to rest", move || Ok((recording.is_idle(), 0))).await?;
        }
        // 5. The tokens of the beginning are no good any more; what was made is removed all the same.
        self.vendor.guard.forget_tokens();
        if automatic { self.destroy().await } else { Ok(()) }
    }

    async fn stream_is_made(&mut self) -> Result<()> {
        let vendor = self.vendor.clone();
        let changes = vendor.changes();
        self.until("the stream to be created at the stand-in", move || {
            let made = vendor.is_well()? && vendor.knows_receiver();
            Ok((made, *changes.borrow()))
        })
        .await
    }

    async fn stream_is_renewed(&mut self) -> Result<()> {
        let vendor = self.vendor.clone();
        let changes = vendor.changes();
        self.until("the stream to be renewed", move || Ok((vendor.renewed() > 0, *changes.borrow()))).await
    }

    /// Who is told the URL by a person performs the handshakes once somebody answers there.
    async fn receiver_answers(&mut self) -> Result<()> {
        while tokio::net::TcpStream::connect(self.sender.wire.receiver).await.is_err() {
            self.host_lives().await?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn hands_are_shaken(&mut self) -> Result<()> {
        let handshakes = self.handshakes.clone();
        self.until("the handshakes to be performed", move || {
            Ok((handshakes.are_done(), handshakes.told().0 as u64))
        })
        .await
    }

    /// Sends all events; under faults the stream is suspended in the middle, and repaired by the instance.
    async fn push(&mut self, plan: &mut Plan, automatic: bool) -> Result<()> {
        let all = if self.events == 0 { u64::MAX } else { self.events };
        if self.faults && automatic {
            self.sender.pour(plan, all.min(1000) / 2, &self.shutdown).await?;
            if self.vendor.suspend() {
                let (vendor, changes) = (self.vendor.clone(), self.vendor.changes());
                self.until("the suspended stream to be repaired", move || {
                    Ok((vendor.is_well()?, *changes.borrow()))
                })
                .await?;
            }
        }
        self.sender.pour(plan, all, &self.shutdown).await
    }

    /// Waits until every sink has everything: for as long as something still moves.
    async fn everything_arrives(&mut self) -> Result<()> {
        let begun = Instant::now();
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            self.host_lives().await?;
            let sinks = self.store.sinks(&self.member.instance.id).await?;
            let behind: u64 = sinks.iter().map(|sink| sink.behind).sum();
            let under_way = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).under_way() as u64;
            if behind == 0 && (under_way == 0 || begun.elapsed() > LOOK * 10 && self.books.is_idle()) {
                return Ok(());
            }
            if behind + under_way != last {
                (last, moved) = (behind + under_way, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                // What is missing is for the books to say.
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn destroy(&mut self) -> Result<()> {
        let report = self.provisioner.destroy(false).await?;
        for deed in report.deeds.iter().filter(|deed| deed.what == What::Deleted) {
            (self.say)(&format!("destroyed: {}", deed.resource));
        }
        Ok(())
    }

    /// Waits for something at the vendor; `done` gives a number, too, that changes while there is progress.
    async fn until(&mut self, what: &str, mut done: impl FnMut() -> Result<(bool, u64)>) -> Result<()> {
        let begun = Instant::now();
        let (mut last, mut moved) = (u64::MAX, begun);
        while !*self.shutdown.borrow() {
            self.host_lives().await?;
            let (there, progress) = done()?;
            if there {
                return Ok(());
            }
            if progress != last {
                (last, moved) = (progress, Instant::now());
            }
            // What goes on and leads nowhere ends too.
            if moved.elapsed() > PATIENCE || begun.elapsed() > PATIENCE * 5 {
                let waited = begun.elapsed().as_secs();
                return Err(Error::new(Kind::Passing, format!("waited {waited} s in vain for {what}")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// An instance that ended by itself ends the life with its error.
    async fn host_lives(&mut self) -> Result<()> {
        if self.host.as_ref().is_some_and(JoinHandle::is_finished) {
            self.stopped().await?;
            return Err(Error::new(Kind::Io, "the instance ended before its time"));
        }
        Ok(())
    }

    /// Waits for the instance to end; gives how many copies it removed.
    async fn stopped(&mut self) -> Result<u64> {
        let Some(host) = self.host.take() else { return Ok(0) };
        let tallies =
            host.await.map_err(|e| Error::new(Kind::Io, "the instance ended by a panic").because(e))??;
        Ok(tallies.get(&self.member.instance.id).map_or(0, |tally| tally.duplicates))
    }

    /// Stops the instance and waits for its end, then the vendor.
    async fn stop(&mut self) -> Result<u64> {
        self.stop.send_replace(true);
        let stopped = self.stopped().await;
        self.stop_vendor.send_replace(true);
        let _ = (&mut self.serving).await;
        stopped
    }
}

fn no_port(error: std::io::Error) -> Error {
    Error::new(Kind::Io, "a listener has no address").because(error)
}
