//! The queue against a simple model of itself, whatever is done in whatever order: appends (heard or not), reads,
//! acknowledgements, refusals, letters sent again or dropped and sinks dropped by a second process, restarts, crashes,
//! a clock that jumps. A crash is a copy of the files as they are at that moment, opened elsewhere.
//!
//! `PROPTEST_CASES=5000` plays more cases; `PROPTEST_RNG_SEED=7` plays those of a seed again. What failed once is kept
//! in `queue_model/regressions.txt` and played first.

mod model;
mod play;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestRunner};

use self::play::Play;

/// A record: an id, and one of two contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    id: u8,
    content: bool,
}

impl Record {
    fn text(self) -> String {
        format!("{{\"id\":{},\"content\":{}}}", self.id, self.content)
    }
}

/// What is done. A number picks one of what there is at that moment.
#[derive(Debug, Clone)]
enum Op {
    /// A request, with a line in it that is broken or without.
    Append { records: Vec<Record>, broken: bool },
    /// A request whose answer nobody hears, since everything stops; it is sent again after the crash.
    Unheard { records: Vec<Record> },
    /// A sink takes at most so many records, is done with a part of them, and may refuse the first.
    Deliver { sink: usize, most: usize, part: usize, refuse: bool, note: bool },
    /// The instance has these sinks from now on.
    Register { sinks: [bool; 3] },
    /// A second process drops a sink that was removed.
    DropSink { sink: usize },
    /// A second process has a letter sent again.
    Retry { pick: usize },
    /// A second process drops a letter.
    DropLetter { pick: usize },
    /// What was never accepted is decoded again.
    Settle,
    /// State is saved, by a second process or not, against what was loaded or something stale.
    Save { beside: bool, stale: bool },
    /// The clock is set forward or back, in seconds.
    Clock(i64),
    /// Closed and opened again.
    Reopen,
    /// Gone at once, and opened again as the files are.
    Crash,
}

/// What is done to which of two instances.
#[derive(Debug, Clone)]
struct Step {
    other: bool,
    op: Op,
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec((0u8..20, any::<bool>()).prop_map(|(id, content)| Record { id, content }), 0..8)
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        8 => (records(), prop::bool::weighted(0.2)).prop_map(|(records, broken)| Op::Append { records, broken }),
        1 => records().prop_map(|records| Op::Unheard { records }),
        10 => (0usize..3, 1usize..20, 0usize..20, prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(sink, most, part, refuse, note)| Op::Deliver { sink, most, part, refuse, note }),
        1 => any::<[bool; 3]>().prop_map(|sinks| Op::Register { sinks }),
        1 => (0usize..3).prop_map(|sink| Op::DropSink { sink }),
        2 => any::<usize>().prop_map(|pick| Op::Retry { pick }),
        1 => any::<usize>().prop_map(|pick| Op::DropLetter { pick }),
        1 => Just(Op::Settle),
        1 => any::<(bool, bool)>().prop_map(|(beside, stale)| Op::Save { beside, stale }),
        2 => prop_oneof![Just(-3600), Just(60), Just(23 * 3600), Just(30 * 24 * 3600), Just(-30 * 24 * 3600)]
            .prop_map(Op::Clock),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ];
    (prop::bool::weighted(0.2), op).prop_map(|(other, op)| Step { other, op })
}

#[test]
fn the_queue_does_what_a_simple_model_does() {
    let seed = crate::support::seed();
    let cases = std::env::var("PROPTEST_CASES").map_or(48, |cases| cases.parse().expect("a number"));
    println!("{cases} cases of PROPTEST_RNG_SEED={seed}");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queue_model/regressions.txt");
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        max_shrink_iters: 400,
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let played = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        runtime.block_on(async {
            let mut play = Play::new().await;
            for step in steps {
                play.step(step).await;
            }
            play.end().await;
        });
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
}
