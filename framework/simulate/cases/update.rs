//! Expectations rewritten to what happened: `forebay test --update`.
//!
//! Only what differs is touched; comments, order and quotes stay. A case is written only when every difference could be
//! rewritten and the rewritten case, played again, holds: what cannot be played, or fails where it should not, is for a
//! person to look at.

use std::path::Path;
use std::sync::Arc;

use super::compare::file_difference;
use super::wrong::Fix;
use super::{Played, play_text};
use crate::call::Transport;
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};
use crate::spec::case::key;
use crate::spec::rewrite::rewrite;
use crate::spec::source::Source;

/// How often a case is played and rewritten: what stood behind a difference shows itself after it.
const ROUNDS: usize = 4;

/// What became of a case that did not hold.
#[derive(Debug)]
pub enum Updated {
    /// Its text is another now, in which it holds; and the lines that changed.
    Rewritten {
        /// The text.
        text: String,
        /// `diff -u` of the file.
        diff: String,
    },
    /// It stays as it is, since a person must look at this.
    Left(String),
}

/// Works out how a case that did not hold would read if it expected what happens. Writes nothing.
pub async fn update(
    connector: &Arc<Connector>,
    file: &Path,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<Updated> {
    let place = file.display().to_string();
    let before = Source::read(file)
        .map(|source| source.text)
        .map_err(|e| Error::new(Kind::Configuration, "the case cannot be read").at(&place).because(e))?;
    rewritten(connector, file, before, scratch, loopback).await
}

/// The same for a text that stands in no file yet.
pub async fn rewritten(
    connector: &Arc<Connector>,
    file: &Path,
    before: String,
    scratch: &Path,
    loopback: Arc<dyn Transport>,
) -> Result<Updated> {
    let mut text = before.clone();
    for _ in 0..ROUNDS {
        let played = play_text(connector, file, &text, scratch, loopback.clone()).await?;
        if played.holds() {
            let diff = file_difference(&file.display().to_string(), &before, &text);
            return Ok(Updated::Rewritten { text, diff });
        }
        match mended(&played, &text) {
            Ok(new) => text = new,
            Err(why) => return Ok(Updated::Left(why)),
        }
    }
    Ok(Updated::Left(
        "it differs again each time it is played: what it makes is not the same twice".to_owned(),
    ))
}

/// The text with every difference rewritten; the error says which one is for a person.
fn mended(played: &Played, text: &str) -> Result<String, String> {
    if let Some(error) = &played.error {
        return Err(format!("it cannot be played: {error}"));
    }
    if let Some(wrong) = played.wrong.iter().find(|wrong| wrong.fixes.is_empty()) {
        return Err(format!("a person must look at this: {}", wrong.report()));
    }
    let mut fixes: Vec<&Fix> = played.wrong.iter().flat_map(|wrong| &wrong.fixes).collect();
    // Keys go first, then what is deepest is set, then items go, the last one first: so every place stays what it was
    // when it was noted.
    fixes.sort_by(|a, b| turn(a).cmp(&turn(b)).then_with(|| by_place(&b.at.0).cmp(&by_place(&a.at.0))));
    let mut text = text.to_owned();
    for fix in fixes {
        let new = rewrite(&text, &fix.at, fix.to.as_ref());
        text = new.ok_or_else(|| {
            format!(
                "{} stands in an anchor that others use, or in a way that cannot be rewritten alone",
                key(&fix.at)
            )
        })?;
    }
    Ok(text)
}

/// Keys, with the numbers among them in their order.
fn by_place(keys: &[String]) -> Vec<(usize, &str)> {
    keys.iter().map(|key| (key.parse().unwrap_or(0), key.as_str())).collect()
}

fn turn(fix: &Fix) -> (u8, std::cmp::Reverse<usize>) {
    let is_item = fix.at.last().is_some_and(|key| key.parse::<usize>().is_ok());
    let turn = match (&fix.to, is_item) {
        (None, false) => 0,
        (Some(_), _) => 1,
        (None, true) => 2,
    };
    (turn, std::cmp::Reverse(fix.at.0.len()))
}
