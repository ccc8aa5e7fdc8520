//! Drift: where what is at the vendor differs from `desired`, on the keys of `desired` alone.
//!
//! Pure; `life` decides by it, and `plan` prints it. What the vendor adds is no drift. Absent, null, "", []
//! and {} are the same; lists have no order; a secret that the vendor does not show is compared by the
//! fingerprint of what was last sent. No difference holds a secret.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value as Json, json};

use super::fingerprint::Key;
use crate::call::mask::MASK;
use crate::connector::pick::Pointer;

/// How a resource should be.
#[derive(Clone)]
pub struct Desired<'a> {
    /// As it is sent.
    pub value: Json,
    /// The same with every secret masked: a leaf that differs from `value` is a secret.
    pub shown: Json,
    /// Places that the vendor never shows.
    pub write_only: &'a [Pointer],
}

/// One place that differs. Safe to print: secrets are masked, though the vendor's text is not escaped.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where, in the shape of `desired`.
    pub place: Pointer,
    /// How it is; `None` where there is nothing.
    pub current: Option<Json>,
    /// How it should be; `None` where there should be nothing.
    pub desired: Option<Json>,
    /// What to know about it.
    pub note: Option<&'static str>,
}

/// Fingerprints of the secrets that were last sent, by place.
pub type Applied = BTreeMap<String, String>;

/// Where `current` differs from `desired`; empty: nowhere.
pub fn differences(desired: &Desired, current: &Json, applied: &Applied, key: &Key) -> Vec<Difference> {
    let mut walk = Walk { desired, applied, key, place: Pointer::default(), found: Vec::new() };
    walk.compare(&desired.value, Some(&desired.shown), Some(current));
    walk.found
}

/// `current` with `instead` wherever `desired` has a secret: what stands there at the vendor is one too, whether
/// it is ours, was ours or is somebody else's. `None` leaves such a place out.
pub fn covered(desired: &Desired, current: &Json, instead: Option<&Json>) -> Option<Json> {
    let cover = Cover { desired, instead };
    cover.cover(&desired.value, Some(&desired.shown), &Pointer::default(), current)
}

/// `current` as an update will leave it: what `desired` says in its place, and the rest as it is.
pub fn mended(desired: &Desired, current: &Json) -> Json {
    fn over(value: &Json, current: &Json) -> Json {
        match (value, current) {
            (Json::Object(value), Json::Object(current)) => {
                let mut both = current.clone();
                for (name, inner) in value {
                    let mended = over(inner, both.get(name).unwrap_or(&Json::Null));
                    both.insert(name.clone(), mended);
                }
                Json::Object(both)
            }
            _ => value.clone(),
        }
    }
    over(&desired.value, current)
}

/// The fingerprints of every secret in `desired`, to be kept once it was sent.
pub fn fingerprints(desired: &Desired, key: &Key) -> Applied {
    fn collect(
        desired: &Desired,
        (value, shown): (&Json, Option<&Json>),
        place: &mut Pointer,
        key: &Key,
        found: &mut Applied,
    ) {
        if is_secret(desired, place, value, shown) {
            found.insert(place.to_string(), key.of(place, value));
            return;
        }
        for (name, inner) in children(value) {
            let inner_shown = shown.and_then(|shown| child(shown, &name));
            place.0.push(name);
            collect(desired, (inner, inner_shown), place, key, found);
            place.0.pop();
        }
    }
    let mut found = Applied::new();
    let root = (&desired.value, Some(&desired.shown));
    collect(desired, root, &mut Pointer::default(), key, &mut found);
    found
}

struct Cover<'a> {
    desired: &'a Desired<'a>,
    instead: Option<&'a Json>,
}

impl Cover<'_> {
    fn cover(&self, value: &Json, shown: Option<&Json>, place: &Pointer, current: &Json) -> Option<Json> {
        if is_empty(current) {
            return Some(current.clone());
        }
        if is_secret(self.desired, place, value, shown) {
            return self.instead.cloned();
        }
        match (value, current) {
            (Json::Object(map), Json::Object(there)) => {
                let covered = |(name, inner): (&String, &Json)| {
                    let inner = match map.get(name) {
                        Some(value) => {
                            let shown = shown.and_then(|shown| shown.get(name));
                            self.cover(value, shown, &below(place, name), inner)?
                        }
                        None => inner.clone(),
                    };
                    Some((name.clone(), inner))
                };
                Some(Json::Object(there.iter().filter_map(covered).collect()))
            }
            (Json::Array(wanted), Json::Array(there)) => {
                let covered = |item: &Json| self.cover_item(wanted, shown, place, item);
                Some(Json::Array(there.iter().filter_map(covered).collect()))
            }
            (Json::Object(_) | Json::Array(_), _) if self.holds_secret(value, shown, place) => {
                self.instead.cloned()
            }
            _ => Some(current.clone()),
        }
    }

    /// Lists have no order, so that an item's secret may stand where any of the wanted ones has one.
    fn cover_item(
        &self,
        wanted: &[Json],
        shown: Option<&Json>,
        place: &Pointer,
        item: &Json,
    ) -> Option<Json> {
        wanted.iter().enumerate().try_fold(item.clone(), |item, (n, value)| {
            self.cover(value, shown.and_then(|shown| shown.get(n)), &below(place, &n.to_string()), &item)
        })
    }

    fn holds_secret(&self, value: &Json, shown: Option<&Json>, place: &Pointer) -> bool {
        let below = |written: &Pointer| written.0.starts_with(&place.0);
        Some(value) != shown || self.desired.write_only.iter().any(below)
    }
}

fn below(place: &Pointer, name: &str) -> Pointer {
    let mut place = place.clone();
    place.0.push(name.to_owned());
    place
}

struct Walk<'a> {
    desired: &'a Desired<'a>,
    applied: &'a Applied,
    key: &'a Key,
    place: Pointer,
    found: Vec<Difference>,
}

impl Walk<'_> {
    fn compare(&mut self, value: &Json, shown: Option<&Json>, current: Option<&Json>) {
        if is_secret(self.desired, &self.place, value, shown) {
            return self.compare_secret(value, current);
        }
        match value {
            Json::Object(map) if !map.is_empty() || current.is_some_and(Json::is_object) => {
                for (name, inner) in map {
                    let inner_shown = shown.and_then(|shown| shown.get(name));
                    self.at(name, |walk| {
                        walk.compare(inner, inner_shown, current.and_then(|current| current.get(name)));
                    });
                }
            }
            Json::Array(list) => {
                let there = current.and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                match current {
                    Some(current) if !current.is_array() && !is_empty(current) => {
                        let current = self.cover().cover(value, shown, &self.place, current);
                        self.differs(shown, current.as_ref(), None);
                    }
                    _ => self.compare_lists(list, shown, there),
                }
            }
            leaf => {
                if !(same(leaf, current) || is_empty(leaf) && current.is_none_or(is_empty)) {
                    self.differs(shown, current, None);
                }
            }
        }
    }

    /// Each wanted item is paired with one that is there and does not differ; what is left differs.
    fn compare_lists(&mut self, wanted: &[Json], shown: Option<&Json>, there: &[Json]) {
        let item_shown = |n: usize| shown.and_then(|shown| shown.get(n));
        let agrees: Vec<Vec<bool>> = (0..wanted.len())
            .map(|n| there.iter().map(|item| self.agrees(n, &wanted[n], item_shown(n), item)).collect())
            .collect();
        let partners = pair(&agrees, there.len());
        let mut left =
            there.iter().enumerate().filter(|(n, _)| !partners.contains(&Some(*n))).map(|(_, i)| i);
        for (n, item) in wanted.iter().enumerate() {
            if partners.get(n).copied().flatten().is_none() {
                let instead = left.next();
                self.at(&n.to_string(), |walk| walk.compare(item, item_shown(n), instead));
            }
        }
        for (n, extra) in left.enumerate() {
            let extra = self.cover().cover_item(wanted, shown, &self.place, extra);
            self.at(&(wanted.len() + n).to_string(), |walk| walk.differs(None, extra.as_ref(), None));
        }
    }

    fn agrees(&self, n: usize, wanted: &Json, shown: Option<&Json>, item: &Json) -> bool {
        let mut place = self.place.clone();
        place.0.push(n.to_string());
        let mut walk = Walk { place, found: Vec::new(), ..*self };
        walk.compare(wanted, shown, Some(item));
        walk.found.is_empty()
    }

    fn compare_secret(&mut self, value: &Json, current: Option<&Json>) {
        if is_empty(value) && current.is_none_or(is_empty) {
            return;
        }
        let hidden = current.is_none_or(|current| is_empty(current) || is_masked(current));
        let masked = Some(json!(MASK));
        if hidden || self.is_write_only() {
            let note = match self.applied.get(&self.place.to_string()) {
                Some(sent) if *sent == self.key.of(&self.place, value) => return,
                Some(_) => "the secret changed since it was sent",
                None => "whether it is ours cannot be seen",
            };
            self.differs(masked.as_ref(), None, Some(note));
        } else if !same(value, current) {
            self.differs(masked.as_ref(), masked.as_ref(), Some("another secret stands there"));
        }
    }

    fn cover(&self) -> Cover<'_> {
        static MASKED: LazyLock<Json> = LazyLock::new(|| json!(MASK));
        Cover { desired: self.desired, instead: Some(&MASKED) }
    }

    fn is_write_only(&self) -> bool {
        is_under(&self.place, self.desired.write_only)
    }

    fn at(&mut self, name: &str, compare: impl FnOnce(&mut Self)) {
        self.place.0.push(name.to_owned());
        compare(self);
        self.place.0.pop();
    }

    fn differs(&mut self, desired: Option<&Json>, current: Option<&Json>, note: Option<&'static str>) {
        let (current, desired) = (current.cloned(), desired.cloned());
        self.found.push(Difference { place: self.place.clone(), current, desired, note });
    }
}

/// Whether a place is one of these or lies below one.
pub fn is_under(place: &Pointer, roots: &[Pointer]) -> bool {
    roots.iter().any(|root| place.0.starts_with(&root.0))
}

/// Absent, null, "", [] and {} are the same.
pub fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Bool(_) | Json::Number(_) => false,
    }
}

/// Whether the vendor shows something instead of the secret.
fn is_masked(value: &Json) -> bool {
    let Some(text) = value.as_str() else { return false };
    let word = text.trim_matches(|c: char| !c.is_alphanumeric()).to_ascii_lowercase();
    text.contains("***") || text.contains("•••") || matches!(word.as_str(), "redacted" | "hidden" | "secret")
}

/// A leaf that masking changed, or what stands at a write-only place. Where masking changed the shape of a
/// list or map, the whole of it is one secret.
fn is_secret(desired: &Desired, place: &Pointer, value: &Json, shown: Option<&Json>) -> bool {
    if desired.write_only.contains(place) {
        return true;
    }
    match (value, shown) {
        (Json::Object(value), Some(Json::Object(shown))) => {
            value.keys().any(|name| !shown.contains_key(name))
        }
        (Json::Array(value), Some(Json::Array(shown))) => value.len() != shown.len(),
        (value, shown) => Some(value) != shown,
    }
}

fn same(value: &Json, current: Option<&Json>) -> bool {
    match (value, current) {
        (Json::Number(a), Some(Json::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        (value, current) => Some(value) == current,
    }
}

fn children(value: &Json) -> Vec<(String, &Json)> {
    match value {
        Json::Object(map) => map.iter().map(|(name, inner)| (name.clone(), inner)).collect(),
        Json::Array(list) => list.iter().enumerate().map(|(n, inner)| (n.to_string(), inner)).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Vec::new(),
    }
}

fn child<'a>(value: &'a Json, name: &str) -> Option<&'a Json> {
    match value {
        Json::Array(list) => name.parse::<usize>().ok().and_then(|n| list.get(n)),
        value => value.get(name),
    }
}

/// The largest pairing of wanted items with those that are there (augmenting paths): for each wanted item
/// its partner. A greedy one could leave an item without a partner that another would have given up.
fn pair(agrees: &[Vec<bool>], there: usize) -> Vec<Option<usize>> {
    fn place(n: usize, agrees: &[Vec<bool>], owner: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for at in 0..owner.len() {
            if !agrees[n][at] || std::mem::replace(&mut tried[at], true) {
                continue;
            }
            if owner[at].is_none_or(|other| place(other, agrees, owner, tried)) {
                owner[at] = Some(n);
                return true;
            }
        }
        false
    }
    let mut owner = vec![None; there];
    for n in 0..agrees.len() {
        place(n, agrees, &mut owner, &mut vec![false; there]);
    }
    (0..agrees.len()).map(|n| owner.iter().position(|o| *o == Some(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(value: Json, current: Json) -> Vec<String> {
        let desired = Desired { shown: value.clone(), value, write_only: &[] };
        differences(&desired, &current, &Applied::new(), &Key::kept("k"))
            .iter()
            .map(|d| d.place.to_string())
            .collect()
    }

    #[test]
    fn only_the_keys_of_desired_count() {
        assert!(drift(json!({"a": 1}), json!({"a": 1.0, "filters": [{"name": "security"}]})).is_empty());
        assert_eq!(drift(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 2, "c": 2}})), ["/a/b"]);
        assert_eq!(drift(json!({"a": {"b": 1}}), json!({"a": "text"})), ["/a/b"]);
    }

    #[test]
    fn what_is_empty_is_absent() {
        for empty in [json!(null), json!(""), json!([]), json!({})] {
            for other in [json!({"a": null}), json!({"a": ""}), json!({"a": []}), json!({"a": {}}), json!({})]
            {
                assert!(drift(json!({"a": empty}), other.clone()).is_empty(), "{empty} {other}");
            }
        }
        assert_eq!(drift(json!({"a": ""}), json!({"a": "x"})), ["/a"]);
        assert_eq!(drift(json!({"a": []}), json!({"a": ["x"]})), ["/a/0"]);
        assert_eq!(drift(json!({"a": false}), json!({})), ["/a"]);
        assert_eq!(drift(json!({"a": 0}), json!({"a": null})), ["/a"]);
    }

    #[test]
    fn lists_have_no_order_and_every_item_one_partner() {
        assert!(drift(json!({"a": [1, 2, 2]}), json!({"a": [2, 1, 2]})).is_empty());
        assert_eq!(drift(json!({"a": [1, 2, 2]}), json!({"a": [2, 1, 1]})), ["/a/2"]);
        assert_eq!(drift(json!({"a": [1]}), json!({"a": [1, 3]})), ["/a/1"]);
        assert_eq!(drift(json!({"a": [1, 3]}), json!({"a": [1]})), ["/a/1"]);
        // The first wanted item fits both; a greedy pairing would take the only one that fits the second.
        let there = json!({"a": [{"n": 1, "m": 2}, {"n": 1}]});
        assert!(drift(json!({"a": [{"n": 1}, {"n": 1, "m": 2}]}), there).is_empty());
    }

    #[test]
    fn a_hidden_secret_is_compared_by_what_was_sent() {
        let key = Key::kept("k");
        let of = |secret: &str| Desired {
            value: json!({"list": [{"value": secret}], "url": "u"}),
            shown: json!({"list": [{"value": "****"}], "url": "u"}),
            write_only: &[],
        };
        let sent = fingerprints(&of("first"), &key);
        assert_eq!(sent.keys().collect::<Vec<_>>(), ["/list/0/value"]);
        for hidden in [json!("********"), json!(""), json!(null), json!("<REDACTED>"), json!("***st")] {
            let current = json!({"list": [{"value": hidden}], "url": "u"});
            assert!(differences(&of("first"), &current, &sent, &key).is_empty(), "{current}");
            let rotated = differences(&of("second"), &current, &sent, &key);
            assert_eq!(rotated.len(), 1, "{current}");
            assert_eq!(rotated[0].note, Some("the secret changed since it was sent"));
            assert_eq!(differences(&of("first"), &current, &Applied::new(), &key).len(), 1);
        }
        let shown = json!({"list": [{"value": "first"}], "url": "u"});
        assert!(differences(&of("first"), &shown, &Applied::new(), &key).is_empty());
        let other = differences(&of("second"), &shown, &sent, &key);
        assert!(!format!("{other:?}").contains("first") && !format!("{other:?}").contains("second"));
    }

    #[test]
    fn what_stands_in_the_place_of_a_secret_is_one_too() {
        let desired = Desired {
            value: json!({"list": [{"name": "k", "value": "ours"}], "url": "u"}),
            shown: json!({"list": [{"name": "k", "value": "****"}], "url": "u"}),
            write_only: &[],
        };
        let theirs = json!({"name": "authorization", "value": "theirs"});
        let old = json!({"name": "k", "value": "ours of before"});
        let current = json!({"list": [theirs, old], "url": "u", "more": 1});
        let found = differences(&desired, &current, &Applied::new(), &Key::kept("k"));
        let said = format!("{found:?}");
        assert!(said.contains("/list/1") || said.contains("\"1\""), "{said}");
        assert!(!said.contains("theirs") && !said.contains("ours of before"), "{said}");
        let kept = covered(&desired, &current, None).unwrap();
        assert_eq!(kept, json!({"list": [{"name": "authorization"}, {"name": "k"}], "url": "u", "more": 1}));
        let strange = json!({"list": "ours of before", "url": "u"});
        let found = differences(&desired, &strange, &Applied::new(), &Key::kept("k"));
        assert!(!format!("{found:?}").contains("before"), "{found:?}");
        assert_eq!(covered(&desired, &strange, None).unwrap(), json!({"url": "u"}));
    }

    #[test]
    fn a_write_only_place_is_compared_by_what_was_sent_even_if_something_stands_there() {
        let key = Key::kept("k");
        let write_only = [Pointer::parse("/password").unwrap()];
        let value = json!({"password": "p"});
        let desired = Desired { shown: value.clone(), value, write_only: &write_only };
        let sent = fingerprints(&desired, &key);
        assert!(differences(&desired, &json!({"password": "hash"}), &sent, &key).is_empty());
        assert_eq!(differences(&desired, &json!({"password": "p"}), &Applied::new(), &key).len(), 1);
    }
}
