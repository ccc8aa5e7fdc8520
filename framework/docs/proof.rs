//! How a request proves who sent it, in sentences.

use super::markdown::{code, joined, list};
use super::words;
use crate::connector::model::{
    Algorithm, AlgorithmChoice, Connector, Demand, Grammar, Jwt, KeySource, Proof, Signed, TimePlace, Verify,
};
use crate::connector::pick::Pick;

/// The part of the page.
pub fn body(connector: &Connector) -> String {
    let mut text = said(connector, &connector.receiver.verify);
    text.push_str(
        "\nThe raw bytes are looked at before anything of them is read, and compared in constant time. A request \
         that proves nothing gets 401 and no reason; the reason stands in the log and in the metrics.\n",
    );
    text
}

fn said(connector: &Connector, verify: &Verify) -> String {
    let several = |all: &[Verify], lead: &str| {
        let each = all.iter().map(|one| said(connector, one).trim().replace('\n', " "));
        format!("{lead}\n\n{}", list(each))
    };
    match verify {
        Verify::One(demand) => format!("{}\n", demanded(connector, demand)),
        Verify::AllOf(all) => several(all, "Every one of these has to hold:"),
        Verify::AnyOf(all) => several(all, "One of these is enough:"),
    }
}

fn demanded(connector: &Connector, demand: &Demand) -> String {
    let mut sentences = vec![proven(connector, &demand.proof)];
    if let Some(list) = &demand.each {
        sentences.push(format!("Every item of the list at {} must prove itself so.", words::place(list)));
    }
    for condition in &demand.require {
        sentences.push(format!("Besides, {} must hold.", code(condition.source())));
    }
    sentences.join(" ")
}

fn proven(connector: &Connector, proof: &Proof) -> String {
    let texts = |texts: &[crate::connector::template::Text]| {
        joined(&texts.iter().map(|text| words::text(connector, text)).collect::<Vec<_>>(), "or")
    };
    match proof {
        Proof::Token { place, scheme, equals } => {
            let scheme =
                scheme.as_ref().map(|s| format!(", after the scheme {}", code(s))).unwrap_or_default();
            format!(
                "A secret value stands in {}{scheme}; it must equal {}. Nothing is signed.",
                words::pick(place),
                texts(equals)
            )
        }
        Proof::Basic { username, password } => {
            let user =
                username.as_ref().map(|user| format!("the user {} and ", words::text(connector, user)));
            format!(
                "HTTP Basic, with {}the password {}.",
                user.unwrap_or_default(),
                words::text(connector, password)
            )
        }
        Proof::Hmac { hash, keys, signed } => {
            format!(
                "HMAC with {}; the key is {}. {}",
                words::hash(*hash),
                texts(&keys.texts),
                signature(signed)
            )
        }
        Proof::Digest { hash, signed } => {
            format!("A {} over a secret. {}", words::hash(*hash), signature(signed))
        }
        Proof::PublicKey { algorithm, keys, signed, .. } => {
            format!(
                "A signature ({}) by {}. {}",
                algorithms(algorithm),
                key(connector, keys),
                signature(signed)
            )
        }
        Proof::Jwt(jwt) => token(connector, jwt),
    }
}

fn signature(signed: &Signed) -> String {
    let messages: Vec<String> = signed.messages.iter().map(|message| code(message.source())).collect();
    let places: Vec<String> = signed.signature.places.iter().map(words::pick).collect();
    let grammar = match &signed.signature.grammar {
        Grammar::Plain => String::new(),
        Grammar::List { separator } => format!(", one of a list with {} between", code(separator)),
        Grammar::Pairs { name, .. } => format!(", under the name {}", code(name)),
    };
    let prefix = signed.signature.prefix.as_ref().map(|p| format!(", after {}", code(p))).unwrap_or_default();
    let mut text = format!(
        "Signed is {}; the signature stands in {}{grammar}{prefix}, as {}.",
        joined(&messages, "or"),
        joined(&places, "or"),
        words::encoding(signed.signature.encoding)
    );
    match &signed.timestamp {
        Some(time) => {
            let place = match &time.place {
                TimePlace::At(places) => joined(&places.iter().map(words::pick).collect::<Vec<_>>(), "or"),
                TimePlace::Pair(name) => format!("{} beside the signature", code(name)),
            };
            text.push_str(&format!(
                " The time of signing stands in {place} ({}) and may lie {} from now, either way.",
                words::time(time.format),
                words::duration(time.tolerance)
            ));
        }
        None => text.push_str(" No time is signed: a request that is sent again is told by the ids in it."),
    }
    text
}

fn token(connector: &Connector, jwt: &Jwt) -> String {
    let names: Vec<String> = jwt.algorithms.iter().map(|a| a.name().to_owned()).collect();
    let texts = |texts: &[crate::connector::template::Text]| {
        joined(&texts.iter().map(|text| words::text(connector, text)).collect::<Vec<_>>(), "or")
    };
    let mut text = format!(
        "A JSON Web Token ({}) stands in {}, signed by {}.",
        joined(&names, "or"),
        words::pick(&jwt.place),
        key(connector, &jwt.keys)
    );
    if !jwt.issuers.is_empty() {
        text.push_str(&format!(" Its issuer must be {}.", texts(&jwt.issuers)));
    }
    if !jwt.audiences.is_empty() {
        text.push_str(&format!(" It must be meant for {}.", texts(&jwt.audiences)));
    }
    text.push_str(&match jwt.max_age {
        Some(age) => format!(" It may be {} old at most.", words::duration(age)),
        None => " It must not have expired.".to_owned(),
    });
    text
}

fn key(connector: &Connector, keys: &KeySource) -> String {
    match keys {
        KeySource::Named(keys) => {
            let texts: Vec<String> = keys.texts.iter().map(|text| words::text(connector, text)).collect();
            format!("the key {}", joined(&texts, "or"))
        }
        KeySource::Fetched(fetched) => {
            let only = fetched.only.as_ref();
            let only =
                only.map(|only| format!(" (which must match {})", code(only.as_str()))).unwrap_or_default();
            let url = words::text(connector, &fetched.url);
            format!("a key fetched from {url}{only}, kept for {}", words::duration(fetched.cache))
        }
    }
}

fn algorithms(choice: &AlgorithmChoice) -> String {
    match choice {
        AlgorithmChoice::Fixed(algorithm) => algorithm_name(*algorithm).to_owned(),
        AlgorithmChoice::By { value, map } => {
            let each: Vec<String> = map
                .iter()
                .map(|(word, algorithm)| format!("{} for {}", algorithm_name(*algorithm), code(word)))
                .collect();
            format!("{}, by {}", joined(&each, "or"), code(value.source()))
        }
    }
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "Ed25519",
        Algorithm::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
        Algorithm::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
        Algorithm::RsaPkcs1Sha1 => "RSA PKCS#1 with SHA-1",
        Algorithm::RsaPkcs1Sha256 => "RSA PKCS#1 with SHA-256",
        Algorithm::RsaPkcs1Sha384 => "RSA PKCS#1 with SHA-384",
        Algorithm::RsaPkcs1Sha512 => "RSA PKCS#1 with SHA-512",
        Algorithm::RsaPssSha256 => "RSA-PSS with SHA-256",
        Algorithm::RsaPssSha384 => "RSA-PSS with SHA-384",
        Algorithm::RsaPssSha512 => "RSA-PSS with SHA-512",
    }
}

/// The proofs that are asked for, in a word or two each.
pub fn kinds(connector: &Connector) -> Vec<String> {
    let mut kinds = Vec::new();
    for check in connector.receiver.verify.checks() {
        let kind = match &check.proof {
            Proof::Token { .. } => "secret value".to_owned(),
            Proof::Basic { .. } => "HTTP Basic".to_owned(),
            Proof::Hmac { hash, .. } => format!("HMAC {}", words::hash(*hash)),
            Proof::Digest { hash, .. } => format!("{} over a secret", words::hash(*hash)),
            Proof::PublicKey { .. } => "public-key signature".to_owned(),
            Proof::Jwt(_) => "JSON Web Token".to_owned(),
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// The names that the checks compare with or have for keys.
pub fn secret_names(connector: &Connector) -> Vec<String> {
    let checks = connector.receiver.verify.checks().into_iter();
    checks
        .flat_map(|check| {
            let signed = check.proof.signed().into_iter().flat_map(|signed| &signed.messages);
            check
                .proof
                .key_texts()
                .into_iter()
                .chain(signed)
                .flat_map(|text| text.names())
                .collect::<Vec<_>>()
        })
        .filter(|name| name.starts_with("secrets."))
        .collect()
}

/// Where secret values travel as they are.
pub fn token_places(connector: &Connector) -> Vec<String> {
    let checks = connector.receiver.verify.checks().into_iter();
    checks
        .filter_map(|check| match &check.proof {
            Proof::Token { place: place @ (Pick::Header(_) | Pick::Query(_)), scheme, .. } => {
                let scheme = scheme.as_ref().map(|s| format!(", after {}", code(s))).unwrap_or_default();
                Some(format!("{}{scheme}", words::pick(place)))
            }
            Proof::Basic { .. } => Some("HTTP Basic".to_owned()),
            Proof::Token { .. }
            | Proof::Hmac { .. }
            | Proof::Digest { .. }
            | Proof::PublicKey { .. }
            | Proof::Jwt(_) => None,
        })
        .collect()
}
