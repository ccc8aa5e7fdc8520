//! The name that was probably meant.

/// The candidate nearest to a name, where one is near enough to be a slip of the pen.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(name, candidates).first().map(|(_, candidate)| *candidate)
}

/// The same, where no other candidate is as near: then it is surely what was meant.
pub fn surely<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    match near(name, candidates).as_slice() {
        [(first, _), (second, _), ..] if first == second => None,
        found => found.first().map(|(_, candidate)| *candidate),
    }
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
        assert_eq!(surely("reciever", keys), Some("receiver"));
        assert_eq!((nearest("eat", ["at", "east"]), surely("eat", ["at", "east"])), (Some("at"), None));
    }
}
