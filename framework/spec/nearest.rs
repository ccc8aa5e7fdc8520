//! The name that was probably meant.

use std::collections::BTreeSet;

/// The candidate nearest to a name, where one is near enough to be a slip of the pen.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(name, candidates).first().map(|(_, candidate)| *candidate)
}

/// What was probably meant by a name that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meant<'a> {
    /// The name that there is.
    pub name: &'a str,
    /// Whether it is sure enough to be put there without asking.
    pub sure: bool,
}

/// The nearest candidate, and whether it is surely what was meant: no other is as near, and the two do not differ in
/// their figures, since `key_1` is no slip of `key_2`.
pub fn meant<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<Meant<'a>> {
    let found = near(name, candidates);
    let (distance, first) = found.first()?;
    let alone = found.get(1).is_none_or(|(second, _)| second > distance);
    Some(Meant { name: first, sure: alone && figures(name) == figures(first) })
}

/// The figures of a name, in no order.
fn figures(name: &str) -> Vec<char> {
    let mut figures: Vec<char> = name.chars().filter(char::is_ascii_digit).collect();
    figures.sort_unstable();
    figures
}

/// The candidates that are near, the nearest first.
fn near<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let lower = name.to_lowercase();
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count().max(3)).div_ceil(3))
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found
}

/// Edits between two names; a plural, a prefix and another separator are near.
fn distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| text.replace(['-', ' ', '.'], "_");
    let (a, b) = (plain(a), plain(b));
    let words = |text: &str| -> BTreeSet<String> { text.split('_').map(str::to_owned).collect() };
    if a != b && a.len() == b.len() && words(&a) == words(&b) {
        // The same words in another order.
        return 1;
    }
    let edits = strsim::damerau_levenshtein(&a, &b);
    let (short, long) = if a.len() < b.len() { (&a, &b) } else { (&b, &a) };
    if short.len() >= 4 && (long.starts_with(short.as_str()) || long.ends_with(short.as_str())) {
        edits.min(2)
    } else {
        edits
    }
}

/// A list of names for a sentence: the first eight.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let mut text = names.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near_and_other_words_are_not() {
        let keys = ["receiver", "provision", "settings", "secrets", "header", "headers"];
        assert_eq!(nearest("reciever", keys), Some("receiver"));
        assert_eq!(nearest("setting", keys), Some("settings"));
        assert_eq!(nearest("Header", keys), Some("header"));
        assert_eq!(nearest("elephant", keys), None);
        assert_eq!(meant("reciever", keys), Some(Meant { name: "receiver", sure: true }));
        assert_eq!(meant("elephant", keys), None);
        assert_eq!(nearest("url_join", ["join", "join_url"]), Some("join_url"));
        assert_eq!(meant("eat", ["at", "east"]), Some(Meant { name: "at", sure: false }));
        assert_eq!(meant("key_1", ["key_2"]), Some(Meant { name: "key_2", sure: false }));
        assert_eq!(meant("sha265", ["sha256"]), Some(Meant { name: "sha256", sure: true }));
    }
}
