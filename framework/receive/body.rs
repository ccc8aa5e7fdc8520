//! Reads a body, bounded in bytes, in time, in rate and in memory. It is never cut: more than allowed is
//! refused, however its length was announced.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::budget::Hold;
use super::limits::Limits;
use super::refused::Refused;
use super::request::Incoming;

/// The part of its time that a body may come slower than the least rate.
const GRACE: u32 = 12;
/// How often the rate of a body that pauses is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long, and how many bytes, what is left of a body is read on for after the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(10), 16 << 20);
/// How long a sender may pause in that.
const PAUSE: Duration = Duration::from_secs(2);

/// The length that a head announces, 0 where it announces none.
pub(super) fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.map_or(0, |length| length.trim().parse().unwrap_or(usize::MAX))
}

/// Reads the whole body of at most so many bytes, whose length was announced or not. Room for a large one is claimed
/// first, so that bodies wait for each other instead of getting stuck half way. `ahead` is what the connection may read of
/// it by itself.
pub(super) async fn read(
    body: &mut Incoming,
    announced: usize,
    most: usize,
    ahead: usize,
    limits: &Limits,
    hold: &mut Hold,
) -> Result<Bytes, Refused> {
    if announced > most {
        return Err(Refused::TooLarge);
    }
    hold.announce(announced, ahead).await?;
    let begin = Instant::now();
    let (mut whole, mut only) = (BytesMut::new(), Bytes::new());
    while let Some(data) = next(body, limits, begin, only.len() + whole.len()).await? {
        let so_far = only.len() + whole.len();
        let length = so_far + data.len();
        if length > most {
            return Err(Refused::TooLarge);
        }
        hold.came(length).await?;
        // A body that comes in one piece is taken as it is, without a copy.
        if so_far == 0 {
            only = data;
            continue;
        }
        if whole.is_empty() {
            // All that was announced, if there is room for it: what grows takes its memory twice for a moment. The system
            // gives it as it is written to.
            let ahead = if hold.has_room_for(announced) { announced } else { 0 };
            whole.reserve(ahead.max(length));
            whole.extend_from_slice(&std::mem::take(&mut only));
        }
        whole.extend_from_slice(&data);
    }
    let bytes = if whole.is_empty() { only } else { whole.freeze() };
    hold.whole(bytes.len());
    Ok(bytes)
}

/// The next piece; `None` at the end.
async fn next(
    body: &mut Incoming,
    limits: &Limits,
    begin: Instant,
    so_far: usize,
) -> Result<Option<Bytes>, Refused> {
    loop {
        let passed = begin.elapsed();
        let slow = passed > limits.body_time / GRACE
            && (so_far as u128) < limits.least_rate as u128 * passed.as_millis() / 1000;
        if passed >= limits.body_time || slow {
            return Err(Refused::TooSlow);
        }
        let frame = timeout(LOOK.min(limits.body_time.saturating_sub(passed)), body.frame()).await;
        match frame {
            Err(_) => {}
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Refused::BrokenOff),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                Ok(_) | Err(_) => {}
            },
        }
    }
}

/// Reads on and throws away, for a while: a sender that is still sending may not look at its answer before it is done.
pub(super) async fn linger(mut body: Incoming) {
    let (time, most) = LINGER;
    let mut seen = 0;
    let reading = async {
        while let Ok(Some(Ok(frame))) = timeout(PAUSE, body.frame()).await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > most {
                return;
            }
        }
    };
    let _ = timeout(time, reading).await;
}
