//! Inflation: gzip, deflate and zstd of any shape, spoiled, in many members, and bombs. Never more than the bound, and
//! the same each time.

use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use forebay::connector::coding::{Coding, Stuck};
use proptest::prelude::*;

use super::spoil::spoiled;

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];
const MOST: usize = 100_000;

/// Small inputs that want to be 8 MiB.
static BOMBS: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ALL.iter().map(|coding| coding.deflate(&vec![0; 8 << 20])).collect());

fn deflated(how: u8, level: u32, bytes: &[u8]) -> Vec<u8> {
    let level = Compression::new(level);
    match how {
        0 => {
            let mut out = GzEncoder::new(Vec::new(), level);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        1 => {
            let mut out = ZlibEncoder::new(Vec::new(), level);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        2 => {
            let mut out = DeflateEncoder::new(Vec::new(), level);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        _ => Coding::Zstd.deflate(bytes),
    }
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    let content = (prop::collection::vec(any::<u8>(), 0..200), 1..400_usize)
        .prop_map(|(bytes, again)| bytes.repeat(again));
    prop_oneof![
        6 => (0..4_u8, 0..10_u32, content).prop_map(|(how, level, bytes)| deflated(how, level, &bytes)),
        1 => (0..3_usize).prop_map(|n| BOMBS[n].clone()),
        // A frame of zstd with nothing in it, and a window of some size.
        1 => any::<u8>().prop_map(|window| vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00]),
        // One to be skipped, as long as it says.
        1 => any::<u32>().prop_map(|length| [&[0x50, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes(), b"abc"].concat()),
        // A gzip member with every optional field.
        1 => Just(b"\x1f\x8b\x08\x1f\0\0\0\0\0\x03\x02\0xyname\0comment\0\0\0\x03\0\0\0\0\0\0\0\0\0".to_vec()),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<u8>> {
    let members = prop::collection::vec(member(), 1..4).prop_map(|members| members.concat());
    let many = (member(), 2..300_usize)
        .prop_map(|(member, times)| if member.len() < 500 { member.repeat(times) } else { member });
    spoiled(prop_oneof![3 => members, 1 => many], 4)
}

pub fn check(input: &[u8]) {
    for coding in ALL {
        let inflated = coding.inflate(input, MOST);
        match &inflated {
            Ok(out) => {
                assert!(out.len() <= MOST, "{coding:?}: {} bytes", out.len());
                if !out.is_empty() {
                    assert_eq!(coding.inflate(input, out.len() - 1), Err(Stuck::TooLarge), "{coding:?}");
                }
            }
            Err(Stuck::TooLarge) => {}
            Err(Stuck::Torn(why)) => assert!(why.len() < 500, "{coding:?}: {why}"),
        }
        assert_eq!(coding.inflate(input, MOST), inflated, "{coding:?} is not the same again");
    }
}

#[test]
fn no_bytes_break_inflation() {
    super::play("inflation", 500, inputs, check);
}

/// What costs is the output, not what says that there will be one: a megabyte of empty members is no work.
#[test]
fn many_members_with_nothing_in_them_are_no_work() {
    let empty = deflated(0, 9, b"");
    let gzip = empty.repeat((1 << 20) / empty.len());
    assert_eq!(Coding::Gzip.inflate(&gzip, 10).map(|out| out.len()), Ok(0));
    for window in [0_u8, 13 << 3] {
        let empty = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00];
        let zstd = empty.repeat((1 << 20) / empty.len());
        assert_eq!(Coding::Zstd.inflate(&zstd, 10).map(|out| out.len()), Ok(0), "{window}");
    }
}
