//! Former values of secrets that verify requests: which are still accepted, and until when.
//!
//! Pure, and kept in the state of the instance, so that neither a reload nor a restart ends a value that the vendor may
//! still send. `run` gives it what the configuration says ([`Rotations::give`]), tells it that the vendor has the
//! new value ([`Rotations::confirm`]), and has the receiver accept what [`Rotations::former`] says. Values are kept, not
//! hashes: a signature can only be checked with the key itself. Nothing is kept where the overlap is 0.
//!
//! The public URL counts as one more value, under the name [`PUBLIC_URL`]: senders sign it, or name it as audience.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::connector::secret::Secret;

/// Former values of one secret. Beyond that those in between go: the vendor may have the oldest or the newest.
pub const MAX_FORMER: usize = 8;
/// The name of the receiver's public URL among the secrets; no secret can have it.
pub const PUBLIC_URL: &str = "receiver.url";

/// The values of all secrets of an instance that verify requests, by name.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rotations {
    /// The overlap that was last configured.
    #[serde(default)]
    overlap_seconds: i64,
    #[serde(default)]
    secrets: BTreeMap<String, Rotation>,
}

/// The values of one secret. It has no `Debug`: they are in clear.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// Those that are given now; calls use the first.
    given: Vec<String>,
    /// Those that were given before, the newest first.
    #[serde(default)]
    former: Vec<Former>,
}

/// A value that was given before.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Former {
    value: String,
    /// When the vendor had a newer one, in seconds since 1970; `None` while it has not confirmed that.
    #[serde(default)]
    confirmed_seconds: Option<i64>,
}

/// What holds for all secrets of an instance at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Now, in seconds since 1970.
    pub now_seconds: i64,
    /// How long a former value is accepted once the vendor has a newer one; 0 ends all at once.
    pub overlap_seconds: i64,
    /// Whether the vendor is given new values by us, and so confirms them.
    pub automatic: bool,
}

/// How the rotation of one secret is, for conditions and lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// How many values are given.
    pub given: usize,
    /// How many former ones are accepted besides.
    pub former: usize,
    /// Whether the vendor has not confirmed the newest yet.
    pub unconfirmed: bool,
    /// When the last of the former ones ends, in seconds since 1970, as far as that is known.
    pub until_seconds: Option<i64>,
}

impl Rotation {
    /// Takes what is given now; what was given before and is not any more is former.
    fn give(&mut self, values: &[String], terms: Terms) {
        if self.given == values {
            return;
        }
        let confirmed_seconds = (!terms.automatic).then_some(terms.now_seconds);
        self.former.retain(|former| !values.contains(&former.value));
        let gone = self.given.iter().filter(|value| !values.contains(value));
        let gone: Vec<Former> =
            gone.map(|value| Former { value: value.clone(), confirmed_seconds }).collect();
        self.former.splice(0..0, gone);
        while self.former.len() > MAX_FORMER {
            self.former.remove(self.former.len() - 2);
        }
        self.given = values.to_vec();
    }

    /// Ends what has been former for long enough. A clock that was set back prolongs nothing.
    fn expire(&mut self, terms: Terms) {
        for former in &mut self.former {
            former.confirmed_seconds = former.confirmed_seconds.map(|at| at.min(terms.now_seconds));
        }
        self.former.retain(|former| {
            let until = former.confirmed_seconds.map(|at| at.saturating_add(terms.overlap_seconds));
            terms.overlap_seconds > 0 && until.is_none_or(|until| terms.now_seconds < until)
        });
    }

    fn overlap(&self, overlap_seconds: i64) -> Overlap {
        let until = self.former.iter().filter_map(|former| former.confirmed_seconds).max();
        Overlap {
            given: self.given.len(),
            former: self.former.len(),
            unconfirmed: self.former.iter().any(|former| former.confirmed_seconds.is_none()),
            until_seconds: until.map(|at| at.saturating_add(overlap_seconds)),
        }
    }

    fn end(&mut self) -> usize {
        std::mem::take(&mut self.former).len()
    }
}

impl Rotations {
    /// Tells whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Returns how each secret is, by name.
    pub fn overlaps(&self) -> BTreeMap<String, Overlap> {
        let overlap = |one: &Rotation| one.overlap(self.overlap_seconds);
        self.secrets.iter().map(|(name, one)| (name.clone(), overlap(one))).collect()
    }

    /// Ends every former value of a secret; returns how many there were, `None` where the secret is not kept.
    pub fn end(&mut self, name: &str) -> Option<usize> {
        self.secrets.get_mut(name).map(Rotation::end)
    }

    /// Takes the values that are given now, by name, and ends what is over. A secret that was generated here, and is
    /// given now, was the vendor's until now.
    pub fn give(
        &mut self,
        given: &BTreeMap<String, Vec<String>>,
        generated: &BTreeMap<String, String>,
        terms: Terms,
    ) {
        if terms.overlap_seconds <= 0 {
            *self = Self::default();
            return;
        }
        self.overlap_seconds = terms.overlap_seconds;
        self.secrets.retain(|name, _| given.contains_key(name));
        for (name, values) in given {
            let generated = generated.get(name);
            let rotation = self.secrets.entry(name.clone()).or_insert_with(|| Rotation {
                given: generated.into_iter().cloned().collect(),
                former: Vec::new(),
            });
            rotation.give(values, terms);
        }
        self.expire(terms);
    }

    /// The vendor has these first values: what is former is accepted for the overlap from now on. A secret that changed
    /// again since then is not confirmed.
    pub fn confirm(&mut self, current: &BTreeMap<String, String>, terms: Terms) {
        for (name, rotation) in &mut self.secrets {
            if rotation.given.first() == current.get(name) {
                for former in &mut rotation.former {
                    former.confirmed_seconds.get_or_insert(terms.now_seconds);
                }
            }
        }
        self.expire(terms);
    }

    /// Ends what is over.
    pub fn expire(&mut self, terms: Terms) {
        self.secrets.values_mut().for_each(|rotation| rotation.expire(terms));
    }

    /// Returns the former values of a secret that are still accepted, the newest first.
    pub fn former(&self, name: &str) -> Vec<Secret> {
        let former = self.secrets.get(name).map(|rotation| rotation.former.as_slice()).unwrap_or_default();
        former.iter().filter_map(|former| Secret::new(&former.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(now_seconds: i64, automatic: bool) -> Terms {
        Terms { now_seconds, overlap_seconds: HOUR, automatic }
    }

    fn given(values: &[&str]) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("key".to_owned(), values.iter().map(|value| (*value).to_owned()).collect())])
    }

    fn former(document: &Rotations) -> Vec<String> {
        document.former("key").iter().map(|secret| secret.expose().to_owned()).collect()
    }

    fn give(one: &mut Rotations, given: &BTreeMap<String, Vec<String>>, terms: Terms) {
        one.give(given, &BTreeMap::new(), terms);
    }

    fn current(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("key".to_owned(), value.to_owned())])
    }

    #[test]
    fn former_value_stays_until_the_vendor_confirmed_and_the_overlap_ended() {
        let mut one = Rotations::default();
        give(&mut one, &given(&["a"]), at(0, true));
        assert!(former(&one).is_empty(), "the first value replaces none");
        give(&mut one, &given(&["b"]), at(1, true));
        // Any number of reloads and restarts, however late: the vendor still sends the first.
        for now in [2, 3, 100 * HOUR] {
            give(&mut one, &given(&["b"]), at(now, true));
            let text = serde_json::to_string(&one).unwrap();
            one = serde_json::from_str(&text).unwrap();
            assert_eq!(former(&one), ["a"]);
        }
        assert!(one.overlaps()["key"].unconfirmed);
        // A second change before the vendor took the first.
        give(&mut one, &given(&["c"]), at(101 * HOUR, true));
        assert_eq!(former(&one), ["b", "a"]);
        one.confirm(&current("b"), at(101 * HOUR, true));
        assert!(one.overlaps()["key"].unconfirmed, "what was confirmed is not the newest");
        one.confirm(&current("c"), at(101 * HOUR, true));
        one.expire(at(102 * HOUR - 1, true));
        assert_eq!(former(&one), ["b", "a"]);
        assert_eq!(one.overlaps()["key"].until_seconds, Some(102 * HOUR));
        one.expire(at(102 * HOUR, true));
        assert!(former(&one).is_empty());
    }

    #[test]
    fn former_value_in_manual_mode_stays_for_the_overlap_after_the_change() {
        let mut one = Rotations::default();
        give(&mut one, &given(&["a"]), at(0, false));
        give(&mut one, &given(&["b"]), at(10, false));
        give(&mut one, &given(&["b"]), at(HOUR + 9, false));
        assert_eq!(former(&one), ["a"]);
        // A clock that is set back prolongs it by no more than the overlap.
        one.expire(at(5, false));
        one.expire(at(5 + HOUR, false));
        assert!(former(&one).is_empty());
    }

    #[test]
    fn former_values_are_bounded_and_keep_the_oldest() {
        let mut one = Rotations::default();
        for n in 0..30 {
            give(&mut one, &given(&[&format!("value-{n}")]), at(n, true));
        }
        let kept = former(&one);
        assert_eq!(kept.len(), MAX_FORMER);
        assert_eq!((kept[0].as_str(), kept.last().unwrap().as_str()), ("value-28", "value-0"));
    }

    #[test]
    fn value_that_comes_back_is_not_former_and_a_list_keeps_what_it_lost() {
        let mut one = Rotations::default();
        give(&mut one, &given(&["a", "b"]), at(0, false));
        give(&mut one, &given(&["b", "c"]), at(1, false));
        assert_eq!(former(&one), ["a"]);
        give(&mut one, &given(&["a"]), at(2, false));
        assert_eq!(former(&one), ["b", "c"]);
        assert_eq!(one.end("key"), Some(2));
        assert!(former(&one).is_empty());
    }

    #[test]
    fn overlap_of_zero_ends_all_and_keeps_nothing() {
        let mut one = Rotations::default();
        give(&mut one, &given(&["a"]), at(0, true));
        give(&mut one, &given(&["b"]), at(1, true));
        give(&mut one, &given(&["b"]), Terms { overlap_seconds: 0, ..at(2, true) });
        assert!(former(&one).is_empty() && one.is_empty());
        assert!(!serde_json::to_string(&one).unwrap().contains("\"b\""));
    }

    #[test]
    fn generated_secret_that_is_given_now_is_former() {
        let mut one = Rotations::default();
        one.give(&given(&["a"]), &current("generated"), at(0, true));
        assert_eq!(former(&one), ["generated"]);
    }
}
