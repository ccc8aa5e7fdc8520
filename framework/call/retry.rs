//! When a request is sent again, and after how long.
//!
//! `caller` asks here after every try; the http sink reads `Retry-After` here too. Nothing here sleeps, and
//! nothing asks for the time: it is an argument.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use crate::connector::pick::TimeFormat;

/// Whether a call may be sent again when it is not known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is doing it once: reading, updating, deleting.
    Safe,
    /// Doing it twice makes two: creating. Sent again only where the other side surely did nothing: nothing
    /// was sent, or it answered 429 or 401.
    Never,
}

/// The bounds of the retries of one call.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often it is sent at most, the first time included.
    pub attempts: u32,
    /// The first wait where the other side names none; it doubles from there.
    pub first: Duration,
    /// The longest single wait of our own choosing.
    pub longest: Duration,
    /// All waits together, also those that the other side asks for. What does not fit is left to the caller
    /// of the caller, with the wait in [`Failure::wait`](super::failure::Failure::wait).
    pub total: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            total: Duration::from_secs(120),
        }
    }
}

impl Pace {
    /// The wait before try number `attempt` + 1 (the first is 1), after `waited` so far; `None` when the bounds
    /// are reached. `asked` is what the other side wants, `chance` is in 0..1.
    pub fn wait(
        &self,
        attempt: u32,
        waited: Duration,
        asked: Option<Duration>,
        chance: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let wait = match asked {
            // Never sooner than asked, and not everybody at the same moment.
            Some(asked) => asked.max(self.first.min(Duration::from_millis(100))).mul_f64(1.0 + chance * 0.2),
            None => {
                let doubled = self.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
                doubled.mul_f64(0.5 + chance * 0.5)
            }
        };
        (waited.saturating_add(wait) <= self.total).then_some(wait)
    }
}

/// Whether a status says that the same request may succeed later.
pub fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// How long an answer asks to wait: `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), or for a
/// 429 `X-RateLimit-Reset`. Vendors send the latter with every answer, so that with others it says nothing.
pub fn asked_wait(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if let Some(wait) = text(headers, "retry-after").and_then(|value| retry_after(value, now)) {
        return Some(wait);
    }
    if status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let reset =
        text(headers, "x-ratelimit-reset")?.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)?;
    // Most send seconds since 1970; some send seconds from now, which are never that many.
    let seconds = if reset > 1e9 { reset - now.as_second() as f64 } else { reset };
    Some(bounded_seconds(seconds))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| bounded_seconds(seconds));
    }
    let at = TimeFormat::HttpDate.read(value)?;
    Some(bounded_seconds((at.as_second() - now.as_second()) as f64))
}

/// Within 0 and a day: what is asked beyond that is answered by trying once a day.
fn bounded_seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
}

/// A number in 0..1 that nobody can foresee.
pub fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness waits are only less spread; that is no reason to fail a call.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn asked(status: u16, name: &'static str, value: &str) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        let now = Timestamp::from_second(NOW).expect("a time");
        let status = StatusCode::from_u16(status).expect("a status");
        asked_wait(status, &headers, now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn what_the_other_side_asks_for_is_read() {
        assert_eq!(asked(503, "retry-after", "7"), Some(7.0));
        assert_eq!(asked(429, "retry-after", "0.5"), Some(0.5));
        assert_eq!(asked(503, "retry-after", "Fri, 15 Jan 2027 08:00:09 GMT"), Some(9.0));
        assert_eq!(asked(503, "retry-after", "Fri, 15 Jan 2027 07:00:00 GMT"), Some(0.0));
        assert_eq!(asked(503, "retry-after", "-3"), None);
        assert_eq!(asked(503, "retry-after", "soon"), None);
        assert_eq!(asked(503, "retry-after", "1e300"), Some(86_400.0));
        assert_eq!(asked(429, "x-ratelimit-reset", "1800000012"), Some(12.0));
        assert_eq!(asked(429, "x-ratelimit-reset", "1700000000"), Some(0.0));
        assert_eq!(asked(429, "x-ratelimit-reset", "30"), Some(30.0));
        assert_eq!(asked(500, "x-ratelimit-reset", "1800000012"), None);
    }

    #[test]
    fn waits_double_within_their_bounds() {
        let pace = Pace { attempts: 4, ..Pace::default() };
        let wait = |attempt, chance| pace.wait(attempt, Duration::ZERO, None, chance);
        assert_eq!(wait(1, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(wait(2, 1.0), Some(Duration::from_secs(2)));
        assert_eq!(wait(3, 1.0), Some(Duration::from_secs(4)));
        assert_eq!(wait(4, 1.0), None, "the fourth try was the last");
        let long = Pace { attempts: u32::MAX, ..Pace::default() };
        assert_eq!(long.wait(60, Duration::ZERO, None, 1.0), Some(Duration::from_secs(30)));
        assert_eq!(long.wait(60, Duration::from_secs(100), None, 1.0), None, "the time is used up");
    }

    #[test]
    fn nobody_comes_back_sooner_than_asked() {
        let pace = Pace::default();
        for chance in [0.0, 0.5, 0.99] {
            let wait = pace.wait(1, Duration::ZERO, Some(Duration::from_secs(10)), chance).expect("a wait");
            assert!((10.0..=12.0).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert_eq!(pace.wait(1, Duration::ZERO, Some(Duration::from_secs(121)), 0.0), None);
        assert!((0..100).all(|_| (0.0..1.0).contains(&super::chance())));
    }
}
