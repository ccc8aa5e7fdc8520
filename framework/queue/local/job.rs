//! What the writer is asked to do, and how whoever asked gets the answer.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::append::{Dedupe, Prepared};
use super::fault::Fault;
use super::known::Memory;
use crate::error::{Error, Kind};
use crate::queue::{Batch, DeadLetter, Receipt, Refusal};

/// Work for the writer.
pub(super) enum Job {
    /// A batch to store.
    Append(Box<Append>),
    /// Anything else that writes.
    Work(Box<dyn Work>),
    /// A reader met damage: look at the whole database.
    Inspect(oneshot::Sender<()>),
}

/// A batch, and who waits for it.
pub(super) struct Append {
    pub(super) batch: Arc<Batch>,
    /// Its dead letters, which the writer keeps.
    pub(super) dead: Vec<DeadLetter>,
    /// Bytes that both bring.
    pub(super) size: u64,
    pub(super) prepared: Prepared,
    pub(super) dedupe: Dedupe,
    pub(super) reply: oneshot::Sender<Result<Receipt, Refusal>>,
    /// What else belongs to the same transaction.
    pub(super) also: Option<Also>,
}

/// What else belongs to a batch's transaction.
pub(super) type Also = Box<dyn FnOnce(&Connection) -> Result<(), Fault> + Send>;

/// Something that writes inside the group's transaction.
pub(super) trait Work: Send {
    /// Does it. An error fails the whole group: it is for what the database says.
    fn perform(&mut self, tx: &Connection, memory: &mut Memory) -> Result<(), Fault>;
    /// Tells whoever waits, once the group is committed or failed.
    fn settle(self: Box<Self>, outcome: Result<(), &Fault>);
}

/// A function as work: its answer goes to whoever asked.
pub(super) struct Task<T, F> {
    work: Option<F>,
    answer: Option<Result<T, Error>>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Task<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { work: Some(work), answer: None, reply }
    }
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Memory) -> Result<Result<T, Error>, Fault> + Send,
{
    fn perform(&mut self, tx: &Connection, memory: &mut Memory) -> Result<(), Fault> {
        if let Some(work) = self.work.take() {
            self.answer = Some(work(tx, memory)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), &Fault>) {
        let never = || Err(Error::new(Kind::Io, "the store did not get to it"));
        let answer = match outcome {
            Ok(()) => self.answer.unwrap_or_else(never),
            Err(fault) => Err(fault.clone().into()),
        };
        drop(self.reply.send(answer));
    }
}
