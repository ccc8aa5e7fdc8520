//! The layers around a record: base64 and compressions undone for the receiver, whole chains of them opened and
//! closed for samples.
//!
//! `receive` opens what comes in with [`undone`], bounded, and reads JSON itself. `compile` proves samples with
//! [`opened`]; the stand-in puts a record of its own in the place of a sample's with [`closed`]. Neither is for
//! what strangers send.

use bytes::Bytes;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde_json::Value as Json;

use super::coding::{Coding, Stuck};
use super::model::Layer;
use super::pick::Pointer;

/// Bytes that a sample may grow to.
const SAMPLE: usize = 16 << 20;

/// Base64 undone: either alphabet, padded or not, broken into lines or not.
pub fn from_base64(text: &[u8]) -> Result<Bytes, String> {
    let trimmed: Vec<u8>;
    let text = if text.iter().any(u8::is_ascii_whitespace) {
        trimmed = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        &trimmed
    } else {
        text
    };
    let url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let encoding = match (url, text.ends_with(b"=")) {
        (false, true) => BASE64,
        (false, false) => BASE64_NOPAD,
        (true, true) => BASE64URL,
        (true, false) => BASE64URL_NOPAD,
    };
    encoding.decode(text).map(Bytes::from).map_err(|error| format!("it is no base64: {error}"))
}

/// A compression undone, within what is left of a bound.
pub fn undone(coding: Coding, bytes: &[u8], left: &mut usize) -> Result<Bytes, String> {
    match coding.inflate(bytes, *left) {
        Ok(inflated) => {
            *left -= inflated.len();
            Ok(inflated)
        }
        Err(Stuck::TooLarge) => Err(format!("the {} in it grows beyond the bound of a body", coding.name())),
        Err(Stuck::Torn(why)) => Err(why),
    }
}

/// What is between two layers.
enum Piece {
    Value(Json),
    Bytes(Vec<u8>),
}

impl Piece {
    fn bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Value(Json::String(text)) => Ok(text.into_bytes()),
            Self::Value(_) => Err("it is no text".to_owned()),
        }
    }

    fn value(self) -> Result<Json, String> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Bytes(bytes) => {
                String::from_utf8(bytes).map(Json::String).map_err(|_| "it is no text".to_owned())
            }
        }
    }

    /// Everything that a layer lets through.
    fn parts(self, layer: &Layer) -> Vec<Self> {
        match layer {
            Layer::JsonLines | Layer::JsonConcat => {
                let bytes = self.bytes().unwrap_or_default();
                let values = serde_json::Deserializer::from_slice(&bytes).into_iter();
                values.map_while(Result::ok).map(Self::Value).collect()
            }
            Layer::Each(pointer) => match self.value().and_then(|value| at(&value, pointer)) {
                Ok(Json::Array(list)) => list.into_iter().map(Self::Value).collect(),
                Ok(value) => vec![Self::Value(value)],
                Err(_) => Vec::new(),
            },
            Layer::Base64 | Layer::Inflate(_) | Layer::MayInflate(_) | Layer::Json | Layer::At(_) => {
                self.step(layer).into_iter().collect()
            }
        }
    }

    /// What the outermost of these layers lets through; of several the first.
    fn step(self, layer: &Layer) -> Result<Self, String> {
        Ok(match layer {
            Layer::Base64 => Self::Bytes(from_base64(&self.bytes()?)?.to_vec()),
            Layer::Inflate(coding) => Self::Bytes(undone(*coding, &self.bytes()?, &mut { SAMPLE })?.to_vec()),
            Layer::MayInflate(coding) => {
                let bytes = self.bytes()?;
                match coding.begins(&bytes) {
                    Some(true) => Self::Bytes(undone(*coding, &bytes, &mut { SAMPLE })?.to_vec()),
                    Some(false) | None => Self::Bytes(bytes),
                }
            }
            Layer::Json | Layer::JsonLines | Layer::JsonConcat => {
                let bytes = self.bytes()?;
                let first = serde_json::Deserializer::from_slice(&bytes).into_iter().next();
                let value = first.ok_or("it is empty")?;
                Self::Value(value.map_err(|error| format!("it is no JSON: {error}"))?)
            }
            Layer::At(pointer) => Self::Value(at(&self.value()?, pointer)?),
            Layer::Each(pointer) => match at(&self.value()?, pointer)? {
                Json::Array(list) => Self::Value(
                    list.into_iter().next().ok_or_else(|| format!("the list at `{pointer}` is empty"))?,
                ),
                value => Self::Value(value),
            },
        })
    }
}

fn at(value: &Json, pointer: &Pointer) -> Result<Json, String> {
    pointer.resolve(value).cloned().ok_or_else(|| format!("there is nothing at `{pointer}`"))
}

/// The record in the layers of a sample; of several the first.
pub fn opened(layers: &[Layer], sample: &Json) -> Result<Json, String> {
    let whole = Piece::Value(sample.clone());
    layers.iter().try_fold(whole, Piece::step)?.value()
}

/// Records that are taken out of one sample at most.
const SEVERAL: usize = 64;

/// The records in the layers of a sample, without those that do not open.
pub fn all_opened(layers: &[Layer], sample: &Json) -> Vec<Json> {
    let mut pieces = vec![Piece::Value(sample.clone())];
    for layer in layers {
        pieces = pieces.into_iter().flat_map(|piece| piece.parts(layer)).take(SEVERAL).collect();
    }
    pieces.into_iter().filter_map(|piece| piece.value().ok()).collect()
}

/// A sample with another record in its layers, alone. What is around the record stays as it is.
pub fn closed(layers: &[Layer], sample: &Json, record: &Json) -> Result<Json, String> {
    close(layers, Piece::Value(sample.clone()), record)?.value()
}

fn close(layers: &[Layer], sample: Piece, record: &Json) -> Result<Piece, String> {
    let Some((layer, inner)) = layers.split_first() else { return Ok(Piece::Value(record.clone())) };
    Ok(match layer {
        Layer::At(pointer) | Layer::Each(pointer) => {
            let mut around = sample.value()?;
            let within = Piece::Value(around.clone()).step(layer)?;
            let mut value = close(inner, within, record)?.value()?;
            if matches!(layer, Layer::Each(_)) {
                value = Json::Array(vec![value]);
            }
            let place = around.pointer_mut(&pointer.to_string());
            *place.ok_or_else(|| format!("there is nothing at `{pointer}`"))? = value;
            Piece::Value(around)
        }
        Layer::Json | Layer::JsonLines | Layer::JsonConcat => {
            let value = close(inner, sample.step(layer)?, record)?.value()?;
            Piece::Bytes(value.to_string().into_bytes())
        }
        Layer::Base64 => {
            let bytes = close(inner, sample.step(layer)?, record)?.bytes()?;
            Piece::Bytes(BASE64.encode(&bytes).into_bytes())
        }
        Layer::MayInflate(coding) => {
            let came = sample.bytes()?;
            let compressed = coding.begins(&came) == Some(true);
            let bytes = close(inner, Piece::Bytes(came).step(layer)?, record)?.bytes()?;
            Piece::Bytes(if compressed { coding.deflate(&bytes) } else { bytes })
        }
        Layer::Inflate(coding) => {
            let bytes = close(inner, sample.step(layer)?, record)?.bytes()?;
            Piece::Bytes(coding.deflate(&bytes))
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn base64_is_taken_in_every_form_and_nothing_else_is() {
        for text in ["_-8=", "_-8", "/+8=", "/+8", "/+\r\n8=\n"] {
            assert_eq!(from_base64(text.as_bytes()).as_deref(), Ok(&[0xff, 0xef][..]), "{text}");
        }
        for text in ["/+8==", "_+8", "a", "????", "/+9="] {
            assert!(from_base64(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(from_base64(b"").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_was_closed_is_opened_again() {
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        let record = json!({"id": "1", "n": [1.5, null]});
        let inner = json!({"owner": "x", "logEvents": [{"id": "0"}, {"id": "00"}]});
        let chains = [
            vec![Layer::Json],
            vec![Layer::Base64, Layer::Json],
            vec![Layer::Base64, Layer::Inflate(Coding::Gzip), Layer::Json],
            vec![
                Layer::Base64,
                Layer::Inflate(Coding::Zstd),
                Layer::JsonLines,
                Layer::Each(pointer("/logEvents")),
            ],
            vec![
                Layer::Base64,
                Layer::Inflate(Coding::Deflate),
                Layer::JsonConcat,
                Layer::At(pointer("/owner")),
            ],
        ];
        for layers in chains {
            // The sample is made from the inside out, by hand.
            let text = match layers
                .iter()
                .find_map(|layer| if let Layer::Inflate(c) = layer { Some(*c) } else { None })
            {
                None => inner.to_string().into_bytes(),
                Some(coding) => coding.deflate(inner.to_string().as_bytes()),
            };
            let sample = match layers[0] {
                Layer::Base64 => json!(BASE64.encode(&text)),
                _ => json!(String::from_utf8(text).unwrap()),
            };
            let made = closed(&layers, &sample, &record).unwrap();
            assert_eq!(opened(&layers, &made).as_ref(), Ok(&record), "{layers:?}");
            assert_ne!(opened(&layers, &sample).as_ref(), Ok(&record), "{layers:?}");
        }
    }
}
