//! What a group of batches becomes: blocks, dead letters and ids, planned in memory, then written in one
//! transaction by the writer.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::Connection;

use super::block::{self, Block, Packed, Sealed, crc, pack};
use super::dedupe::{Key, Mark, Seen};
use super::fault::Fault;
use super::keys::{key, stored};
use super::known::{Known, Memory};
use super::letters;
use crate::connector::instance::InstanceId;
use crate::connector::model::OnReuse;
use crate::connector::record::{Checked, Remember};
use crate::queue::{Batch, DeadLetter, DeadReason, DeadWhat, Receipt};

/// What becomes of ids that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dedupe {
    /// By the batch's `on_reuse`.
    ByRule,
    /// Everything is delivered: a person sent a letter again that was one because of its id.
    Force,
}

/// What is worked out before the writer sees a batch, on the thread that read it, whose processor has it at hand.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// The store's key that the marks were made with.
    key: Option<Key>,
    /// One for each record.
    marks: Vec<Mark>,
    /// All records, compressed: worth a block of their own. Small batches share one.
    packed: Option<Packed>,
}

/// Bytes of records that are worth a block of their own.
const OWN_BLOCK: usize = 64 << 10;

impl Prepared {
    /// Prepares a batch. A very large one is left to the writer.
    pub(super) fn of(key: Option<Key>, batch: &Batch) -> Self {
        let size: usize = batch.records.iter().map(|record| record.bytes().len()).sum();
        let Some(key) = key.filter(|_| size <= block::FULL) else { return Self::default() };
        let mark = |record: &Checked| Mark::of(&key, &batch.instance, record.id(), record.record());
        let marks = batch.records.iter().map(mark).collect();
        let packed = (size >= OWN_BLOCK).then(|| pack(batch.records.iter().map(Checked::bytes)));
        Self { key: Some(key), marks, packed }
    }
}

/// What one batch becomes.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) receipt: Receipt,
    records: Vec<Bytes>,
    /// The records instead, compressed, where nothing of the batch was held back.
    packed: Option<Packed>,
    pub(super) dead: Vec<DeadLetter>,
    latest: Option<i64>,
    /// Where the window stood before it.
    before: usize,
}

/// What the transaction of a group will write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    blocks: Vec<(Sealed, Block)>,
    /// The last block of each instance of the group, still open.
    open: BTreeMap<InstanceId, Open>,
    letters: Vec<(i64, DeadLetter)>,
}

/// A block in the making.
#[derive(Debug, Default)]
struct Open {
    records: Vec<Bytes>,
    size: usize,
    /// How many ids it brought.
    marks: usize,
}

/// Tells new records of a batch from known ones, and remembers the new ones.
pub(super) fn judge(
    memory: &mut Memory,
    batch: &Batch,
    dead: Vec<DeadLetter>,
    prepared: Prepared,
    dedupe: Dedupe,
) -> Planned {
    let mut planned = Planned { dead, before: memory.windows.len(&batch.instance), ..Planned::default() };
    // A store that was replaced has another key.
    let marks = if prepared.key.as_ref() == Some(&memory.key) { prepared.marks } else { Vec::new() };
    let mut marks = marks.into_iter();
    let mut window = memory.windows.of(&batch.instance);
    let mut delivered = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        let made = || Mark::of(&memory.key, &batch.instance, record.id(), record.record());
        let mark = marks.next().unwrap_or_else(made);
        let seen = match record.remember() {
            Remember::Window => window.look(&mark),
            Remember::For(age) => window.look_within(&mark, batch.received.as_millisecond(), age),
            Remember::Never => Seen::New,
        };
        if seen != Seen::Same && record.remember() != Remember::Never {
            window.remember(mark);
        }
        let deliver = match (seen, dedupe, batch.on_reuse) {
            (Seen::New, _, _) | (_, Dedupe::Force, _) | (Seen::Reused, _, OnReuse::Deliver) => true,
            (Seen::Same, Dedupe::ByRule, _) | (Seen::Reused, Dedupe::ByRule, OnReuse::Drop) => false,
            (Seen::Reused, Dedupe::ByRule, OnReuse::DeadLetter) => {
                planned.dead.push(reused(record, batch.received));
                continue;
            }
        };
        planned.latest = planned.latest.max(record.time().map(|time| time.as_millisecond()));
        if deliver {
            delivered.push(record);
        } else {
            planned.receipt.duplicates += 1;
        }
    }
    planned.receipt.stored = count(delivered.len());
    planned.packed = prepared.packed.filter(|_| delivered.len() == batch.records.len());
    if planned.packed.is_none() {
        planned.records = delivered.into_iter().map(|record| record.bytes().clone()).collect();
    }
    planned.receipt.dead = count(planned.dead.len());
    planned
}

fn reused(record: &Checked, at: jiff::Timestamp) -> DeadLetter {
    DeadLetter {
        what: DeadWhat::Record,
        reason: DeadReason::IdReused,
        detail: "id reused: an event with this id and other bytes came before".to_owned(),
        bytes: record.bytes().slice_ref(record.record()),
        id: Some(record.id().clone()),
        sink: None,
        at,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Takes back what [`judge`] remembered: the batch is refused.
pub(super) fn unjudge(memory: &mut Memory, instance: &InstanceId, planned: &Planned) {
    memory.windows.forget_after(instance, planned.before);
}

impl Plan {
    /// Adds a batch: its records get their positions here.
    pub(super) fn add(
        &mut self,
        tx: &Connection,
        memory: &mut Memory,
        instance: &InstanceId,
        planned: Planned,
    ) -> Result<(), Fault> {
        let fresh = memory.windows.len(instance) - planned.before;
        let known = memory.instance(tx, instance)?;
        known.latest = known.latest.max(planned.latest);
        let number = known.number;
        self.letters.extend(planned.dead.into_iter().map(|letter| (number, letter)));
        let open = self.open.entry(instance.clone()).or_default();
        open.marks += fresh;
        if let Some(packed) = planned.packed {
            if !open.records.is_empty() {
                self.blocks.push(close(known, open));
            }
            self.blocks.push(place(known, packed));
            return Ok(());
        }
        for record in planned.records {
            open.size += record.len();
            open.records.push(record);
            if open.size >= block::FULL {
                self.blocks.push(close(known, open));
            }
        }
        Ok(())
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Writes it into a transaction.
    pub(super) fn write(&mut self, tx: &Connection, memory: &mut Memory, now: i64) -> Result<(), Fault> {
        for (instance, open) in &mut self.open {
            let known = memory.instance(tx, instance)?;
            if !open.records.is_empty() {
                self.blocks.push(close(known, open));
            }
            tx.prepare_cached("UPDATE instances SET next = ?, latest = ? WHERE number = ?")?.execute((
                stored(known.next),
                known.latest,
                known.number,
            ))?;
            if open.marks > 0 {
                let (number, seq) = (known.number, memory.next_ids);
                let row = memory.windows.row(instance, number, open.marks);
                tx.prepare_cached("INSERT INTO ids(seq, at, checksum, body) VALUES (?, ?, ?, ?)")?
                    .execute((seq, now, crc(&[&row]), &row))?;
                memory.windows.committed(instance, seq, now, open.marks);
                memory.next_ids += 1;
            }
        }
        let mut insert =
            tx.prepare_cached("INSERT INTO blocks(key, count, at, checksum, body) VALUES (?, ?, ?, ?, ?)")?;
        for (sealed, _) in &self.blocks {
            insert.execute((sealed.key, sealed.count, now, sealed.checksum, &sealed.body[..]))?;
        }
        for (number, letter) in &self.letters {
            letters::insert(tx, *number, letter)?;
        }
        Ok(())
    }

    /// Whether it brings dead letters.
    pub(super) fn has_letters(&self) -> bool {
        !self.letters.is_empty()
    }

    /// The blocks that were written.
    pub(super) fn into_blocks(self) -> Vec<(Sealed, Block)> {
        self.blocks
    }
}

fn close(known: &mut Known, open: &mut Open) -> (Sealed, Block) {
    let packed = pack(open.records.iter());
    open.records.clear();
    open.size = 0;
    place(known, packed)
}

/// Gives records their positions: the next ones.
fn place(known: &mut Known, packed: Packed) -> (Sealed, Block) {
    let (sealed, block) = packed.seal(key(known.number, known.next), known.next);
    known.next = block.end();
    known.held.add(known.next, sealed.body.len() as u64);
    (sealed, block)
}
