//! No file imports, by whatever way round, one that imports it: a reader can begin at the bottom and go up.

use std::collections::{BTreeMap, BTreeSet};

use crate::house::{code, sources};

/// Imports that close a circle by their nature: file, and what it imports.
const BY_NATURE: &[(&str, &str)] = &[
    // The call that gives a token is a call too.
    ("call/signer.rs", "call/caller.rs"),
    // A var is a text; a text is rendered with a scope, which has the vars.
    ("connector/template/scope.rs", "connector/template.rs"),
];

/// The name of a module, from the crate down.
type Name = Vec<String>;

/// A file of the product.
struct Module {
    file: String,
    /// What it names of other files, and whether it hands that on.
    uses: Vec<(bool, Name)>,
}

fn modules() -> BTreeMap<Name, Module> {
    let module = |(path, text): (std::path::PathBuf, String)| {
        let file = path.to_string_lossy().replace('\\', "/");
        let mut name: Name = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        name.pop_if(|last| last == "mod");
        (name, Module { uses: uses(&code(&text)), file })
    };
    sources().into_iter().map(module).collect()
}

fn uses(code: &str) -> Vec<(bool, Name)> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        let Some((before, path)) = statement.rsplit_once("use ") else { continue };
        let before = before.lines().last().unwrap_or_default().trim();
        if before.is_empty() || before.starts_with("pub") {
            let mut names = Vec::new();
            apart(&path.split_whitespace().collect::<Vec<_>>().join(" "), &mut names);
            found.extend(names.into_iter().map(|name| (!before.is_empty(), name)));
        }
    }
    // What is named in full where it stands.
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let full = words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    let full = full.map(|path| path.trim_end_matches(':').split("::").map(str::to_owned).collect::<Name>());
    found.extend(full.filter(|path| path.len() > 1).map(|path| (false, path)));
    found
}

/// Takes the braces of a `use` apart.
fn apart(path: &str, found: &mut Vec<Name>) {
    let Some((before, inner)) = path.split_once('{') else {
        let path = path.split(" as ").next().unwrap_or_default().trim();
        return found.push(path.split("::").map(str::to_owned).collect());
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let one = inner[start..at].trim();
                if !one.is_empty() {
                    apart(&format!("{before}{one}"), found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that a path names something of, as seen from another; followed to where it is defined.
fn resolve(modules: &BTreeMap<Name, Module>, from: &Name, path: &Name, depth: usize) -> Option<Name> {
    let mut base = from.clone();
    let mut rest = path.as_slice();
    match rest.first()?.as_str() {
        "crate" => (base, rest) = (Name::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        first => {
            base.push(first.to_owned());
            modules.get(&base)?;
            base.pop();
        }
    }
    while let Some(next) = rest.first() {
        base.push(next.clone());
        if !modules.contains_key(&base) {
            base.pop();
            break;
        }
        rest = &rest[1..];
    }
    let module = modules.get(&base)?;
    let handed_on = module
        .uses
        .iter()
        .find(|(on, name)| *on && rest.first().is_some_and(|word| name.last() == Some(word)));
    match handed_on {
        Some((_, path)) if depth < 8 => resolve(modules, &base, path, depth + 1).or(Some(base)),
        _ => Some(base),
    }
}

/// The files that a file imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let file = |name: &Name| modules[name].file.clone();
    let mut imports = BTreeMap::new();
    for (name, module) in &modules {
        let face = module.file.ends_with("/mod.rs");
        let used = module.uses.iter().filter(|(handed_on, _)| !(face && *handed_on));
        let targets =
            used.filter_map(|(_, path)| resolve(&modules, name, path, 0)).filter(|target| target != name);
        imports.insert(module.file.clone(), targets.map(|target| file(&target)).collect::<BTreeSet<_>>());
    }
    imports
}

#[test]
fn no_file_imports_what_imports_it() {
    let mut imports = imports();
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 1000, "imports are not found");
    for (file, other) in BY_NATURE {
        let there = imports.get_mut(*file).is_some_and(|targets| targets.remove(*other));
        assert!(there, "{file} imports {other} no longer: take it off the list");
    }
    // What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    loop {
        let before = imports.len();
        let imported: BTreeSet<String> = imports.values().flatten().cloned().collect();
        imports.retain(|file, targets| !targets.is_empty() && imported.contains(file));
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|targets| targets.retain(|target| left.contains(target)));
        if imports.len() == before {
            break;
        }
    }
    assert!(imports.is_empty(), "files that import each other, and what lies between:\n{imports:#?}");
}

#[test]
fn imports_are_read_as_rust_reads_them() {
    let read = |code: &str| {
        let mut names: Vec<String> = uses(code).iter().map(|(_, name)| name.join("::")).collect();
        names.sort();
        names
    };
    assert_eq!(
        read("use a::b;\npub use super::{c, d::{e, f as g}};\nfn x() { super::h::i() }"),
        ["a::b", "super::c", "super::d::e", "super::d::f", "super::h::i"]
    );
    assert!(uses("pub use a::b;")[0].0 && !uses("use a::b;")[0].0);
}
