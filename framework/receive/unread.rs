//! A verified body that has not been looked into: inflated and decoded, within what there is room for.
//!
//! `accept` makes one once the sender is proven. The work of a large one is done on a thread that serves no other
//! request, little of it at once, and holds what it takes until it has ended, whether or not the request still waits
//! for it. Room for what it inflates to is claimed before.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::budget::{self, Budgets, Hold, Ticket};
use super::decode::Decoded;
use super::endpoint::Endpoint;
use super::pool::Claim;
use super::refused::Refused;
use super::request::Head;
use super::verify::Verified;
use crate::connector::coding::{Coding, Stuck};
use crate::connector::schema::Steps;

/// Bodies up to this many bytes are decoded where they are; larger ones leave the worker to others.
pub(super) const SMALL: usize = 64 << 10;
/// Bodies beyond this take memory many times their size while they are decoded: only few are at once.
const LARGE: usize = 256 << 10;
/// Bytes that a small compressed body may inflate to where it is decoded.
const INFLATED: usize = 256 << 10;
/// Steps of the schema up to which the records of a small body are checked where they are: some milliseconds.
const STEPS: u64 = 50_000;

/// A verified request whose body nobody has looked into.
pub(super) struct Unread {
    /// Whose it is.
    pub endpoint: Arc<Endpoint>,
    /// The head of the request.
    pub head: Arc<Head>,
    /// The body as it came.
    pub bytes: Bytes,
    /// How it is compressed.
    pub coding: Option<Coding>,
    /// Bytes that it may inflate to.
    pub most: usize,
    /// When it came.
    pub now: jiff::Timestamp,
    /// That its sender is proven.
    pub _verified: Verified,
}

impl Unread {
    /// Inflates to so many bytes at most and decodes: the records, and how many bytes inflating added. The inner
    /// `None`: there are more, or checking takes more steps than these.
    fn decode(&self, most: usize, steps: Steps) -> Option<(Decoded, usize)> {
        let decoder = self.endpoint.decoder(Some(&self.head), self.now, steps);
        let decoded = match self.coding {
            None => Some((decoder.body(&self.bytes), 0)),
            Some(coding) => match coding.inflate(&self.bytes, most) {
                Ok(inflated) => Some((decoder.body(&inflated), inflated.len())),
                Err(Stuck::TooLarge) => None,
                Err(Stuck::Torn(detail)) => Some((decoder.torn(&self.bytes, &detail), 0)),
            },
        };
        // Of a small body nothing is decided here: with the steps of a whole one, records beyond them are dead letters.
        decoded.filter(|_| !(decoder.steps.are_spent() && decoder.steps.are_few()))
    }

    /// The bytes that it probably inflates to: what gzip says at its end, and what is allowed where nothing is said.
    fn expected(&self) -> usize {
        let said = match self.coding {
            Some(Coding::Gzip) => self.bytes.last_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize),
            Some(Coding::Deflate | Coding::Zstd) | None => None,
        };
        said.map_or(self.most, |said| said.max(self.bytes.len()).min(self.most))
    }

    /// Reads it: the records, and what is held for them.
    pub(super) async fn read(
        self,
        budgets: &Budgets,
        (middling, heavy): (&Arc<Semaphore>, &Arc<Semaphore>),
        ticket: &Ticket,
        hold: Hold,
    ) -> Result<(Decoded, Hold, Option<Claim>), Refused> {
        if self.coding.is_none()
            && self.bytes.len() <= SMALL
            && let Some((decoded, _)) = self.decode(0, Steps::few(STEPS))
        {
            return Ok((decoded, hold, None));
        }
        if self.coding.is_some()
            && self.bytes.len() <= SMALL / 16
            && let Ok(mut claim) = budgets.inflated.0.claim(ticket.owner(), INFLATED.min(self.most))
            && let Some((decoded, inflated)) = self.decode(INFLATED.min(self.most), Steps::few(STEPS))
        {
            claim.shrink(inflated);
            return Ok((decoded, hold, Some(claim)));
        }
        let bounds = [self.expected(), self.most];
        let (mut unread, mut hold) = (self, hold);
        for bound in bounds {
            let claim = match unread.coding {
                Some(_) => Some(budget::inflated(budgets, ticket, bound).await?),
                None => None,
            };
            let large = unread.coding.is_some() || unread.bytes.len() > LARGE;
            let turn = if large { heavy } else { middling }.clone().acquire_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                let read = unread.decode(bound, Steps::of_body(unread.bytes.len()));
                drop(turn);
                (read, unread, hold, claim)
            });
            let (read, back, held, claim) = work.await.map_err(|error| Refused::Broken(error.to_string()))?;
            if let Some((decoded, inflated)) = read {
                let claim = claim.map(|mut claim| {
                    claim.shrink(inflated);
                    claim
                });
                return Ok((decoded, held, claim));
            }
            (unread, hold) = (back, held);
            if bound == unread.most {
                break;
            }
        }
        Err(Refused::TooLarge)
    }
}
