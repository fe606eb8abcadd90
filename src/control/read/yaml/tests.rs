//! YAML with its lines, and texts that are no YAML.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn all(text: &str) -> Vec<ParsedDocument> {
    parse_documents(text)
        .into_iter()
        .map(|document| document.expect("YAML"))
        .collect()
}

fn broken_of(text: &str) -> YamlError {
    parse_documents(text)
        .into_iter()
        .find_map(Result::err)
        .expect("a broken document")
}

#[test]
fn every_field_knows_the_line_of_its_key() {
    let text = "\
# comment
apiVersion: v1
metadata:
  name: a
  annotations:
    sealpost.dev/endpoint:
      http://x
spec:
  list:
  - ref: {kind: Service,
      name: s}
  -
    uri: u
";
    let document = &all(text)[0];
    assert_eq!(document.value["spec"]["list"][0]["ref"]["name"], json!("s"));
    for (path, line) in [
        ("apiVersion", 2),
        ("metadata", 3),
        ("metadata.name", 4),
        ("metadata.annotations.sealpost.dev/endpoint", 6),
        ("spec.list", 9),
        ("spec.list[0]", 10),
        ("spec.list[0].ref", 10),
        ("spec.list[0].ref.name", 11),
        ("spec.list[1].uri", 13),
        ("spec.list[1].uri.missing", 13),
        ("spec.missing.deep", 8),
        ("metadata.nam", 3),
        ("metadata.namexy", 3),
        ("missing", 2),
        ("", 2),
    ] {
        assert_eq!(
            document.lines.line_of_path(&document.value, path),
            Some(line),
            "{path}"
        );
    }
    assert_eq!(
        ValueLines::default().line_of_path(&document.value, "spec"),
        None
    );
}

#[test]
fn documents_are_cut_at_markers_and_count_lines_through() {
    let text = "\u{feff}%YAML 1.2\n---\n# nothing\n---\na: 1\n--- # two\nb: |\n  --- text\n  ...\n...\n\n--- {c: 3}\n---\n";
    let documents = all(text);
    let values: Vec<_> = documents
        .iter()
        .map(|document| document.value.clone())
        .collect();
    assert_eq!(
        values,
        [
            json!({"a": 1}),
            json!({"b": "--- text\n...\n"}),
            json!({"c": 3})
        ]
    );
    let lines: Vec<_> = ["a", "b", "c"]
        .iter()
        .zip(&documents)
        .map(|(key, d)| d.lines.line_of_path(&d.value, key))
        .collect();
    assert_eq!(lines, [Some(5), Some(7), Some(12)]);
    assert!(all("").is_empty() && all("---\n---\n# x\n").is_empty());
}

#[test]
fn scalars_are_what_kubernetes_reads() {
    let document =
        &all("a: yes\nb: 'yes'\nc: 1.5\nd: ~\ne: 1h\nf: -3\ng: 18446744073709551615\n80: h\n")[0];
    let expected = json!({"a": true, "b": "yes", "c": 1.5, "d": null, "e": "1h", "f": -3, "g": u64::MAX, "80": "h"});
    assert_eq!(document.value, expected);
    assert_eq!(
        all("{\"a\": [1, \"x\"],\n\t\"b\": {}}")[0].value,
        json!({"a": [1, "x"], "b": {}})
    );
}

/// Kubernetes knows these words in three cases; everything else is text, and so is what stands in
/// quotes.
#[test]
fn booleans_are_those_of_yaml_1_1() {
    for word in [
        "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON",
    ] {
        assert_eq!(
            all(&format!("k: {word}"))[0].value,
            json!({"k": true}),
            "{word}"
        );
        assert_eq!(
            all(&format!("- [{word}, x]"))[0].value,
            json!([[true, "x"]]),
            "{word}"
        );
        assert_eq!(
            all(&format!("k: '{word}'"))[0].value,
            json!({"k": word}),
            "{word}"
        );
        assert_eq!(
            all(&format!("k:\n  \"{word}\""))[0].value,
            json!({"k": word}),
            "{word}"
        );
        assert_eq!(
            all(&format!("k: |-\n  {word}"))[0].value,
            json!({"k": word}),
            "{word}"
        );
        assert_eq!(
            all(&format!("k: !!str {word}"))[0].value,
            json!({"k": word}),
            "{word}"
        );
    }
    for word in ["tRuE", "yEs", "oN", "nO", "y", "n", "FaLsE"] {
        assert_eq!(
            all(&format!("k: {word}"))[0].value,
            json!({"k": word}),
            "{word}"
        );
    }
    assert_eq!(
        all("a: &x no\nb: *x")[0].value,
        json!({"a": false, "b": false})
    );
}

#[test]
fn common_mistakes_are_named() {
    for (text, words) in [
        (
            "metadata:\n  name: {{ .Values.name }}\n",
            "template that was not rendered",
        ),
        (
            "{{- if .x }}\na: 1\n{{- end }}\n",
            "template that was not rendered",
        ),
        ("a:\n\tb: 1\n", "blanks instead of tabs"),
        (
            "spec:\n  schedule: */1 * * * *\n",
            "begins with * must stand in quotes",
        ),
        ("a:\n  b: 1\nEOF\n", "EOF is left over"),
    ] {
        let broken = broken_of(text);
        assert!(broken.message.contains(words), "{text}: {broken:?}");
    }
}

#[test]
fn anchors_count_where_they_are_used() {
    let document = &all("a: &x\n  k: 1\nb: *x\nc:\n  <<: *x\n  l: 2\n")[0];
    assert_eq!(
        document.value,
        json!({"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}})
    );
    assert_eq!(document.lines.line_of_path(&document.value, "b"), Some(3));
}

#[test]
fn broken_documents_name_their_line_and_spare_the_others() {
    let results = parse_documents("a: 1\n---\nb: [1\n---\nc: 3\n---\nd: 1\nd: 2\n");
    assert_eq!(
        results.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    assert!((3..=4).contains(&results[1].as_ref().expect_err("flow").line));
    let duplicate = results[3].as_ref().expect_err("duplicate");
    assert_eq!(duplicate.line, 8);
    assert!(
        duplicate.message.starts_with("is not valid YAML: ")
            && duplicate.message.contains("duplicate")
    );
    assert_eq!(broken_of("a:\n\tb: 1\n").line, 2);
}

#[test]
fn a_certificate_that_is_not_indented_gets_a_hint() {
    let broken = broken_of(
        "x: 1\n---\nspec:\n  CACerts: |\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    );
    assert!(
        broken
            .message
            .contains("indent every line of a certificate"),
        "{broken:?}"
    );
    assert!(!broken_of("a: [1").message.contains("certificate"));
}

#[test]
fn bombs_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    assert!(broken_of(&bomb).message.starts_with("is not valid YAML"));
    assert!(broken_of(&"[".repeat(100_000)).line >= 1);
    let nested = |depth: usize| format!("a: {}1{}", "{b: ".repeat(depth), "}".repeat(depth));
    assert_eq!(all(&nested(100)).len(), 1);
    assert_eq!(broken_of(&nested(200)).line, 1);
}

proptest! {
    #[test]
    fn never_panics(text in "[-a:.#%{}\\[\\]&*!|>'\" \t\n]{0,60}") {
        parse_documents(&text);
    }

    #[test]
    fn never_panics_on_anything(text in any::<String>()) {
        parse_documents(&text);
    }
}

/// Files that were put together, each of which an editor has begun with a byte order mark.
#[test]
fn marks_at_the_beginning_of_documents_are_no_text() {
    let text =
        "\u{feff}a: 1\n\u{feff}---\n\u{feff}b: \"\u{feff}x\"\n---\n# c\n\u{feff}{\"c\": 1}\n";
    let values: Vec<_> = all(text)
        .into_iter()
        .map(|document| document.value)
        .collect();
    assert_eq!(
        values,
        [json!({"a": 1}), json!({"b": "\u{feff}x"}), json!({"c": 1})]
    );
}

/// They are mistakes of what they stand in.
#[test]
fn keys_that_are_no_text_and_numbers_that_are_none_are_read() {
    let values = |text| {
        all(text)
            .into_iter()
            .map(|document| document.value)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values("null: x\n80: y\n? [a]\n: z\n---\nb: 1\n"),
        [
            json!({"? null": "x", "80": "y", "? []": "z"}),
            json!({"b": 1})
        ]
    );
    assert_eq!(
        values("a: .inf\nb: -.INF\nc: .nan\n"),
        [json!({"a": f64::MAX, "b": f64::MAX, "c": f64::MAX})]
    );
}
