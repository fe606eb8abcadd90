//! The contract (docs/contract/README.md): what is cited exists, what exists is shown by a test,
//! and no document or link leads out of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::{all_files, is_tests, root};

/// The kinds of ids with letters, and the page of the contract where statements of each kind stand.
const KINDS: &[(&str, &str)] = &[
    ("A", "data-plane"),
    ("AU", "data-plane"),
    ("BF", "data-plane"),
    ("BI", "data-plane"),
    ("C", "control-plane"),
    ("CR", "data-plane"),
    ("DP", "data-plane"),
    ("FO", "data-plane"),
    ("G", "gaps"),
    ("IF", "interface"),
    ("OB", "data-plane"),
    ("RQ", "data-plane"),
    ("SH", "data-plane"),
    ("TF", "data-plane"),
    ("TL", "data-plane"),
    ("W", "data-plane"),
];
/// Where something may cite the contract.
const CITING: &[&str] = &[
    "src",
    "tests",
    "benches",
    "fuzz/fuzz_targets",
    "deploy",
    "docs",
    "README.md",
    "CHANGELOG.md",
];

/// The name of a statement: `CR-29`, `C7`, `2.17`, `2.15b`, `4` or `1A`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    kind: String,
    major: u32,
    minor: u32,
    letter: String,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            major,
            minor,
            letter,
        } = self;
        match (kind.as_str(), minor) {
            ("", 0) => write!(f, "{major}{letter}"),
            ("", _) => write!(f, "{major}.{minor}{letter}"),
            ("C", _) => write!(f, "C{major}"),
            _ => write!(f, "{kind}-{major}"),
        }
    }
}

/// Takes the longest start of which every character is one of these.
fn take(text: &str, allowed: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !allowed(c)).unwrap_or(text.len()))
}

/// The id that a text begins with, and the text after it.
fn id(text: &str) -> Option<(Id, &str)> {
    let (kind, after_kind) = take(text, |c| c.is_ascii_uppercase());
    let digits = match kind {
        "" | "C" => after_kind,
        _ => after_kind.strip_prefix('-')?,
    };
    if !kind.is_empty() && !KINDS.iter().any(|(known, _)| *known == kind) {
        return None;
    }
    let (major, mut rest) = take(digits, |c| c.is_ascii_digit());
    let mut minor = "0";
    let mut letter = "";
    if kind.is_empty() {
        if let Some(after) = rest
            .strip_prefix('.')
            .filter(|after| after.starts_with(|c: char| c.is_ascii_digit()))
        {
            (minor, rest) = take(after, |c| c.is_ascii_digit());
        }
        (letter, rest) = take(rest, |c| c.is_ascii_alphabetic());
    }
    let is_over = !rest.starts_with(|c: char| c.is_alphanumeric() || "-_%".contains(c))
        && !rest
            .strip_prefix('.')
            .is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    let id = Id {
        kind: kind.to_owned(),
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        letter: letter.to_owned(),
    };
    (is_over && letter.len() <= 1 && major.len() <= 2 && minor.len() <= 2).then_some((id, rest))
}

/// The citations of a text, each the ends of a range; and the text without them.
fn citations(text: &str) -> (Vec<(Id, Id)>, String) {
    let mut found = Vec::new();
    let mut left = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("ontract ") {
        let (before, after) = rest.split_at(at + "ontract ".len());
        left.push_str(before);
        rest = after;
        let word = before.trim_end_matches("ontract ");
        if !word.ends_with(['c', 'C']) || word[..word.len() - 1].ends_with(char::is_alphanumeric) {
            continue;
        }
        let mut next = id(rest);
        while let Some((first, after)) = next {
            let to = after.strip_prefix(" to ").and_then(id);
            let (last, after) = to.unwrap_or_else(|| (first.clone(), after));
            found.push((first, last));
            rest = after;
            next = after.strip_prefix(", ").and_then(id);
        }
    }
    left.push_str(rest);
    (found, left)
}

/// The ids with letters that stand in a text.
fn named(text: &str) -> Vec<Id> {
    let starts = |(at, c): &(usize, char)| {
        c.is_ascii_uppercase()
            && !text[..*at].ends_with(|c: char| c.is_alphanumeric() || "-_%.#/".contains(c))
    };
    let ids = text
        .char_indices()
        .filter(starts)
        .filter_map(|(at, _)| id(&text[at..]));
    ids.map(|(id, _)| id).collect()
}

/// A text with each comment of several lines in one, so that a citation does not end with its line.
fn in_one_line(text: &str) -> String {
    let mut joined = String::new();
    let mut was_comment = false;
    for line in text.lines() {
        let content = line.trim_start();
        let comment = ["///", "//!", "//", "# "]
            .iter()
            .find_map(|mark| content.strip_prefix(mark));
        match comment.filter(|_| was_comment) {
            Some(comment) => joined.push_str(&format!(" {}", comment.trim())),
            None => joined.push_str(&format!("\n{line}")),
        }
        was_comment = comment.is_some();
    }
    joined
}

/// What a link to a statement says, in the form of a citation.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let link = rest[1..]
            .split_once("](")
            .and_then(|(name, after)| Some((name, after.split_once(')')?)));
        match link.filter(|(name, _)| id(name).is_some_and(|(_, rest)| rest.is_empty())) {
            Some((name, (target, after))) if target.contains("contract/") => {
                plain.push_str(&format!("contract {name}"));
                rest = after;
            }
            _ => {
                plain.push('[');
                rest = &rest[1..];
            }
        }
    }
    plain + rest
}

/// The part of a file that is a test; what it says of itself as a whole shows nothing.
fn test_part(path: &Path, text: &str) -> String {
    let is_helper = path.starts_with(root().join("tests/it/support"));
    let below_tests = path.starts_with(root().join("tests/it")) && !is_helper;
    let shown = match text.find("#[cfg(test)]") {
        _ if below_tests || (path.starts_with(root().join("src")) && is_tests(path)) => text,
        Some(at) if path.starts_with(root().join("src")) => &text[at..],
        _ => "",
    };
    shown
        .lines()
        .filter(|line| !line.trim_start().starts_with("//!"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[derive(Debug, Default)]
struct Statement {
    has_source: bool,
    says_why_no_test: bool,
}

/// The statements of the contract by their ids, and what is wrong with how they are written.
fn statements() -> (BTreeMap<Id, Statement>, Vec<String>) {
    let (mut statements, mut problems) = (BTreeMap::new(), Vec::new());
    for page in ["data-plane", "control-plane", "gaps", "interface"] {
        let text = fs::read_to_string(root().join(format!("docs/contract/{page}.md")))
            .expect("a page of the contract");
        let mut last: Option<Id> = None;
        for line in text.lines() {
            if let Some(start) = line.strip_prefix("- ") {
                let name = start.split("**").nth(1).unwrap_or_default();
                let Some((id, "")) = id(name) else {
                    problems.push(format!("{page}: no id: {line}"));
                    continue;
                };
                let home = KINDS
                    .iter()
                    .find(|(kind, _)| *kind == id.kind)
                    .map_or("control-plane", |(_, page)| page);
                if home != page
                    || !start.starts_with(&format!("<a id=\"{}\"></a>**", name.to_lowercase()))
                {
                    problems.push(format!(
                        "{name} stands on {home}, behind an anchor of its name"
                    ));
                }
                if statements
                    .insert(id.clone(), Statement::default())
                    .is_some()
                {
                    problems.push(format!("{name} stands there twice"));
                }
                last = Some(id);
            } else if let Some(statement) = last.as_ref().and_then(|id| statements.get_mut(id)) {
                statement.has_source |= line.starts_with("  Source: ");
                statement.says_why_no_test |= line.starts_with("  No test: ");
            }
        }
    }
    (statements, problems)
}

/// Every file that may cite, but for the contract itself.
fn citing() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for place in CITING.iter().map(|place| root().join(place)) {
        let files = if place.is_dir() {
            all_files(&place)
        } else {
            vec![place]
        };
        let readable = files
            .into_iter()
            .filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)));
        found.extend(readable.filter(|(path, _)| {
            !path.starts_with(root().join("docs/contract"))
                && !path.ends_with("tests/it/tidy/contract.rs")
        }));
    }
    found
}

#[test]
fn citations_are_read_as_they_are_written() {
    let names = |text: &str| {
        citations(text)
            .0
            .iter()
            .map(|(a, b)| format!("{a} {b}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(names("(contract CR-29)"), ["CR-29 CR-29"]);
    assert_eq!(
        names("Contract DP-15 to DP-17, W-10, 2.15b, 1A, C7."),
        ["DP-15 DP-17", "W-10 W-10", "2.15b 2.15b", "1A 1A", "C7 C7"]
    );
    assert_eq!(
        names("subcontract CR-1, the contract, contract RFC-1, contract 4: a"),
        ["4 4"]
    );
    assert_eq!(
        names(&in_one_line("/// what (contract\n    /// 2.1, 2.3) is")),
        ["2.1 2.1", "2.3 2.3"]
    );
    assert_eq!(
        names(&without_links(
            "| [2.1](contract/control-plane.md#2.1), [x](y) |"
        )),
        ["2.1 2.1"]
    );
    let bare = |text: &str| {
        named(&citations(text).1)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        bare("contract CR-1, and CR-2 of UTF-8, P-256, X-C1 and C12"),
        ["CR-2", "C12"]
    );
    assert!(starts_like_a_citation("(2.17)") && starts_like_a_citation("(unlike 3.3, 4.1)"));
    assert!(!starts_like_a_citation("(RFC 9112, 6.3)") && !starts_like_a_citation("(0.5 s)"));
}

/// Whether a comment has numbers where a citation without its word would have them: alone in
/// parentheses.
fn starts_like_a_citation(comment: &str) -> bool {
    let opened = comment.split('(').skip(1).map(|inside| {
        inside
            .trim_start_matches("unlike ")
            .trim_start_matches("as ")
    });
    opened.filter_map(id).any(|(id, rest)| {
        id.kind.is_empty() && id.minor > 0 && rest.starts_with([')', ',', ';', ':'])
    })
}

/// Whatever is cited is a statement, and whatever looks like the id of one is cited by the one
/// form.
#[test]
fn every_citation_is_of_a_statement() {
    let (statements, mut problems) = statements();
    assert!(statements.len() > 300, "the contract is there");
    for (path, text) in citing() {
        let text = without_links(&in_one_line(&text));
        let (cited, left) = citations(&text);
        for (first, last) in cited {
            let is_range = first < last
                && first.kind == last.kind
                && (!first.kind.is_empty() || first.major == last.major);
            if !(is_range || first == last) {
                problems.push(format!("{}: {first} to {last} is no range", path.display()));
            }
            for id in [first, last]
                .into_iter()
                .filter(|id| !statements.contains_key(id))
            {
                problems.push(format!(
                    "{}: contract {id} is cited and is not there",
                    path.display()
                ));
            }
        }
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        for id in named(&left)
            .into_iter()
            .filter(|id| statements.contains_key(id) && (is_code || id.kind != "C"))
        {
            problems.push(format!(
                "{}: {id} has no \"contract\" before it",
                path.display()
            ));
        }
        let comments = left
            .lines()
            .map(str::trim_start)
            .filter(|line| is_code && line.starts_with("//"));
        for comment in comments.filter(|comment| starts_like_a_citation(comment)) {
            problems.push(format!(
                "{}: numbers without \"contract\": {comment}",
                path.display()
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Each statement has its source, and a test that cites it, or a reason why none does.
#[test]
fn every_statement_is_shown() {
    let (statements, mut problems) = statements();
    let (mut cited, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for (path, text) in citing() {
        let ids = |text: &str| {
            let (ranges, _) = citations(&without_links(&in_one_line(text)));
            ranges
                .into_iter()
                .flat_map(|(first, last)| statements.range(first..=last))
                .map(|(id, _)| id.clone())
        };
        cited.extend(ids(&text).collect::<Vec<_>>());
        shown.extend(ids(&test_part(&path, &text)).collect::<Vec<_>>());
    }
    for (id, statement) in &statements {
        let problem = match (statement.says_why_no_test, shown.contains(id)) {
            (false, false) => "is cited by no test, and does not say why (No test: …)",
            (true, true) => "says why no test cites it, and one does",
            _ if !statement.has_source => "has no source (Source: …)",
            _ if !cited.contains(id) => "is cited by nothing",
            _ => continue,
        };
        problems.push(format!("contract {id} {problem}"));
    }
    for page in all_files(&root().join("docs/contract")) {
        let text = fs::read_to_string(&page).expect("a page");
        let known = |id: &Id| statements.contains_key(id) || page.ends_with("README.md");
        let unknown = named(&text).into_iter().filter(|id| !known(id));
        problems.extend(unknown.map(|id| format!("{}: {id} is not there", page.display())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The anchors of a document: its headings as forges make links of them, and its own.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| slug(line.trim_start_matches('#')));
    let own = text
        .split("<a id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned);
    headings.chain(own).collect()
}

/// Links of documents lead to files and places of the repository.
#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    let mut checked = 0;
    let documents = citing()
        .into_iter()
        .map(|(path, _)| path)
        .chain(all_files(&root().join("docs/contract")));
    for path in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(&path).expect("a document");
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in
            targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let place = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            let leads = place.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&place)
                        .is_ok_and(|text| anchors(&text).contains(anchor)));
            checked += 1;
            if !leads {
                problems.push(format!("{}: {target} leads nowhere", path.display()));
            }
        }
    }
    assert!(
        checked > 100 && problems.is_empty(),
        "{checked} links; {}",
        problems.join("\n")
    );
}

/// A document that something names is one of the repository, or of a public one that is named
/// before it.
#[test]
fn documents_that_are_named_are_here() {
    let mut problems = Vec::new();
    let pages = all_files(&root().join("docs/contract"))
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a page");
            (path, text)
        });
    for (path, text) in citing().into_iter().chain(pages) {
        let words = text.split(|c: char| !(c.is_alphanumeric() || "-_./:#".contains(c)));
        for word in words.map(|word| {
            word.split('#')
                .next()
                .unwrap_or_default()
                .trim_end_matches(['.', ':', '/'])
        }) {
            let is_document = word
                .strip_suffix(".md")
                .is_some_and(|name| !name.is_empty() && !name.ends_with('/'));
            if !is_document || word.contains(':') {
                continue;
            }
            let name = word.trim_start_matches('/');
            let places = [
                path.parent().expect("a folder").join(word),
                root().join(name),
                root().join("docs").join(name),
            ];
            if !places.iter().any(|place| place.exists()) {
                problems.push(format!("{}: {word} is not here", path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
