//! Compressions that vendors use: gzip, deflate and zstd, undone within a bound, and done for the stand-in.
//!
//! `receive` undoes the Content-Encoding of a verified body and the layers of a record with it; `compile` and
//! the stand-in open samples. Whatever comes in, no more memory is taken than the bound, a window and a little.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The window that a zstd frame may ask for: what RFC 8878 tells every reader to have, and senders to keep to.
const WINDOW: u64 = 8 << 20;
/// Bytes that are undone between two looks at the bound.
const STEP: usize = 128 << 10;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952, of one member or of several.
    Gzip,
    /// RFC 1950, or RFC 1951 alone: senders mean either by `deflate`.
    Deflate,
    /// RFC 8878, of one frame or of several.
    Zstd,
}

/// Why bytes cannot be inflated.
#[derive(Debug, PartialEq, Eq)]
pub enum Stuck {
    /// They grow beyond the bound.
    TooLarge,
    /// They are not what they are said to be, or break off; and how.
    Torn(String),
}

impl Coding {
    /// The name it has in a Content-Encoding and in the language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of a name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate, Self::Zstd].into_iter().find(|coding| coding.name() == name)
    }

    /// Whether bytes begin as it does; `None` where it has no beginning of its own.
    pub fn begins(self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Gzip => Some(bytes.starts_with(&[0x1f, 0x8b])),
            Self::Zstd => Some(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])),
            Self::Deflate => None,
        }
    }

    /// Undoes it, whole: at most `most` bytes come out. Nothing may follow the end.
    pub fn inflate(self, bytes: &[u8], most: usize) -> Result<Bytes, Stuck> {
        let inflated = match self {
            Self::Gzip => drained(&mut MultiGzDecoder::new(bytes), bytes.len(), most),
            Self::Deflate => deflated(bytes, most),
            Self::Zstd => frames(bytes, most),
        };
        inflated.map(Bytes::from).map_err(|stuck| match stuck {
            Stuck::TooLarge => Stuck::TooLarge,
            Stuck::Torn(why) => Stuck::Torn(format!("the {} encoding cannot be undone: {why}", self.name())),
        })
    }

    /// Does it: what a vendor would have sent.
    pub fn deflate(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let level = flate2::Compression::fast();
        let done = match self {
            Self::Gzip => flate2::bufread::GzEncoder::new(bytes, level).read_to_end(&mut out),
            Self::Deflate => flate2::bufread::ZlibEncoder::new(bytes, level).read_to_end(&mut out),
            Self::Zstd => {
                return ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
            }
        };
        done.expect("memory can always be read");
        out
    }
}

/// Reads to the end, or one byte past the bound.
fn drained(reader: &mut impl Read, came: usize, most: usize) -> Result<Vec<u8>, Stuck> {
    let mut out = Vec::with_capacity(came.saturating_mul(4).min(most).min(1 << 20));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(limit).read_to_end(&mut out) {
        Ok(_) if out.len() > most => Err(Stuck::TooLarge),
        Ok(_) => Ok(out),
        Err(error) => Err(Stuck::Torn(error.to_string())),
    }
}

/// With the frame of zlib where there is one. A raw stream may look like one, so that it is tried as well.
fn deflated(bytes: &[u8], most: usize) -> Result<Vec<u8>, Stuck> {
    let framed = matches!(bytes, [first, second, ..]
        if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)).is_multiple_of(31));
    if framed {
        let mut reader = ZlibDecoder::new(bytes);
        match drained(&mut reader, bytes.len(), most).and_then(|out| ended(out, reader.get_ref())) {
            Err(Stuck::Torn(_)) => {}
            done => return done,
        }
    }
    let mut reader = DeflateDecoder::new(bytes);
    drained(&mut reader, bytes.len(), most).and_then(|out| ended(out, reader.get_ref()))
}

fn ended(out: Vec<u8>, rest: &[u8]) -> Result<Vec<u8>, Stuck> {
    if rest.is_empty() { Ok(out) } else { Err(Stuck::Torn("bytes follow its end".to_owned())) }
}

/// The frames of zstd one after the other; those that are to be skipped hold nothing.
fn frames(mut bytes: &[u8], most: usize) -> Result<Vec<u8>, Stuck> {
    let torn = |error: FrameDecoderError| Stuck::Torn(error.to_string());
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW);
    let mut out = Vec::with_capacity(bytes.len().min(most));
    while !bytes.is_empty() {
        match decoder.init(&mut bytes) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let rest = usize::try_from(length).ok().and_then(|length| bytes.get(length..));
                bytes = rest.ok_or_else(|| Stuck::Torn("it breaks off".to_owned()))?;
                continue;
            }
            Err(error) => return Err(torn(error)),
        }
        while !decoder.is_finished() {
            decoder.decode_blocks(&mut bytes, BlockDecodingStrategy::UptoBytes(STEP)).map_err(torn)?;
            if decoder.can_collect() > most - out.len() {
                return Err(Stuck::TooLarge);
            }
            decoder.collect_to_writer(&mut out).map_err(|error| Stuck::Torn(error.to_string()))?;
        }
        if decoder.get_checksum_from_data().is_some_and(|sum| Some(sum) != decoder.get_calculated_checksum())
        {
            return Err(Stuck::Torn("its checksum is another".to_owned()));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

    fn torn(outcome: Result<Bytes, Stuck>) -> bool {
        matches!(outcome, Err(Stuck::Torn(_)))
    }

    /// A frame with nothing in it but its head: a window of so many powers of two above 1 KiB, no size.
    fn window_of(log: u8) -> Vec<u8> {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, log << 3], &[0x01, 0x00, 0x00][..]].concat()
    }

    #[test]
    fn a_bomb_stops_at_the_bound_and_what_just_fits_is_taken() {
        for coding in ALL {
            let bomb = coding.deflate(&vec![b' '; 20 << 20]);
            assert!(bomb.len() < 1 << 20, "{coding:?}: {}", bomb.len());
            assert_eq!(coding.inflate(&bomb, 1 << 20), Err(Stuck::TooLarge), "{coding:?}");
            assert_eq!(coding.inflate(&bomb, (20 << 20) - 1), Err(Stuck::TooLarge), "{coding:?}");
            assert_eq!(coding.inflate(&bomb, 20 << 20).map(|out| out.len()), Ok(20 << 20), "{coding:?}");
        }
    }

    #[test]
    fn what_breaks_off_or_goes_on_is_torn() {
        for coding in ALL {
            let whole = coding.deflate(b"a text that is long enough to be cut anywhere, and then some");
            for end in 1..whole.len() {
                assert!(torn(coding.inflate(&whole[..end], 1000)), "{coding:?} cut at {end}");
            }
            let more = [&whole[..], b"more"].concat();
            assert!(torn(coding.inflate(&more, 1000)), "{coding:?} with more behind it");
            assert_eq!(coding.inflate(b"", 10).map(|out| out.len()).unwrap_or(0), 0, "{coding:?}");
        }
    }

    #[test]
    fn members_and_frames_are_joined_and_counted_together() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let two = [coding.deflate(b"one"), coding.deflate(b"two")].concat();
            assert_eq!(coding.inflate(&two, 6), Ok(Bytes::from_static(b"onetwo")), "{coding:?}");
            assert_eq!(coding.inflate(&two, 5), Err(Stuck::TooLarge), "{coding:?}");
        }
        // A frame to be skipped, of three bytes, between two that count.
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let one = Coding::Zstd.deflate(b"one");
        let three = [&one[..], &skipped, &one].concat();
        assert_eq!(Coding::Zstd.inflate(&three, 6), Ok(Bytes::from_static(b"oneone")));
        assert!(torn(Coding::Zstd.inflate(&skipped[..10], 6)));
    }

    #[test]
    fn deflate_is_taken_with_its_frame_and_without() {
        let text = b"hello hello hello hello";
        for level in [0, 1, 9] {
            let mut raw = Vec::new();
            let level = flate2::Compression::new(level);
            flate2::bufread::DeflateEncoder::new(&text[..], level).read_to_end(&mut raw).unwrap();
            assert_eq!(Coding::Deflate.inflate(&raw, 100).as_deref(), Ok(&text[..]));
            assert!(torn(Coding::Deflate.inflate(&raw[..raw.len() - 1], 100)));
        }
    }

    #[test]
    fn a_window_beyond_the_bound_is_refused_before_memory_is_taken() {
        assert_eq!(Coding::Zstd.inflate(&window_of(13), 100), Ok(Bytes::new()), "8 MiB is the bound");
        assert!(torn(Coding::Zstd.inflate(&window_of(14), 100)));
        assert!(torn(Coding::Zstd.inflate(&window_of(31), 100)));
    }

    #[test]
    fn a_changed_checksum_is_noticed() {
        // `printf hello | zstd`: 4 bytes of checksum stand at the end.
        let frame = b"\x28\xb5\x2f\xfd\x04\x58\x29\x00\x00hello\xa3\x6d\x9f\x88";
        assert_eq!(Coding::Zstd.inflate(frame, 100), Ok(Bytes::from_static(b"hello")));
        let flipped = |at: usize| {
            let mut frame = frame.to_vec();
            frame[at] ^= 1;
            frame
        };
        for at in [9, 10, 13, 14, 17] {
            assert!(torn(Coding::Zstd.inflate(&flipped(at), 100)), "flipped at {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_done_is_undone(bytes in prop::collection::vec(any::<u8>(), 0..5000), again in 1..40_usize) {
            let bytes = bytes.repeat(again);
            for coding in ALL {
                let done = coding.deflate(&bytes);
                let undone = coding.inflate(&done, bytes.len());
                prop_assert_eq!(undone.as_deref(), Ok(&bytes[..]), "{:?}", coding);
            }
        }

        #[test]
        fn spoiled_bytes_never_panic_and_never_grow_past_the_bound(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            again in 1..40_usize,
            spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            for coding in ALL {
                let mut done = coding.deflate(&bytes.repeat(again));
                for (index, byte) in &spoils {
                    let at = index.index(done.len());
                    done[at] = *byte;
                }
                if let Ok(out) = coding.inflate(&done, 10_000) {
                    prop_assert!(out.len() <= 10_000);
                }
                if let Ok(out) = coding.inflate(&bytes, 10_000) {
                    prop_assert!(out.len() <= 10_000);
                }
            }
        }
    }
}
