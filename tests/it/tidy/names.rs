//! Names of types: each stands once in the crate, and most have two words or more
//! (docs/GLOSSARY.md).

use std::collections::BTreeMap;

use super::{code, is_tests, root, sources};

/// Names that stand twice, each for a reason.
const TWICE: &[&str] = &[];

/// How many of a hundred types may have a name of one word: kinds of Knative, and what
/// specifications call by one word.
const ONE_WORD_PERCENT: usize = 10;

#[test]
fn each_type_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources(&root().join("src"))
        .into_iter()
        .filter(|path| !is_tests(path))
    {
        for name in code(&path).lines().filter_map(declared) {
            places
                .entry(name.to_owned())
                .or_default()
                .push(path.display().to_string());
        }
    }
    assert!(places.len() > 500, "{} types were found", places.len());
    let twice: Vec<_> = places
        .iter()
        .filter(|(name, at)| at.len() > 1 && !TWICE.contains(&name.as_str()))
        .collect();
    assert!(twice.is_empty(), "give each a name of its own: {twice:#?}");
    let one_word = places.keys().filter(|name| words(name) == 1).count();
    let limit = places.len() * ONE_WORD_PERCENT / 100;
    assert!(
        one_word <= limit,
        "{one_word} types have a name of one word, {limit} may"
    );
}

/// The type that a line declares, if it stands outside of functions.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = ["struct ", "enum ", "trait ", "type "]
        .iter()
        .find_map(|keyword| line.strip_prefix(keyword))?;
    let end = name
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(name.len());
    Some(&name[..end])
}

fn words(name: &str) -> usize {
    name.chars().filter(char::is_ascii_uppercase).count()
}
