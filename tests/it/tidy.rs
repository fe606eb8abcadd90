//! The house rules that the compiler does not know: who may import whom, what may stand where.

mod contract;
mod names;
mod pages;
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules in the order of the data, each with what it may import. A row names rows above it only,
/// so a cycle cannot be written down.
const IMPORTS: &[(&str, &[&str])] = &[
    ("wire_text", &[]),
    ("event", &["wire_text"]),
    ("scrub", &[]),
    ("correlation", &[]),
    ("filter", &["correlation", "event"]),
    (
        "model",
        &["correlation", "event", "filter", "scrub", "wire_text"],
    ),
    ("budget", &[]),
    ("doubling_wait", &[]),
    (
        "observation",
        &["event", "filter", "model", "scrub", "wire_text"],
    ),
    (
        "telemetry",
        &[
            "budget",
            "event",
            "filter",
            "model",
            "observation",
            "scrub",
            "wire_text",
        ],
    ),
    ("supervisor", &[]),
    ("display", &["event", "wire_text"]),
    ("tls", &["model", "wire_text"]),
    (
        "server",
        &["budget", "model", "telemetry", "tls", "wire_text"],
    ),
    (
        "client",
        &["event", "model", "telemetry", "tls", "wire_text"],
    ),
    (
        "auth",
        &[
            "doubling_wait",
            "client",
            "event",
            "filter",
            "model",
            "scrub",
            "telemetry",
            "wire_text",
        ],
    ),
    ("event_type", &["event", "model", "telemetry", "wire_text"]),
    (
        "channel",
        &[
            "doubling_wait",
            "budget",
            "event",
            "filter",
            "model",
            "observation",
            "scrub",
            "telemetry",
            "wire_text",
        ],
    ),
    (
        "router",
        &[
            "auth",
            "budget",
            "channel",
            "correlation",
            "event",
            "event_type",
            "model",
            "observation",
            "telemetry",
        ],
    ),
    (
        "delivery",
        &[
            "auth",
            "channel",
            "client",
            "display",
            "event",
            "event_type",
            "filter",
            "model",
            "observation",
            "router",
            "scrub",
            "telemetry",
            "wire_text",
        ],
    ),
    (
        "control",
        &[
            "budget",
            "doubling_wait",
            "correlation",
            "event",
            "filter",
            "model",
            "scrub",
            "telemetry",
            "tls",
            "wire_text",
        ],
    ),
    (
        "dispatcher",
        &[
            "channel",
            "client",
            "delivery",
            "model",
            "router",
            "telemetry",
        ],
    ),
    (
        "source",
        &[
            "channel",
            "client",
            "delivery",
            "model",
            "observation",
            "telemetry",
        ],
    ),
    (
        "system_events",
        &[
            "channel",
            "client",
            "control",
            "delivery",
            "event",
            "filter",
            "model",
            "router",
            "telemetry",
            "tls",
        ],
    ),
    (
        "ingress",
        &[
            "auth",
            "budget",
            "channel",
            "event",
            "model",
            "observation",
            "router",
            "server",
            "supervisor",
            "telemetry",
            "wire_text",
        ],
    ),
    (
        "relay",
        &[
            "auth",
            "channel",
            "client",
            "event",
            "event_type",
            "filter",
            "ingress",
            "model",
            "observation",
            "router",
            "scrub",
            "server",
            "telemetry",
            "wire_text",
        ],
    ),
    (
        "admin",
        &[
            "channel",
            "control",
            "delivery",
            "filter",
            "model",
            "observation",
            "scrub",
            "server",
            "supervisor",
            "telemetry",
            "tls",
            "wire_text",
        ],
    ),
    (
        "cli",
        &[
            "channel",
            "control",
            "correlation",
            "event",
            "model",
            "telemetry",
            "tls",
        ],
    ),
    (
        "command",
        &[
            "channel",
            "cli",
            "control",
            "display",
            "event",
            "filter",
            "model",
            "scrub",
            "server",
            "tls",
            "wire_text",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "auth",
            "budget",
            "channel",
            "cli",
            "client",
            "control",
            "delivery",
            "dispatcher",
            "display",
            "event_type",
            "ingress",
            "model",
            "observation",
            "relay",
            "router",
            "server",
            "source",
            "supervisor",
            "system_events",
            "telemetry",
            "tls",
        ],
    ),
];

/// Crates that only some modules may use.
const FENCES: &[(&str, &[&str])] = &[
    ("serde_saphyr", &["control", "command"]),
    ("reqwest", &["client", "command"]),
    ("rcgen", &["tls"]),
    ("backoff", &["delivery"]),
    ("croner", &["model"]),
    ("lapin", &["channel"]),
    ("moka", &["auth", "client", "event_type"]),
    ("jsonwebtoken", &["auth"]),
    ("aws_lc_rs", &["correlation"]),
    ("md5", &["control", "event_type"]),
    ("kube", &["app", "auth", "control", "event_type"]),
    ("k8s_openapi", &["auth", "control"]),
    ("hyper_util", &["client", "server"]),
    ("hyper_rustls", &["client"]),
    ("h2", &["client"]),
    ("httparse", &["client"]),
    ("flate2", &["admin"]),
    ("ratatui", &["command"]),
    ("crc32fast", &["channel", "control"]),
    ("rustls_pemfile", &["model", "tls"]),
    ("rustls_native_certs", &["tls"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("tracing_subscriber", &["telemetry"]),
    ("prost", &["telemetry"]),
    (
        "opentelemetry",
        &[
            "cli",
            "delivery",
            "event",
            "ingress",
            "relay",
            "router",
            "telemetry",
        ],
    ),
    ("opentelemetry_proto", &["telemetry"]),
    ("opentelemetry_sdk", &["cli", "event", "telemetry"]),
    (
        "opentelemetry_semantic_conventions",
        &["cli", "delivery", "ingress", "relay", "router", "telemetry"],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).expect("below src");
    let first = below
        .components()
        .next()
        .expect("a file")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// A file's text without its unit tests, which may use what they like.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file");
    match text.split_once("#[cfg(test)]\nmod tests {") {
        Some((code, _)) => code.to_owned(),
        None => text,
    }
}

fn is_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
        || path.iter().any(|part| part == "tests")
}

/// The modules that a text names after `crate::`.
fn imported(text: &str) -> Vec<String> {
    text.match_indices("crate::")
        .filter(|(at, _)| {
            *at == 0
                || !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .map(|(at, found)| {
            text[at + found.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn the_import_table_has_no_cycle() {
    for (at, (name, imports)) in IMPORTS.iter().enumerate() {
        let above: Vec<&str> = IMPORTS[..at].iter().map(|(name, _)| *name).collect();
        for import in *imports {
            assert!(
                above.contains(import),
                "{name} may not import {import}: it stands below"
            );
        }
    }
}

#[test]
fn modules_import_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    for path in sources(&root().join("src")) {
        let module = module(&path);
        if ["lib", "main"].contains(&module.as_str()) || is_tests(&path) {
            continue;
        }
        let allowed = table
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{module} is not in the table"));
        for import in imported(&code(&path)) {
            let fine = import == module || allowed.contains(&import.as_str());
            assert!(fine, "{}: {module} may not import {import}", path.display());
        }
    }
}

/// Whether a text names a crate, and not a module of its own that is called the same.
fn names_crate(text: &str, name: &str) -> bool {
    let is_path = |at: usize| {
        let before = text[..at].strip_suffix("::").unwrap_or(&text[..at]);
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    text.match_indices(&format!("{name}::"))
        .any(|(at, _)| is_path(at))
        || text.contains(&format!("use {name};"))
}

#[test]
fn crates_stay_behind_their_fences() {
    assert!(names_crate("(backoff::y)", "backoff") && names_crate("use ::backoff::x;", "backoff"));
    assert!(!names_crate(
        "use super::backoff::Backoff; use a_backoff::B;",
        "backoff"
    ));
    for path in sources(&root().join("src")) {
        let module = module(&path);
        let text = code(&path);
        for (name, allowed) in FENCES {
            let used = names_crate(&text, name);
            let fine = !used || allowed.contains(&module.as_str()) || is_tests(&path);
            assert!(fine, "{}: {name} is for {allowed:?} only", path.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for path in sources(&root().join("src")) {
        let text = code(&path);
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is",
            path.display()
        );
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
        let lines = text.lines().count();
        assert!(
            lines <= 400 || is_tests(&path),
            "{} has {lines} lines",
            path.display()
        );
        assert!(!text.contains("TODO"), "{}", path.display());
    }
}

/// Every flag and every counter is documented.
#[test]
fn the_documentation_is_complete() {
    let configuration = fs::read_to_string(root().join("docs/CONFIGURATION.md")).expect("a page");
    let help = std::process::Command::new(crate::support::binary())
        .args(["run", "--help"])
        .output()
        .expect("it runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let flags = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches([',', ':', ']']));
    for flag in flags.filter(|flag| !["--help"].contains(flag)) {
        assert!(
            configuration.contains(&format!("`{flag}")),
            "{flag} is not in docs/CONFIGURATION.md"
        );
    }
    let metrics = fs::read_to_string(root().join("docs/METRICS.md")).expect("a page");
    let mut named = 0;
    for path in sources(&root().join("src")) {
        let text = code(&path);
        for name in metric_names(&text) {
            named += 1;
            let spelled = [format!("`{name}_total`"), format!("`{name}`")];
            assert!(
                spelled.iter().any(|name| metrics.contains(name)),
                "{name} of {} is not in docs/METRICS.md",
                path.display()
            );
        }
    }
    assert!(named >= 75, "{named} metrics are named");
}

/// The metrics of sealpost's own that a text names.
fn metric_names(text: &str) -> Vec<String> {
    let names = text.split("\"sealpost_").skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('"')?;
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        is_name.then(|| format!("sealpost_{name}"))
    });
    names.collect()
}

/// What a stranger's machine does not have: our paths, our hosts.
#[test]
fn files_name_no_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let directories = [
        "src",
        "tests",
        "docs",
        "deploy",
        "benches",
        "fuzz/fuzz_targets",
        ".ci",
        ".github",
    ];
    let directories = directories
        .iter()
        .flat_map(|directory| all_files(&root().join(directory)));
    let pages = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "deny.toml",
    ];
    for path in directories.chain(pages.map(|page| root().join(page))) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            words.iter().all(|word| !text.contains(word)),
            "{}",
            path.display()
        );
    }
}

/// All files below a directory that git keeps: none of what cargo built there.
fn all_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a file").path());
    paths
        .flat_map(|path| {
            if path.ends_with("target") {
                Vec::new()
            } else if path.is_dir() {
                all_files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The names of the tests of a file.
fn tests_of(text: &str) -> Vec<String> {
    let is_mark = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
    let mut names = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let name = line
            .split_once("fn ")
            .filter(|_| marked)
            .and_then(|(_, rest)| rest.split_once('('));
        match name {
            Some((name, _)) => {
                names.push(name.to_owned());
                marked = false;
            }
            None => marked |= is_mark(line),
        }
    }
    names
}

/// The files with tests, without their ending, and the names of these.
fn known_tests() -> Vec<(String, Vec<String>)> {
    let files = ["src", "tests/it"]
        .iter()
        .flat_map(|directory| sources(&root().join(directory)));
    files
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a file");
            (
                path.with_extension("").to_string_lossy().into_owned(),
                tests_of(&text),
            )
        })
        .collect()
}

/// Whether `module::name` is one of them.
fn is_known(known: &[(String, Vec<String>)], test: &str) -> bool {
    test.split_once("::").is_some_and(|(module, name)| {
        known.iter().any(|(path, names)| {
            path.split('/').any(|part| part == module) && names.iter().any(|known| known == name)
        })
    })
}

/// What holds a threat is shown by a test that exists, in the module that is named before it.
#[test]
fn threats_are_held_by_tests_that_exist() {
    assert_eq!(
        tests_of("#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(x)]\n#[y]\nasync fn c() {}"),
        ["a", "c"]
    );
    let page = fs::read_to_string(root().join("docs/THREATS.md")).expect("a page");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches('|').count() == 4);
    let mut shown: Vec<(&str, &str)> = Vec::new();
    for row in rows.filter(|row| !row.ends_with("| shown by |")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let tests: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "nothing shows it: {row}");
        shown.extend(tests.into_iter().map(|test| (test, row)));
    }
    assert!(shown.len() > 50, "there are threats");
    let known = known_tests();
    let missing: Vec<String> = shown
        .iter()
        .filter(|(test, _)| !is_known(&known, test))
        .map(|(test, row)| format!("{test} in {row}"))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/THREATS.md names tests that are not there:\n{}",
        missing.join("\n")
    );
}
