//! Events as a tenant really sent them, where they are at hand: through the receiver into the store.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use forebay::connector::clock::SystemClock;
use forebay::queue::limits::Limits as QueueLimits;
use forebay::queue::local::{Beside, Filter, Local};
use forebay::queue::{DeadReason, Queue, SinkKey};
use serde_json::value::RawValue;

use super::stage::{self, KEY, Memory, Stage};
use crate::support;

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

fn lines() -> Option<Vec<String>> {
    let events = support::shared()?.join("data/auth0/events");
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let text = read(events.join("captured-2021.jsonl")) + "\n" + &read(events.join("sample-2026.jsonl"));
    Some(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// 98 lines, of which two share an id with different bytes: 97 records once each, however they are posted
/// and however often, and one dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn captured_events_come_out_byte_for_byte_once_each() {
    let Some(lines) = lines() else { return };
    assert_eq!(lines.len(), 98);
    let forms: [Vec<String>; 3] =
        [vec![lines.join("\n")], vec![format!("[{}]", lines.join(","))], lines.clone()];
    for first in 0..forms.len() {
        let folder = tempfile::tempdir().unwrap();
        let limits = QueueLimits { min_free: 0, ..QueueLimits::default() };
        let local = Local::open(folder.path(), limits, Arc::new(SystemClock)).unwrap();
        let instance = stage::instance(stage::auth0(), "acme", &[("monad_api_key", KEY)]);
        let sink = SinkKey { instance: instance.id.clone(), sink: "file".to_owned() };
        local.register_sinks(&instance.id, &["file".to_owned()]).await.unwrap();
        let stage =
            Stage::on(instance, Default::default(), None, local.clone(), Arc::new(Memory::default())).await;
        for n in 0..forms.len() {
            let mut accepted = 0;
            for body in &forms[(first + n) % forms.len()] {
                let reply = stage.post(body).await;
                assert_eq!(reply.status, 200);
                accepted += super::taken(&reply.json());
            }
            assert_eq!(accepted, 98);
        }
        let mut delivered: Vec<Bytes> = Vec::new();
        while delivered.len() < 97 {
            let chunk = local.read(&sink, 1000, 1 << 20).await.unwrap().unwrap();
            delivered.extend(chunk.records.iter().cloned());
            let progress =
                forebay::queue::Progress { done: chunk.records.len(), note: None, dead: Vec::new() };
            local.advance(&sink, &chunk, progress).await.unwrap();
        }
        let mut expected: Vec<&str> =
            lines.iter().map(|line| serde_json::from_str::<Envelope<'_>>(line).unwrap().data.get()).collect();
        let letters = Beside::open(folder.path()).unwrap();
        let letters = letters.letters(&sink.instance, &Filter::default(), 0, 10).unwrap();
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(letters[0].letter.reason, DeadReason::IdReused);
        let reused = Beside::open(folder.path()).unwrap();
        let reused = reused.letter(&sink.instance, letters[0].number).unwrap().unwrap().letter.bytes;
        let at = expected.iter().position(|record| record.as_bytes() == reused).unwrap();
        expected.remove(at);
        assert_eq!(delivered.len(), 97);
        assert!(delivered.iter().zip(&expected).all(|(got, sent)| got == sent.as_bytes()));
    }
}
