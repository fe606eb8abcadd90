//! Tests of the findings about expressions.

use proptest::prelude::*;

use super::*;
use crate::filter::cesql::tests::Given;
use crate::filter::cesql::{CesqlExpression, CesqlValue, WorkMeter};

/// What is said of a text: of its syntax, or of what it can become.
fn said(text: &str) -> Vec<(Option<FindingSeverity>, String)> {
    match CesqlExpression::parse(text) {
        Err(error) => vec![(None, explain_error(text, error).to_string())],
        Ok(expression) => {
            let found = expression.check(text).into_iter();
            found
                .map(|finding| (Some(finding.severity), finding.error.to_string()))
                .collect()
        }
    }
}

#[test]
fn other_languages_are_translated() {
    for (text, line) in [
        (
            "type == 'a'",
            "line 1, column 7: CESQL writes = for equality",
        ),
        (
            "type = 'a' && id = 'b'",
            "line 1, column 12: CESQL writes AND",
        ),
        (
            "type = 'a' || id = 'b'",
            "line 1, column 12: CESQL writes OR",
        ),
        ("!(type = 'a')", "line 1, column 1: CESQL writes NOT"),
        (
            "type IN ['a']",
            "line 1, column 9: CESQL writes lists in parentheses: IN ('a', 'b')",
        ),
        (
            "data.kind = 'a'",
            "line 1, column 5: the data of events cannot be looked into: expressions see attributes only",
        ),
        (
            "event.type = 'a'",
            "line 1, column 6: attributes are written by their names alone: write type instead of event.type",
        ),
        (
            "type contains 'a'",
            "line 1, column 6: there is no \"contains\" here: write LIKE '%text%'",
        ),
        (
            "subject is null",
            "line 1, column 9: there is no \"is\" here: write EXISTS x, or NOT EXISTS x",
        ),
        (
            "type =~ 'a.*'",
            "line 1, column 7: CESQL has no regular expressions: write LIKE, with % for any text and _ for one character",
        ),
        (
            "type = '{{ .x }}' AND {{ .y }}",
            "line 1, column 23: this is a template that was not rendered, perhaps: render it first",
        ),
        (
            "TRUE AND\n  id == 'a'",
            "line 2, column 7: CESQL writes = for equality",
        ),
        ("type =", "line 1, column 7: the expression ends too early"),
        (
            "EXISTS(subject)",
            "line 1, column 7: EXISTS takes a name without parentheses: write EXISTS subject",
        ),
        (
            "NOT exists ( x )",
            "line 1, column 12: EXISTS takes a name without parentheses: write EXISTS x",
        ),
        (
            "level > 1.5",
            "line 1, column 10: 1.5 is a decimal, and CESQL has integers only: write a whole number",
        ),
        (
            "level > .5",
            "line 1, column 9: .5 is a decimal, and CESQL has integers only: write a whole number",
        ),
        (
            "level > 1.",
            "line 1, column 10: 1. is a decimal, and CESQL has integers only: write a whole number",
        ),
    ] {
        assert_eq!(said(text), [(None, line.to_owned())], "{text}");
    }
}

/// Checks that each expression can never be true, and where and why.
fn assert_never_true(cases: &[(&str, &str)]) {
    for (text, line) in cases {
        let finding = format!("line 1, column {line}");
        assert_eq!(
            said(text),
            [(Some(FindingSeverity::NeverTrue), finding)],
            "{text}"
        );
    }
}

#[test]
fn results_and_functions_that_can_never_pass_are_told() {
    assert_never_true(&[
        (
            "1",
            "1: the result is a number, and only what is true passes: compare it",
        ),
        (
            "'true'",
            "1: the result is text, and only what is true passes: compare it, or write EXISTS",
        ),
        (
            "  type",
            "3: the result is text, and only what is true passes: compare it, or write EXISTS",
        ),
        (
            "LOWER(x)",
            "1: the result is text, and only what is true passes: compare it, or write EXISTS",
        ),
        (
            "STARTSWITH(type, 'a')",
            "1: there is no function STARTSWITH: write type LIKE 'a%'",
        ),
        (
            "startsWith(type, 'a')",
            "1: there is no function STARTSWITH: write type LIKE 'a%'",
        ),
        (
            "has(subject)",
            "1: there is no function HAS: write EXISTS subject",
        ),
        (
            "LENGHT(type) > 2",
            "1: there is no function LENGHT; did you mean LENGTH?",
        ),
        ("LENGTH() > 2", "1: LENGTH takes 1 argument, and not 0"),
        (
            "SUBSTRING(type) = 'a'",
            "1: SUBSTRING takes 2 to 3 arguments, and not 1",
        ),
    ]);
}

#[test]
fn what_can_never_pass_is_told() {
    assert_never_true(&[
        (
            "ce-type = 'a'",
            "1: ce-type is a subtraction here: attributes are written without ce-, as type",
        ),
        (
            "type = 'a' AND 'b'",
            "16: 'b' beside AND is neither true nor false: repeat the comparison, as in type = 'a' OR type = 'b', or write \
             type IN ('a', 'b')",
        ),
        (
            "type = 'a' AND type = 'b'",
            "1: type cannot be 'a' and 'b' at once: write OR between them, or IN",
        ),
        (
            "specversion = '0.3'",
            "1: specversion = '0.3' can never hold: correct it",
        ),
        ("1 = 2", "1: 1 = 2 can never hold: correct it"),
        (
            "LOWER(type) = 'Com.Example'",
            "1: LOWER(type) = 'Com.Example' can never hold: correct it",
        ),
        (
            "LENGTH(type) < 0",
            "1: LENGTH(type) < 0 can never hold: correct it",
        ),
        (
            "EXISTS x = 'yes'",
            "8: (EXISTS x) = 'yes' can never hold: correct it",
        ),
        (
            "time > '2026-01-01'",
            "1: > compares integers, and text is none: nothing passes",
        ),
        (
            "type + 'x' = 'ax'",
            "1: + is for integers, and this is text: to join texts, write CONCAT(x, y)",
        ),
        (
            "data = 'a'",
            "1: the data of events cannot be looked into: expressions see attributes only",
        ),
        (
            "subject != null",
            "12: there is no null: write EXISTS x, or NOT EXISTS x",
        ),
        (
            "FALSE",
            "1: is never true, so that nothing passes: correct it",
        ),
        (
            "NOT EXISTS type",
            "1: is never true, so that nothing passes: correct it",
        ),
    ]);
}

/// What cannot hold in a part only is told, too, and is no error.
#[test]
fn parts_that_can_never_hold_are_told() {
    for (text, doubt) in [
        ("type = 'a' OR 'b'", FindingSeverity::PartNeverTrue),
        (
            "type = 'a' OR specversion = '2'",
            FindingSeverity::PartNeverTrue,
        ),
        (
            "EXISTS x OR LENGHT(type) = 1",
            FindingSeverity::UnknownFunction,
        ),
        (
            "type = 'a' OR LEFT(type) = 'b'",
            FindingSeverity::UnknownFunction,
        ),
    ] {
        let said = said(text);
        assert!(
            matches!(said[..], [(Some(said), _)] if said == doubt),
            "{text}: {said:?}"
        );
    }
}

/// A name that is nearly one of CloudEvents' own is told wherever it stands, and changes no other
/// judgement.
#[test]
fn names_that_are_nearly_those_of_attributes_are_told() {
    for (text, lines) in [
        (
            "tpye = 'a'",
            &["1: tpye is an extension; did you mean type?"][..],
        ),
        (
            "type = 'a' AND NOT (Soruce LIKE '/a%')",
            &["21: soruce is an extension; did you mean source?"],
        ),
        (
            "EXISTS subjct",
            &["8: subjct is an extension; did you mean subject?"],
        ),
        (
            "LOWER(tpye) IN ('a', CONCAT(souce, 'b'))",
            &[
                "7: tpye is an extension; did you mean type?",
                "29: souce is an extension; did you mean source?",
            ],
        ),
    ] {
        let expected = lines.iter().map(|line| {
            (
                Some(FindingSeverity::Name),
                format!("line 1, column {line}"),
            )
        });
        assert_eq!(said(text), expected.collect::<Vec<_>>(), "{text}");
    }
    let both = said("LENGTH(tpye) < 0");
    assert_eq!(
        both.iter().map(|(doubt, _)| *doubt).collect::<Vec<_>>(),
        [
            Some(FindingSeverity::NeverTrue),
            Some(FindingSeverity::Name)
        ]
    );
}

#[test]
fn what_can_pass_is_left_alone() {
    for text in [
        "type = 'a'",
        "type = \"a\" OR type = 'b'",
        "TRUE",
        "flag",
        "NOT flag",
        "EXISTS tenant AND tenant NOT IN ('demo', 'trial')",
        "sequence > 5 AND sequence <= 100",
        "type LIKE 'com.example.%'",
        "LOWER(type) LIKE 'com.%' OR UPPER(type) = 'COM'",
        "LENGTH(subject) > 3",
        "CONCAT(type, source) = 'ab'",
        "LEFT(type, 3) = 'com'",
        "INT(sequence) % 2 = 0",
        "type != 'a' AND type != 'b'",
        "true = 'true'",
        "'true' AND type = 'a'",
        "EXISTS type",
        "specversion = '1.0'",
        "(type = 'a' AND id = '1') OR (type = 'b' AND id = '2')",
        "BOOL(flag) XOR (id = '1')",
        "mybool = TRUE",
        "IS_INT(sequence)",
        "ABS(delta) < 10",
        "-delta < 10",
    ] {
        assert_eq!(said(text), [], "{text}");
    }
}

/// Expressions of a few attributes and literals, as text.
fn any_text() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "type",
        "flag",
        "n",
        "missing",
        "'a'",
        "'A'",
        "''",
        "'true'",
        "'5'",
        "5",
        "-1",
        "0",
        "TRUE",
        "FALSE",
        "specversion",
        "EXISTS flag",
        "EXISTS type",
        "'1.0'",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(3, 12, 2, |inner| {
            let operators = [
                "=", "!=", "<", "<=", ">", ">=", "AND", "OR", "XOR", "+", "-", "/",
            ];
            let pair = (
                inner.clone(),
                prop::sample::select(operators.to_vec()),
                inner.clone(),
            );
            let function = prop::sample::select(vec![
                "LOWER", "UPPER", "LENGTH", "TRIM", "INT", "BOOL", "ABS", "LENGHT",
            ]);
            prop_oneof![
                pair.prop_map(|(x, operator, y)| format!("({x} {operator} {y})")),
                inner.clone().prop_map(|x| format!("NOT ({x})")),
                inner.clone().prop_map(|x| format!("(({x}) LIKE 'A%')")),
                (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("(({x}) IN ({y}, 'a'))")),
                (function, inner.clone()).prop_map(|(function, x)| format!("{function}({x})")),
                (inner.clone(), inner).prop_map(|(x, y)| format!("(LEFT({x}, 1) = ({y}))")),
            ]
        })
}

fn any_value() -> impl Strategy<Value = Option<CesqlValue<'static>>> {
    prop_oneof![
        Just(None),
        prop::sample::select(vec!["a", "A", "true", "false", "5", "-1", "x"])
            .prop_map(|text| Some(CesqlValue::String(text.into()))),
        (-2..7).prop_map(|number| Some(CesqlValue::Integer(number))),
        any::<bool>().prop_map(|truth| Some(CesqlValue::Boolean(truth))),
    ]
}

proptest! {
    /// What is said never to pass never does, whatever the event.
    #[test]
    fn never_means_never(text in any_text(), flag in any_value(), n in any_value(), ty in "[aA5x]|true|false") {
        let expression = CesqlExpression::parse(&text).expect("an expression");
        let never = expression.check(&text).iter().any(|finding| finding.severity == FindingSeverity::NeverTrue);
        let outcome = expression.evaluate(&Given(|name: &str| match name {
            "type" => Some(CesqlValue::String(ty.clone().into())),
            "specversion" => Some(CesqlValue::String("1.0".into())),
            "flag" => flag.clone(),
            "n" => n.clone(),
            _ => None,
        }), &mut WorkMeter::default());
        let passes = outcome.error.is_none() && outcome.value == CesqlValue::Boolean(true);
        prop_assert!(!(never && passes), "{text} passes");
    }

    #[test]
    fn never_panics(text in "[a-z=<>!&|'\"(). 0-9{}-]{0,40}") {
        said(&text);
    }
}
