//! How files and directories are read: which files are skipped, kept and reported.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use tempfile::{TempDir, tempdir};

use super::list::files_signature;
use super::*;

const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempdir().expect("directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, text).expect("file");
    }
    directory
}

/// Names of files, relative to a directory, and how many objects each has.
fn found(directory: &TempDir, manifests: &ManifestSet) -> Vec<(String, usize)> {
    let relative = |name: &str| {
        Path::new(name)
            .strip_prefix(directory.path())
            .expect("inside")
            .display()
            .to_string()
    };
    manifests
        .files
        .iter()
        .map(|file| (relative(&file.name), file.documents.len()))
        .collect()
}

fn problems(directory: &TempDir, manifests: &ManifestSet) -> Vec<String> {
    let prefix = format!("{}/", directory.path().display());
    manifests
        .problems()
        .map(|problem| problem.to_string().replace(&prefix, ""))
        .collect()
}

fn paths(directory: &TempDir) -> Vec<PathBuf> {
    vec![directory.path().to_owned()]
}

#[test]
fn directories_are_read_in_order_and_hidden_files_are_not() {
    let directory = directory(&[
        ("b.yml", BROKER),
        ("a.yaml", &format!("{BROKER}---\n{BROKER}")),
        ("c.json", "{\"kind\": \"Broker\"}"),
        ("d/e.yaml", BROKER),
        ("d/f/too-deep.yaml", BROKER),
        ("README.md", "# no manifest"),
        (".hidden.yaml", BROKER),
        ("..data/a.yaml", BROKER),
    ]);
    let manifests = read_manifests(&paths(&directory));
    let names = [("a.yaml", 2), ("b.yml", 1), ("c.json", 1), ("d/e.yaml", 1)]
        .map(|(name, n)| (name.to_owned(), n));
    assert_eq!(found(&directory, &manifests), names);
    assert_eq!(problems(&directory, &manifests), [""; 0]);
    let twice = [directory.path().to_owned(), directory.path().join("a.yaml")];
    assert_eq!(read_manifests(&twice).files.len(), 4);
    let spelled = ["d/e.yaml", "d/../d/e.yaml", "./d/e.yaml"];
    let spelled = spelled.map(|path| directory.path().join(path));
    let manifests = read_manifests(&spelled);
    assert_eq!(found(&directory, &manifests), [("d/e.yaml".to_owned(), 1)]);
}

#[test]
fn lists_are_taken_apart_and_keep_their_lines() {
    let text = "kind: List\napiVersion: v1\nitems:\n- kind: Broker\n- kind: List\n  items:\n  - kind: Trigger\n    a: 1\n";
    let file = parse_file("a.yaml", text, [0; 32], None);
    let kinds: Vec<_> = file
        .documents
        .iter()
        .map(|document| (document.text(&["kind"]), document.line("a")))
        .collect();
    assert_eq!(
        kinds,
        [(Some("Broker"), Some(4)), (Some("Trigger"), Some(8))]
    );
}

/// Items of a list of one kind need not say what they are, as in what an API server answers.
#[test]
fn lists_of_a_kind_say_what_their_items_are() {
    let text = "apiVersion: eventing.knative.dev/v1\nkind: TriggerList\nmetadata: {resourceVersion: '7'}\nitems:\n- metadata:\n    name: a\n  x: 1\n- apiVersion: v1\n  kind: Other\n  x: 2\n- kind: List\n  items:\n  - {kind: Last, x: 3}\n- kind:\n  x: 4\n";
    let file = parse_file("a.yaml", text, [0; 32], None);
    let said = |document: &ManifestDocument| {
        let text = |field| document.text(&[field]).unwrap_or_default().to_owned();
        (
            text("apiVersion"),
            text("kind"),
            document.line("x"),
            document.line("kind"),
            document.line("metadata.name"),
        )
    };
    let said: Vec<_> = file.documents.iter().map(said).collect();
    let row = |api: &str, kind: &str, x, of_kind, name| {
        (
            api.to_owned(),
            kind.to_owned(),
            Some(x),
            Some(of_kind),
            Some(name),
        )
    };
    assert_eq!(
        said,
        [
            row("eventing.knative.dev/v1", "Trigger", 7, 5, 6),
            row("v1", "Other", 10, 9, 8),
            row("", "Last", 13, 13, 13),
            row("eventing.knative.dev/v1", "Trigger", 15, 14, 14),
        ]
    );
    // What has a name is an object, whatever it is called.
    for text in [
        "kind: AllowList\nmetadata: {name: x}\nitems: [{a: 1}]",
        "kind: AllowList\nentries: []",
        "kind: TriggerList",
    ] {
        let file = parse_file("a.yaml", text, [0; 32], None);
        assert_eq!(
            (file.documents.len(), file.problems.len()),
            (1, 0),
            "{text}"
        );
    }
    for text in [
        "kind: List",
        "kind: List\nitems: {a: {}}",
        "kind: TriggerList\nitems: x",
        "kind: List\nitems: [{kind: List}]",
    ] {
        let file = parse_file("a.yaml", text, [0; 32], None);
        assert_eq!(file.documents.len(), 0, "{text}");
        let said: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
        assert!(
            said.len() == 1 && said[0].contains("items: is no list: write each object on lines"),
            "{said:?}"
        );
    }
}

/// JSON documents one after the other, on lines of their own or not, with everything that JSON may
/// have.
#[test]
fn streams_of_json_are_documents() {
    let text = "{\"kind\": \"A\",\n\t\"x\": \"\\ud83d\\ude00\\/\\u0000\"}{\"kind\": \"B\",\"x\": 1e3}\n\n{\"kind\":\"List\",\"items\":[{\"kind\":\"C\",\n\"x\":\"---\"}]}\n";
    let file = parse_file("a.json", text, [0; 32], None);
    assert_eq!(file.problems, []);
    let said: Vec<_> = file
        .documents
        .iter()
        .map(|d| (d.text(&["kind"]), d.line("x"), d.value["x"].clone()))
        .collect();
    let expected = [
        ("A", 2, json!("😀/\0")),
        ("B", 2, json!(1000)),
        ("C", 5, json!("---")),
    ];
    assert_eq!(
        said,
        expected.map(|(kind, line, x)| (Some(kind), Some(line), x))
    );
    let file = parse_file(
        "a.json",
        "{\"kind\": \"A\"}\n{\"kind\": \"B\"\n{\"kind\": \"C\"}\n",
        [0; 32],
        None,
    );
    let [problem] = &file.problems[..] else {
        panic!("not one problem: {:?}", file.problems)
    };
    assert!(matches!(problem.line, Some(2 | 3)), "{problem}");
}

/// A configuration costs what has changed; lines go by the order of what is written.
#[test]
fn what_has_not_changed_is_the_same_value() {
    let text = |second: &str| {
        format!("kind: A\nmetadata: {{name: a}}\n---\nkind: A\nmetadata: {{name: b}}\n{second}")
    };
    let before = parse_file("a.yaml", &text("x: 1\ny: 2\n"), [0; 32], None);
    for (now, is_same) in [
        ("\n\nx: 1\ny: 2\n", true),
        ("y: 2\nx: 1\n", false),
        ("x: 1\ny: 3\n", false),
    ] {
        let after = parse_file(
            "a.yaml",
            &format!("# more\n{}", text(now)),
            [1; 32],
            Some(&before),
        );
        let same = |index: usize| {
            Arc::ptr_eq(
                &before.documents[index].value,
                &after.documents[index].value,
            )
        };
        assert_eq!((same(0), same(1)), (true, is_same), "{now:?}");
        let line = after.documents[1].line("x").expect("a line");
        assert_eq!(
            format!("# more\n{}", text(now)).lines().nth(line - 1),
            Some("x: 1")
        );
    }
}

#[test]
fn what_cannot_be_read_is_a_problem_of_its_file() {
    let directory = directory(&[
        ("broken.yaml", "a: 1\n---\nb: [\n"),
        ("empty.yaml", "# nothing\n"),
        ("good.yaml", BROKER),
        ("none/x.txt", ""),
        ("policy.ymal", BROKER),
        ("other.yaml.txt", BROKER),
        ("notes.txt", BROKER),
        ("a.yaml.bak", BROKER),
        ("b.yml~", BROKER),
    ]);
    fs::write(directory.path().join("latin.yaml"), b"a: 1\nb: \xe9\n").expect("file");
    symlink("nowhere", directory.path().join("link.yaml")).expect("link");
    let mut paths = paths(&directory);
    paths.extend(["none", "missing.yaml"].map(|name| directory.path().join(name)));
    let manifests = read_manifests(&paths);
    let problems = problems(&directory, &manifests);
    assert_eq!(problems.len(), 8, "{problems:#?}");
    for (problem, start) in problems.iter().zip([
        "other.yaml.txt: warning: is not read, since its name does not end in .yaml: rename it",
        "policy.ymal: warning: is not read, since its name does not end in .yaml: rename it",
        "none: warning: holds no manifest: put *.yaml, *.yml or *.json files into it",
        "missing.yaml: cannot be read: No such file or directory (os error 2): give a file or directory that exists",
        "broken.yaml:3: is not valid YAML: unclosed bracket '['",
        "empty.yaml: warning: holds no objects: write some, or remove the file",
        "latin.yaml:2: is not UTF-8: save it as UTF-8",
        "link.yaml: cannot be read: No such file or directory",
    ]) {
        assert!(problem.starts_with(start), "{problem}");
    }
    // Nothing of a file with a broken document is applied.
    assert_eq!(manifests.documents().count(), 1);
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_content_and_one_that_goes_is_gone() {
    let directory = directory(&[("a.yaml", BROKER), ("b.yaml", BROKER), ("c.yaml", BROKER)]);
    let write =
        |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("file");
    let first = read_manifests(&paths(&directory));
    write("a.yaml", "a: [\n");
    write("b.yaml", "");
    fs::remove_file(directory.path().join("c.yaml")).expect("removed");
    let second = reread_manifests(&paths(&directory), &first);
    let names = [("a.yaml", 1), ("b.yaml", 1)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(found(&directory, &second), names);
    assert!(
        problems(&directory, &second)
            .iter()
            .all(|problem| problem.ends_with("its last good content stays in use"))
    );
    // Broken twice in a row is still the same good content, and equal files are not read anew.
    write("a.yaml", "b: [\n");
    let third = reread_manifests(&paths(&directory), &second);
    assert_eq!(found(&directory, &third), names);
    assert!(Arc::ptr_eq(&second.files[1], &third.files[1]));
    assert!(reread_manifests(&paths(&directory), &third).is_same(&third));
    assert!(!third.is_same(&second));
    write("a.yaml", &format!("{BROKER}---\n{BROKER}"));
    assert_eq!(
        found(&directory, &reread_manifests(&paths(&directory), &third))[0].1,
        2
    );
}

/// Whoever names a file means what is in it, unlike one that happens to be in a directory.
#[test]
fn a_file_that_was_named_and_is_empty_is_an_error() {
    let directory = directory(&[
        ("a.yaml", "\n"),
        ("b.yaml", "# nothing yet\n"),
        ("c.yaml", BROKER),
    ]);
    let paths = ["a.yaml", "b.yaml", "c.yaml"].map(|name| directory.path().join(name));
    let first = read_manifests(&paths);
    let said = problems(&directory, &first);
    assert_eq!(
        said,
        [
            "a.yaml: is empty, though it was named: write the objects into it, or leave it out",
            "b.yaml: warning: holds no objects: write some, or remove the file",
        ]
    );
    let of_directory = problems(&directory, &read_manifests(&[directory.path().to_owned()]));
    assert!(
        of_directory.len() == 2
            && of_directory
                .iter()
                .all(|line| line.contains("warning: holds no"))
    );
    fs::write(&paths[0], BROKER).expect("written");
    fs::write(&paths[2], "").expect("written");
    let second = reread_manifests(&paths, &first);
    assert_eq!(
        second.documents().count(),
        2,
        "what was there stays, and what comes is there"
    );
    assert!(
        second.problems().all(|problem| !problem.is_error()),
        "{:?}",
        problems(&directory, &second)
    );
}

#[test]
fn a_path_that_vanishes_as_a_whole_keeps_its_objects() {
    let directory = directory(&[("d/a.yaml", BROKER), ("b.yaml", BROKER)]);
    let paths = ["d", "b.yaml"].map(|name| directory.path().join(name));
    let first = read_manifests(&paths);
    fs::rename(directory.path().join("d"), directory.path().join("e")).expect("renamed");
    fs::remove_file(directory.path().join("b.yaml")).expect("removed");
    let second = reread_manifests(&paths, &first);
    assert_eq!(second.documents().count(), 2);
    assert_eq!(problems(&directory, &second).len(), 2);
}

#[test]
fn signatures_see_every_way_to_change_a_file() {
    let directory = directory(&[
        ("a.yaml", BROKER),
        ("data1/x.yaml", BROKER),
        ("data2/x.yaml", BROKER),
    ]);
    let path = |name: &str| directory.path().join(name);
    symlink("data1", path("..data")).expect("link");
    symlink("..data/x.yaml", path("x.yaml")).expect("link");
    let mut last = files_signature(&paths(&directory));
    assert_eq!(last, files_signature(&paths(&directory)));
    let mut changes = |what: &str| {
        let now = files_signature(&paths(&directory));
        assert_ne!(now, last, "{what}");
        last = now;
    };
    fs::write(path("a.yaml"), format!("{BROKER}#")).expect("written");
    changes("longer");
    fs::write(path("new"), format!("{BROKER}#")).expect("written");
    fs::rename(path("new"), path("a.yaml")).expect("renamed");
    changes("another file of the same content");
    symlink("data2", path("..new")).expect("link");
    fs::rename(path("..new"), path("..data")).expect("renamed");
    changes("a link swapped, as ConfigMaps are");
    fs::remove_file(path("a.yaml")).expect("removed");
    changes("removed");
    fs::remove_dir_all(path("data1")).expect("removed");
    changes("a directory removed");
}
