//! Names of settings and secrets: as variables have them, and the one that was probably meant.

/// The nearest of some names, where one is near.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&candidate.to_lowercase(), &lower), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 4))
        .map(|(_, candidate)| candidate)
}

/// A name as a variable of the environment has it.
pub fn shouted(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
