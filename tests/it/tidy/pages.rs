//! The pages about the repository say what is there: files that they name, and pages that a reader
//! can find.

use std::fs;

use super::{all_files, is_known, known_tests, root};

/// Where a path in a page begins.
const TOPS: [&str; 8] = [
    ".ci/", ".github/", "benches/", "deploy/", "docs/", "fuzz/", "src/", "tests/",
];

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The paths that a page names, wherever they stand in it.
fn paths(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "._-/".contains(c)))
        .map(|word| word.trim_end_matches(['.', '/']))
        .filter(|word| TOPS.iter().any(|top| word.starts_with(top)))
        .collect()
}

/// What the links of a page lead to, without the heading below.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .collect()
}

#[test]
fn what_the_pages_for_contributors_name_exists() {
    assert_eq!(
        paths("see `src/a.rs`, tests/b/. [c](docs/README.md#d) and fuzz/run x/src/y"),
        ["src/a.rs", "tests/b", "docs/README.md", "fuzz/run"]
    );
    let mut named = 0;
    for name in [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/RELEASING.md",
        ".github/workflows/ci.yml",
        "deny.toml",
    ] {
        let text = page(name);
        for path in paths(&text) {
            named += 1;
            assert!(
                root().join(path).exists(),
                "{name} names {path}, which is not there"
            );
        }
    }
    assert!(named > 60, "{named} files are named");
}

/// The two ways through the code are lists of files that are true.
#[test]
fn what_the_architecture_names_exists() {
    let text = page("docs/ARCHITECTURE.md");
    let names = text
        .split('`')
        .filter(|word| word.ends_with(".rs") && !word.contains(' '));
    let mut named = 0;
    for name in names {
        named += 1;
        let is_there = ["", "src", "src/filter"]
            .iter()
            .any(|top| root().join(top).join(name).exists());
        assert!(
            is_there,
            "docs/ARCHITECTURE.md names {name}, which is not there"
        );
    }
    assert!(named > 100, "{named} files are named");
}

/// By itself or by its directory, so that no page is written for nobody.
#[test]
fn every_page_is_reached_from_the_map() {
    let map = page("docs/README.md");
    let docs = root().join("docs");
    let linked: Vec<_> = links(&map)
        .into_iter()
        .map(|link| docs.join(link))
        .collect();
    for target in linked
        .iter()
        .filter(|target| !target.to_string_lossy().contains("://"))
    {
        assert!(
            target.exists(),
            "docs/README.md leads to {}, which is not there",
            target.display()
        );
    }
    let pages = all_files(&docs);
    assert!(pages.len() > 30, "there are pages");
    for path in pages
        .iter()
        .filter(|path| !path.ends_with("docs/README.md"))
    {
        let is_reached = path
            .ancestors()
            .any(|part| part != docs && linked.iter().any(|target| target == part));
        assert!(
            is_reached,
            "{} is not reached from docs/README.md",
            path.display()
        );
    }
}

/// Each row of what is compared names what shows it, and each test that it names exists.
#[test]
fn the_comparison_is_shown_row_by_row() {
    let (text, known) = (page("README.md"), known_tests());
    let (_, section) = text
        .split_once("\n## Beside Knative's own dispatcher\n")
        .expect("a comparison");
    let rows: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert!(rows.len() > 10, "there are rows");
    for row in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().expect(row);
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(
            !tests.is_empty() || !links(shown).is_empty(),
            "nothing shows it: {row}"
        );
        for test in tests {
            assert!(is_known(&known, test), "{test} is not there: {row}");
        }
    }
}

/// Releases have their date, the newest comes first, and the version that is built has its section.
#[test]
fn the_changelog_is_by_release() {
    let text = page("CHANGELOG.md");
    let sections: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let (first, releases) = sections.split_first().expect("sections");
    assert_eq!(*first, "Unreleased");
    let dates: Vec<&str> = releases
        .iter()
        .map(|section| {
            section
                .split_once(" - ")
                .unwrap_or_else(|| panic!("{section} has no date"))
                .1
        })
        .collect();
    assert!(
        dates
            .iter()
            .all(|date| date.len() == 10 && date.split('-').count() == 3),
        "{dates:?}"
    );
    assert!(
        dates.is_sorted_by(|newer, older| newer >= older),
        "{dates:?}"
    );
    let built = concat!(env!("CARGO_PKG_VERSION"), " - ");
    assert!(
        releases.iter().any(|section| section.starts_with(built)),
        "{built} is not in CHANGELOG.md"
    );
}
