//! Undoes Content-Encoding, bounded. Called after verification only: unverified bytes are never inflated.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Identity,
    /// gzip, of one member or of several.
    Gzip,
}

/// Why a body is not inflated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// It grows beyond the cap.
    TooLarge,
    /// It is no gzip, or breaks off.
    Torn(String),
}

/// The coding that the headers name; `None` for one that nobody here can undo.
pub(super) fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut coding = Coding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        for word in value.to_str().ok()?.split(',').map(str::trim) {
            match word.to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" if coding == Coding::Identity => coding = Coding::Gzip,
                _ => return None,
            }
        }
    }
    Some(coding)
}

/// Inflates a whole body.
pub(super) fn gunzip(body: &Bytes, most: usize) -> Result<Bytes, Stuck> {
    let mut out = Vec::with_capacity(body.len().saturating_mul(4).min(most).min(1 << 20));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = MultiGzDecoder::new(&body[..]).take(limit);
    match reader.read_to_end(&mut out) {
        Ok(_) if out.len() > most => Err(Stuck::TooLarge),
        Ok(_) => Ok(out.into()),
        Err(error) => Err(Stuck::Torn(format!("the gzip encoding cannot be undone: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined_torn_ones_refused_and_bombs_stopped() {
        let two = [gzip(b"one"), gzip(b"two")].concat();
        assert_eq!(gunzip(&two.clone().into(), 6), Ok(Bytes::from_static(b"onetwo")));
        assert_eq!(gunzip(&two.clone().into(), 5), Err(Stuck::TooLarge));
        let torn = Bytes::from(two).slice(..20);
        assert!(matches!(gunzip(&torn, 100), Err(Stuck::Torn(_))));
        let bomb = gzip(&vec![b' '; 20 << 20]);
        assert_eq!(gunzip(&bomb.into(), 1 << 20), Err(Stuck::TooLarge));
    }
}
