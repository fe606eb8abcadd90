//! Tests of the language by tables and properties. The public conformance cases run beside the
//! black-box tests.

use std::borrow::Cow;

use proptest::prelude::*;

use super::ast::BinaryOperator;
use super::function::CesqlFunction;
use super::like::LikePattern;
use super::*;

mod budget;

/// Attributes by a function. To read text takes a step for each of its bytes.
pub(super) struct Given<F>(pub(super) F);

impl<'e, F: Fn(&str) -> Option<CesqlValue<'static>>> AttributeSource<'e> for Given<F> {
    fn get(
        &self,
        name: &str,
        meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded> {
        let value = (self.0)(name);
        if let Some(CesqlValue::String(text)) = &value {
            meter.step(text.len())?;
        }
        Ok(value)
    }

    fn exists(&self, name: &str, _meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        Ok((self.0)(name).is_some())
    }
}

fn attributes(name: &str) -> Option<CesqlValue<'static>> {
    match name {
        "id" => Some(CesqlValue::String(Cow::Borrowed("i1"))),
        "sequence" => Some(CesqlValue::String(Cow::Borrowed("7"))),
        "myint" => Some(CesqlValue::Integer(10)),
        "mybool" => Some(CesqlValue::Boolean(true)),
        "word" => Some(CesqlValue::String(Cow::Borrowed("é€😀"))),
        _ => None,
    }
}

fn evaluate(text: &str) -> (String, Option<EvaluationError>) {
    let expression = CesqlExpression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let EvaluationResult { value, error } =
        expression.evaluate(&Given(attributes), &mut WorkMeter::default());
    let value = match value {
        CesqlValue::String(text) => format!("'{text}'"),
        CesqlValue::Integer(number) => number.to_string(),
        CesqlValue::Boolean(truth) => truth.to_string(),
    };
    (value, error)
}

/// cesql §3, and where the Go engine differs (contract TF-19, TF-20).
#[test]
fn expressions_have_values() {
    for (text, value) in [
        ("2-1", "1"),
        ("sequence-1", "6"),
        ("1 - 2 - 3", "-4"),
        ("7 / 2 * 2", "6"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("-2147483648 % -1", "0"),
        ("- -3", "3"),
        ("LENGTH(word)", "3"),
        ("LEFT(word, 2)", "'é€'"),
        ("RIGHT(word, 1)", "'😀'"),
        ("SUBSTRING(word, 2, 1)", "'€'"),
        ("SUBSTRING(word, -1)", "'😀'"),
        ("word LIKE 'é_😀'", "true"),
        ("word LIKE '%€%'", "true"),
        ("word LIKE '__'", "false"),
        ("'a%b' LIKE 'a\\%b' AND NOT ('axb' LIKE 'a\\%b')", "true"),
        ("'it\\'s'", "'it's'"),
        ("\"a'b\"", "'a'b'"),
        ("NOT 10", "false"),
        ("mybool AND myint", "true"),
        ("TRUE OR FALSE AND FALSE", "false"),
        ("TRUE XOR TRUE", "false"),
        ("true = 'true'", "true"),
        ("'10' = 10 AND 10 = '10'", "true"),
        ("myint IN ('9', '10')", "true"),
        ("id NOT IN ('i2') AND ID = 'i1'", "true"),
        ("EXISTS missing OR EXISTS id", "true"),
        ("CONCAT()", "''"),
        ("CONCAT_WS('-', 1, TRUE, 'x')", "'1-true-x'"),
        ("UPPER(Lower('É'))", "'É'"),
        (
            "IS_INT('5') AND NOT IS_INT('x') AND IS_BOOL('FALSE')",
            "true",
        ),
        ("true OR missing = 'x'", "true"),
    ] {
        assert_eq!(evaluate(text), (value.to_owned(), None), "{text}");
    }
}

/// cesql §3.2, §3.3: a value all the same.
#[test]
fn errors_come_with_values() {
    for (text, value, error) in [
        ("missing", "false", EvaluationError::MissingAttribute),
        (
            "missing = 'x' OR true",
            "false",
            EvaluationError::MissingAttribute,
        ),
        ("1 != 1 / 0", "false", EvaluationError::Math),
        ("'x' IN (1 / 0, 'x')", "false", EvaluationError::Math),
        ("NOT missing", "false", EvaluationError::MissingAttribute),
        (
            "missing NOT LIKE 'x'",
            "false",
            EvaluationError::MissingAttribute,
        ),
        (
            "missing NOT IN ('x')",
            "false",
            EvaluationError::MissingAttribute,
        ),
        ("missing != 'x'", "false", EvaluationError::MissingAttribute),
        ("LENGTH(missing)", "0", EvaluationError::MissingAttribute),
        ("1 / 0", "0", EvaluationError::Math),
        ("2147483647 + 1", "0", EvaluationError::Math),
        ("-2147483648 / -1", "0", EvaluationError::Math),
        ("- (-2147483648)", "0", EvaluationError::Math),
        ("'x' + 1", "0", EvaluationError::Cast),
        ("'x' = 1", "false", EvaluationError::Cast),
        ("NOPE(1)", "false", EvaluationError::MissingFunction),
        ("ABS()", "false", EvaluationError::MissingFunction),
        (
            "SUBSTRING('abc', 2, -1)",
            "''",
            EvaluationError::FunctionEvaluation,
        ),
        (
            "SUBSTRING('abc', -2147483648)",
            "''",
            EvaluationError::FunctionEvaluation,
        ),
        (
            "LEFT('abc', -2147483648)",
            "'abc'",
            EvaluationError::FunctionEvaluation,
        ),
    ] {
        assert_eq!(evaluate(text), (value.to_owned(), Some(error)), "{text}");
    }
}

#[test]
fn what_is_no_expression_says_where() {
    let deep = "(".repeat(5_000) + "1" + &")".repeat(5_000);
    let chain = vec!["1"; 2_000].join(" + ");
    let nots = "NOT ".repeat(4_000) + "TRUE";
    for (text, line, column, words) in [
        ("", 1, 1, "ends too early"),
        ("type =", 1, 7, "ends too early"),
        ("((true)", 1, 8, "\")\" was expected"),
        ("ABC(", 1, 5, "ends too early"),
        ("a b", 1, 3, "operator or the end"),
        ("a =\n  'x", 2, 3, "no closing '"),
        ("id LIKE id", 1, 9, "pattern in quotes"),
        ("id IN ()", 1, 9, "at least one"),
        ("my_attribute = 1", 1, 1, "not the name of an attribute"),
        ("AND", 1, 1, "not the name of an attribute"),
        ("2147483648", 1, 1, "32 bits"),
        ("é", 1, 1, "means nothing"),
        ("'é' é", 1, 5, "means nothing"),
        (deep.as_str(), 1, 101, "nested more than 100"),
        (chain.as_str(), 1, 0, "operators follow each other"),
        (nots.as_str(), 1, 0, "nested more than 100"),
    ] {
        let error = CesqlExpression::parse(text).expect_err(text);
        assert!(error.to_string().contains(words), "{text:.20}: {error}");
        assert!(
            error.line == line && (column == 0 || error.column == column),
            "{text:.20}: {error}"
        );
    }
    let long = format!("'{}'", "x".repeat(MAX_LENGTH));
    assert!(
        CesqlExpression::parse(&long).is_err_and(|error| error.message.contains("longer than"))
    );
}

fn any_expression() -> impl Strategy<Value = ExpressionNode> {
    let name = "[a-z][a-z0-9]{0,8}".prop_filter("no keyword", |name| {
        ![
            "and", "or", "xor", "not", "like", "exists", "in", "true", "false",
        ]
        .contains(&name.as_str())
    });
    let text = "[^'\\\\]{0,8}";
    let leaf = prop_oneof![
        text.prop_map(ExpressionNode::String),
        any::<i32>().prop_map(ExpressionNode::Integer),
        any::<bool>().prop_map(ExpressionNode::Boolean),
        name.clone().prop_map(ExpressionNode::Attribute),
        name.prop_map(ExpressionNode::Exists),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let operators = prop::sample::select(vec![
            BinaryOperator::Multiply,
            BinaryOperator::Divide,
            BinaryOperator::Remainder,
            BinaryOperator::Add,
            BinaryOperator::Subtract,
            BinaryOperator::Equal,
            BinaryOperator::NotEqual,
            BinaryOperator::Less,
            BinaryOperator::LessOrEqual,
            BinaryOperator::Greater,
            BinaryOperator::GreaterOrEqual,
            BinaryOperator::And,
            BinaryOperator::Or,
            BinaryOperator::Xor,
        ]);
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(ExpressionNode::Not),
            boxed.clone().prop_map(ExpressionNode::Negate),
            (operators, boxed.clone(), boxed.clone())
                .prop_map(|(operator, x, y)| ExpressionNode::Binary(operator, x, y)),
            (boxed.clone(), "[a-z%_]{0,6}")
                .prop_map(|(x, text)| ExpressionNode::Like(x, LikePattern::new(&text))),
            (boxed, prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(x, set)| ExpressionNode::In(x, set)),
            prop::collection::vec(inner, 0..4).prop_map(|arguments| {
                ExpressionNode::Call(CesqlFunction::find("CONCAT", arguments.len()), arguments)
            }),
        ]
    })
}

/// `LIKE` by recursion, as the specification describes it.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|at| like(&text[at..], rest)),
        Some((c, rest)) => text
            .split_first()
            .is_some_and(|(t, text)| (*c == '_' || c == t) && like(text, rest)),
    }
}

proptest! {
    #[test]
    fn parse_of_print_is_identity(root in any_expression()) {
        let expression = CesqlExpression { root };
        prop_assert_eq!(CesqlExpression::parse(&expression.to_string()), Ok(expression));
    }

    #[test]
    fn evaluation_is_total(root in any_expression()) {
        let expression = CesqlExpression { root };
        expression.evaluate(&Given(attributes), &mut WorkMeter::default());
    }

    #[test]
    fn parsing_never_panics(text in any::<String>(), words in "[a-z'(),=<>!%* +\\-\"\\\\]{0,40}") {
        prop_assert!(CesqlExpression::parse(&text).is_ok() || CesqlExpression::parse(&text).is_err());
        if let Ok(expression) = CesqlExpression::parse(&words) {
            expression.evaluate(&Given(attributes), &mut WorkMeter::default());
        }
    }

    #[test]
    fn like_is_what_the_specification_says(text in "[abé]{0,10}", pattern in "[abé%_]{0,8}") {
        let (t, p): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
        prop_assert_eq!(LikePattern::new(&pattern).matches(&text, &mut WorkMeter::default()), Ok(like(&t, &p)));
    }
}
