//! What comes out: every record, byte for byte, in order, in chunks with bounds; many requests share a commit.

use super::*;

#[tokio::test]
async fn records_come_out_byte_for_byte_in_order_for_every_sink() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a", "b"]).await;
    let odd: Vec<Bytes> = vec![
        Bytes::from_static(b"{\"n\":1.0,\"big\":1635984900418}"),
        Bytes::from_static(b""),
        Bytes::from_static(b"\x00\xff\r\n\xfe"),
        Bytes::from(vec![b'x'; 3 << 20]),
        Bytes::from_static(b"last"),
    ];
    let records =
        odd.iter().enumerate().map(|(n, bytes)| checked(&format!("id{n}"), bytes.clone())).collect();
    let receipt = local.append(batch("acme", records)).await.unwrap();
    assert_eq!(receipt, Receipt { stored: 5, duplicates: 0, dead: 0 });
    assert_eq!(drain(&local, &key("acme", "a")).await, odd);
    assert_eq!(drain(&local, &key("acme", "b")).await, odd);
    local.close().await.unwrap();
}

#[tokio::test]
async fn a_chunk_keeps_its_bounds_but_always_holds_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    for n in 0..10 {
        let records = (0..10).map(|m| checked(&format!("{n}-{m}"), vec![b'a' + m; 100])).collect();
        local.append(batch("acme", records)).await.unwrap();
    }
    let chunk = local.read(&sink, 1000, 50).await.unwrap().unwrap();
    assert_eq!((chunk.records.len(), &chunk.origin), (1, &Origin::Log { from: Position(0) }));
    let chunk = local.read(&sink, 25, 1 << 20).await.unwrap().unwrap();
    assert_eq!(chunk.records.len(), 25, "a chunk reaches over blocks");
    local.advance(&sink, &chunk, done(13)).await.unwrap();
    let chunk = local.read(&sink, 1000, 1000).await.unwrap().unwrap();
    assert_eq!((chunk.records.len(), &chunk.origin), (10, &Origin::Log { from: Position(13) }));
    assert_eq!(texts(&chunk)[0], vec![b'd'; 100]);
}

#[tokio::test]
async fn requests_that_wait_share_a_commit_and_a_reader_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path());
    register(&local, "acme", &["a"]).await;
    let sink = key("acme", "a");
    let reader = tokio::spawn({
        let (local, sink) = (local.clone(), sink.clone());
        async move { local.read(&sink, 1000, 1 << 20).await.unwrap().unwrap() }
    });
    let many = (0..200).map(|n| {
        let local = local.clone();
        tokio::spawn(async move {
            local.append(batch("acme", vec![checked(&n.to_string(), n.to_string())])).await
        })
    });
    for task in many.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap().stored, 1);
    }
    assert!(!reader.await.unwrap().records.is_empty());
    let mut found: Vec<usize> =
        drain(&local, &sink).await.iter().map(|b| std::str::from_utf8(b).unwrap().parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..200).collect::<Vec<_>>());
    assert!(local.stats().commits < 100, "{} commits for 200 requests", local.stats().commits);
}
