//! Bytes that are written as text: hexadecimal in any case, base64 with padding or without.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use crate::connector::model::Encoding;

/// The bytes; `None` where the text is not written so.
pub(super) fn decode(encoding: Encoding, text: &[u8]) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => HEXLOWER_PERMISSIVE.decode(text).ok(),
        Encoding::Base64 => base64(text),
        Encoding::Base64Url => {
            let padded = text.ends_with(b"=");
            if padded { BASE64URL.decode(text).ok() } else { BASE64URL_NOPAD.decode(text).ok() }
        }
    }
}

/// Base64 with its padding or without.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.ends_with(b"=") { BASE64.decode(text).ok() } else { BASE64_NOPAD.decode(text).ok() }
}
