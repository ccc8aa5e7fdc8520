//! The clock goes back an hour or forward a month, between commits and between restarts: nothing is lost, nothing
//! that is within the window comes twice, nothing waits for the old time to come again.

use forebay::queue::local::Local;
use forebay::queue::{Queue, Receipt, Refusal};

use super::accounts::Accounts;
use crate::queue::{Hand, START, batch, checked, id, limits};

const HOUR: i64 = 3600;
const MONTH: i64 = 30 * 24 * HOUR;

#[test]
fn a_clock_that_jumps_between_commits_stops_nothing() {
    // Jumps after so many looks at the clock, while requests come.
    for jumps in [
        format!("clock=60*off->return(-{HOUR})"),
        format!("clock=60*off->return({MONTH})"),
        format!("clock=40*return({MONTH})->40*return(-{HOUR})->off"),
    ] {
        let mut accounts = Accounts::with("rotate: {every: 1h}");
        let running = accounts.start(&jumps);
        let url = running.urls[0].clone();
        for _ in 0..24 {
            // The jump may come between any two requests.
            if jumps.contains(&MONTH.to_string()) {
                accounts.forget();
            }
            accounts.push(&url, 1);
        }
        assert_eq!(running.stop().code(), Some(0), "{jumps}");
        accounts.settle(&jumps, |_| {});
    }
}

#[test]
fn a_clock_that_jumps_between_restarts_stops_nothing() {
    let mut accounts = Accounts::with("rotate: {every: 1h}");
    for shift in [0, MONTH, 0, -HOUR, MONTH, -HOUR] {
        if shift == MONTH {
            accounts.forget();
        }
        let running = accounts.start(&format!("clock=return({shift})"));
        let url = running.urls.first().unwrap_or_else(|| panic!("{shift}: {}", running.said())).clone();
        accounts.push(&url, 4);
        assert_eq!(running.stop().code(), Some(0), "{shift}");
    }
    accounts.forget();
    accounts.settle("after every jump", |_| {});
}

#[tokio::test]
async fn a_clock_that_goes_back_while_the_store_is_broken_does_not_keep_it_closed() {
    for step in [-HOUR, MONTH] {
        let outer = tempfile::tempdir().unwrap();
        let (folder, away) = (outer.path().join("data"), outer.path().join("away"));
        let clock = Hand::at(START);
        let local = Local::open(&folder, limits(), clock.clone()).unwrap();
        let append = async |n: &str| local.append(batch("acme", vec![checked(n, "x")])).await;
        append("1").await.unwrap();
        // Without its folder the store cannot tell how much room there is.
        std::fs::rename(&folder, &away).unwrap();
        // The second one is answered after the first one's failure was taken note of, at the old time.
        for _ in 0..2 {
            assert!(matches!(append("2").await, Err(Refusal::Broken(_))));
        }
        std::fs::rename(&away, &folder).unwrap();
        clock.step(step);
        // A minute or two by the new time, and not until the old one has come again. The files are not used before a
        // thread of its own has ended saving them, which takes as long as it takes.
        let mut accepted = append("2").await;
        for _ in 0..120 {
            if accepted.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                clock.step(1);
                accepted = append("2").await;
            }
        }
        assert_eq!(accepted.unwrap_or_else(|refusal| panic!("{step} s: {refusal:?}")).stored, 1);
    }
}

#[tokio::test]
async fn the_window_holds_what_it_must_while_the_clock_goes_back_and_forth() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at(START);
    let mut local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
    local.register_sinks(&id("acme"), &["a".to_owned()]).await.unwrap();
    let (stored, duplicate) =
        (Receipt { stored: 1, ..Receipt::default() }, Receipt { duplicates: 1, ..Receipt::default() });
    // A day is remembered. Each step: the clock's, a restart, an id, what becomes of it.
    for (step, restart, id, expected) in [
        (0, false, "1", stored),
        (-HOUR, false, "1", duplicate),
        (0, false, "2", stored),
        (0, true, "1", duplicate),
        (0, false, "2", duplicate),
        (24 * HOUR, false, "1", duplicate),
        (HOUR, true, "1", duplicate),
        (0, false, "2", stored),
        (MONTH, true, "1", stored),
        (-MONTH, true, "1", duplicate),
        (0, false, "3", stored),
        (-HOUR, true, "3", duplicate),
    ] {
        clock.step(step);
        if restart {
            local.close().await.unwrap();
            local = Local::open(folder.path(), limits(), clock.clone()).unwrap();
        }
        let receipt = local.append(batch("acme", vec![checked(id, "x")])).await.unwrap();
        assert_eq!(receipt, expected, "{step} {restart} {id}");
    }
}
