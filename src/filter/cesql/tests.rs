//! The language by tables and properties. The public conformance cases run beside the black-box tests.

use std::borrow::Cow;

use proptest::prelude::*;

use super::ast::Operator;
use super::function::Function;
use super::like::Pattern;
use super::*;

mod budget;

/// Attributes by a function. To read text takes a step for each of its bytes.
pub(super) struct Given<F>(pub(super) F);

impl<'e, F: Fn(&str) -> Option<Value<'static>>> Attributes<'e> for Given<F> {
    fn get(&self, name: &str, meter: &mut Meter) -> Result<Option<Value<'e>>, Exceeded> {
        let value = (self.0)(name);
        if let Some(Value::String(text)) = &value {
            meter.step(text.len())?;
        }
        Ok(value)
    }

    fn exists(&self, name: &str, _meter: &mut Meter) -> Result<bool, Exceeded> {
        Ok((self.0)(name).is_some())
    }
}

fn attributes(name: &str) -> Option<Value<'static>> {
    match name {
        "id" => Some(Value::String(Cow::Borrowed("i1"))),
        "sequence" => Some(Value::String(Cow::Borrowed("7"))),
        "myint" => Some(Value::Integer(10)),
        "mybool" => Some(Value::Boolean(true)),
        "word" => Some(Value::String(Cow::Borrowed("é€😀"))),
        _ => None,
    }
}

fn evaluate(text: &str) -> (String, Option<Error>) {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let Evaluated { value, error } = expression.evaluate(&Given(attributes), &mut Meter::default());
    let value = match value {
        Value::String(text) => format!("'{text}'"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
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
        ("IS_INT('5') AND NOT IS_INT('x') AND IS_BOOL('FALSE')", "true"),
        ("true OR missing = 'x'", "true"),
    ] {
        assert_eq!(evaluate(text), (value.to_owned(), None), "{text}");
    }
}

/// cesql §3.2, §3.3: a value all the same.
#[test]
fn errors_come_with_values() {
    for (text, value, error) in [
        ("missing", "false", Error::MissingAttribute),
        ("missing = 'x' OR true", "false", Error::MissingAttribute),
        ("1 != 1 / 0", "false", Error::Math),
        ("'x' IN (1 / 0, 'x')", "false", Error::Math),
        ("NOT missing", "false", Error::MissingAttribute),
        ("missing NOT LIKE 'x'", "false", Error::MissingAttribute),
        ("missing NOT IN ('x')", "false", Error::MissingAttribute),
        ("missing != 'x'", "false", Error::MissingAttribute),
        ("LENGTH(missing)", "0", Error::MissingAttribute),
        ("1 / 0", "0", Error::Math),
        ("2147483647 + 1", "0", Error::Math),
        ("-2147483648 / -1", "0", Error::Math),
        ("- (-2147483648)", "0", Error::Math),
        ("'x' + 1", "0", Error::Cast),
        ("'x' = 1", "false", Error::Cast),
        ("NOPE(1)", "false", Error::MissingFunction),
        ("ABS()", "false", Error::MissingFunction),
        ("SUBSTRING('abc', 2, -1)", "''", Error::FunctionEvaluation),
        ("SUBSTRING('abc', -2147483648)", "''", Error::FunctionEvaluation),
        ("LEFT('abc', -2147483648)", "'abc'", Error::FunctionEvaluation),
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
        let error = Expression::parse(text).expect_err(text);
        assert!(error.to_string().contains(words), "{text:.20}: {error}");
        assert!(error.line == line && (column == 0 || error.column == column), "{text:.20}: {error}");
    }
    let long = format!("'{}'", "x".repeat(MAX_LENGTH));
    assert!(Expression::parse(&long).is_err_and(|error| error.message.contains("longer than")));
}

fn any_expression() -> impl Strategy<Value = Expr> {
    let name = "[a-z][a-z0-9]{0,8}".prop_filter("no keyword", |name| {
        !["and", "or", "xor", "not", "like", "exists", "in", "true", "false"].contains(&name.as_str())
    });
    let text = "[^'\\\\]{0,8}";
    let leaf = prop_oneof![
        text.prop_map(Expr::String),
        any::<i32>().prop_map(Expr::Integer),
        any::<bool>().prop_map(Expr::Boolean),
        name.clone().prop_map(Expr::Attribute),
        name.prop_map(Expr::Exists),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let operators = prop::sample::select(vec![
            Operator::Multiply,
            Operator::Divide,
            Operator::Remainder,
            Operator::Add,
            Operator::Subtract,
            Operator::Equal,
            Operator::NotEqual,
            Operator::Less,
            Operator::LessOrEqual,
            Operator::Greater,
            Operator::GreaterOrEqual,
            Operator::And,
            Operator::Or,
            Operator::Xor,
        ]);
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(Expr::Not),
            boxed.clone().prop_map(Expr::Negate),
            (operators, boxed.clone(), boxed.clone()).prop_map(|(operator, x, y)| Expr::Binary(operator, x, y)),
            (boxed.clone(), "[a-z%_]{0,6}").prop_map(|(x, text)| Expr::Like(x, Pattern::new(&text))),
            (boxed, prop::collection::vec(inner.clone(), 1..4)).prop_map(|(x, set)| Expr::In(x, set)),
            prop::collection::vec(inner, 0..4)
                .prop_map(|arguments| { Expr::Call(Function::find("CONCAT", arguments.len()), arguments) }),
        ]
    })
}

/// `LIKE` by recursion, as the specification describes it.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|at| like(&text[at..], rest)),
        Some((c, rest)) => text.split_first().is_some_and(|(t, text)| (*c == '_' || c == t) && like(text, rest)),
    }
}

proptest! {
    #[test]
    fn parse_of_print_is_identity(root in any_expression()) {
        let expression = Expression { root };
        prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
    }

    #[test]
    fn evaluation_is_total(root in any_expression()) {
        let expression = Expression { root };
        expression.evaluate(&Given(attributes), &mut Meter::default());
    }

    #[test]
    fn parsing_never_panics(text in any::<String>(), words in "[a-z'(),=<>!%* +\\-\"\\\\]{0,40}") {
        prop_assert!(Expression::parse(&text).is_ok() || Expression::parse(&text).is_err());
        if let Ok(expression) = Expression::parse(&words) {
            expression.evaluate(&Given(attributes), &mut Meter::default());
        }
    }

    #[test]
    fn like_is_what_the_specification_says(text in "[abé]{0,10}", pattern in "[abé%_]{0,8}") {
        let (t, p): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
        prop_assert_eq!(Pattern::new(&pattern).matches(&text, &mut Meter::default()), Ok(like(&t, &p)));
    }
}
