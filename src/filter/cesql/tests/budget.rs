//! Tests of the work of expressions, by counted steps: the same on every machine.
//! `benches/hot_path.rs` says how long a step takes.

use std::cell::Cell;

use super::meter::MAX_BYTES;
use super::*;

/// Attributes of 60 KiB each, with what has been read of them.
struct Long<'r> {
    read: &'r Cell<usize>,
    ascii: String,
    other: String,
    digits: String,
}

impl<'r> Long<'r> {
    fn new(read: &'r Cell<usize>) -> Self {
        let (ascii, digits) = ("Ab".repeat(30 * 1024), "0".repeat(60 * 1024));
        Self {
            read,
            ascii,
            other: "\u{390}".repeat(30 * 1024),
            digits,
        }
    }
}

impl<'e> AttributeSource<'e> for &'e Long<'_> {
    fn get(
        &self,
        name: &str,
        meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded> {
        let text = match name {
            "x" => &self.ascii,
            "y" => &self.other,
            "z" => &self.digits,
            _ => return Ok(None),
        };
        meter.step(text.len())?;
        self.read.set(self.read.get() + text.len());
        Ok(Some(CesqlValue::String(Cow::Borrowed(text))))
    }

    fn exists(&self, name: &str, meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        meter.step(1)?;
        Ok(["x", "y", "z"].contains(&name))
    }
}

/// Steps that a pattern takes on a text, and whether it matches.
fn like(text: &str, pattern: &str) -> (usize, Result<bool, MeterExceeded>) {
    let mut meter = WorkMeter::default();
    let matches = LikePattern::new(pattern).matches(text, &mut meter);
    (meter.steps() as usize, matches)
}

/// Each is nearly 16 KiB long: one piece again and again, between a head and a tail.
fn filled(head: &str, piece: &str, tail: &str) -> String {
    let room = MAX_LENGTH - head.len() - tail.len();
    let pieces = vec![piece; (room / (piece.len() + 1)).max(1)];
    format!("{head}{}{tail}", pieces.join(","))
}

/// Every function and operator, as dear as it can be made.
fn dear() -> Vec<String> {
    let nested = |function: &str| {
        format!(
            "{}x{} = ''",
            format!("{function}(").repeat(80),
            ")".repeat(80)
        )
    };
    let chained = |piece: &str| vec![piece; 45].join(" OR ");
    let many = "a".repeat(8_000);
    let mut all = vec![
        format!("x LIKE '%{many}b'"),
        format!("x LIKE '%{many}_b%'"),
        format!("x LIKE '{}'", "%A_A".repeat(4_000)),
        format!("x LIKE '{}'", "%b".repeat(8_000)),
        filled("LENGTH(CONCAT(", "x", ")) = 1"),
        filled("LENGTH(CONCAT(", "y", ")) = 1"),
        filled("LENGTH(CONCAT_WS(x,", "1", ")) = 1"),
        filled("LENGTH(CONCAT(", "UPPER(y)", ")) = 1"),
        filled("x IN (", "1", ")"),
        filled("1 IN (", "z", ")"),
        filled("x IN (", "x,y", ",x)"),
        filled("x IN (", "LOWER(x)", ")"),
        filled("x IN (", "EXISTS missing", ")"),
        filled("x IN (", "SUBSTRING(y,-2,1)", ")"),
        filled("x IN (", "ABS(z)", ")"),
        filled("x IN (", "IS_INT(z)", ")"),
        filled("x IN (", "TRIM(x)", ")"),
        filled("x IN (", "LEFT(y,9)", ")"),
        filled("x IN (", "RIGHT(y,9)", ")"),
        filled("x IN (", "CONCAT(x,1)", ")"),
        filled("x IN (", "x LIKE '%b_B%'", ")"),
        chained("UPPER(y) = x"),
        chained("z + 1 = 2"),
        chained("z = 1"),
        chained("x LIKE '%AbA_c%'"),
    ];
    all.extend(["UPPER", "LOWER", "TRIM", "STRING", "CONCAT"].map(nested));
    all
}

proptest! {
    /// A pattern without `_` reads a text once and itself once: the literal text of each part, and what is skipped.
    #[test]
    fn like_reads_once(text in "[ab]{0,400}", pattern in "[ab%]{0,60}") {
        let (steps, matches) = like(&text, &pattern);
        prop_assert!(matches.is_ok());
        prop_assert!(steps <= text.len() + 2 * pattern.len() + 1, "{steps}");
    }

    /// Whatever is made of them, no more is read, written or held than is counted.
    #[test]
    fn what_is_dear_is_counted(
        (left, right) in (0..dear().len(), 0..dear().len()),
        operator in prop::sample::select(vec!["AND", "OR", "XOR", "="]),
    ) {
        let all = dear();
        let both = format!("({}) {operator} ({})", all[left], all[right]);
        let expression = CesqlExpression::parse(if both.len() <= MAX_LENGTH { &both } else { &all[left] });
        let (expression, read, mut meter) = (expression.expect("an expression"), Cell::new(0), WorkMeter::default());
        let long = Long::new(&read);
        let EvaluationResult { value, error } = expression.evaluate(&&long, &mut meter);
        prop_assert!(meter.steps() <= MAX_STEPS && meter.bytes() <= MAX_BYTES);
        prop_assert!(read.get() <= meter.steps() as usize);
        if let CesqlValue::String(Cow::Owned(text)) = value {
            prop_assert!(text.capacity() <= meter.bytes() as usize);
        }
        let is_spent = meter.steps() == MAX_STEPS || meter.bytes() == MAX_BYTES;
        prop_assert_eq!(error == Some(EvaluationError::Limit), is_spent);
    }
}

/// What took 8.7 seconds and 971 MiB: the one costs what its text is long, the other ends.
#[test]
fn attacks_end() {
    let text = "a".repeat(60_000);
    let (steps, matches) = like(&text, &format!("%{}b", "a".repeat(8_000)));
    assert_eq!(matches, Ok(false));
    assert!(steps <= 8_002, "{steps}");
    let (steps, matches) = like(&text, &format!("%{}b%", "a".repeat(8_000)));
    assert_eq!(matches, Ok(false));
    assert!(steps <= 70_000, "{steps}");
    let (steps, matches) = like(&text, &format!("%{}_b%", "a".repeat(8_000)));
    assert_eq!((steps, matches), (MAX_STEPS as usize, Err(MeterExceeded)));
    let expression =
        CesqlExpression::parse(&filled("LENGTH(CONCAT(", "x", ")) > 0")).expect("an expression");
    let read = Cell::new(0);
    let long = Long::new(&read);
    let evaluated = expression.evaluate(&&long, &mut WorkMeter::default());
    assert!(read.get() <= MAX_STEPS as usize);
    assert_eq!(
        evaluated,
        EvaluationResult {
            value: CesqlValue::Boolean(false),
            error: Some(EvaluationError::Limit)
        }
    );
}

/// What is usual is far from the limits.
#[test]
fn what_is_usual_is_cheap() {
    let listed = filled("x IN (", "'com.example.type'", ")");
    for (text, steps, bytes) in [
        ("id = 'i1'", 20, 0),
        ("id LIKE 'i%' AND sequence > 6", 40, 0),
        ("LOWER(id) = 'i1' AND LENGTH(word) = 3", 400, 200),
        ("UPPER(id) IN ('A', 'B', 'I1')", 200, 200),
        (listed.as_str(), 70_000, 0),
    ] {
        let (expression, mut meter) = (
            CesqlExpression::parse(text).expect(text),
            WorkMeter::default(),
        );
        let read = Cell::new(0);
        let long = Long::new(&read);
        let evaluated = match text == listed {
            true => expression.evaluate(&&long, &mut meter),
            false => expression.evaluate(&Given(attributes), &mut meter),
        };
        assert_eq!(evaluated.error, None, "{text:.40}");
        assert!(
            meter.steps() <= steps && meter.bytes() <= bytes,
            "{text:.40}: {meter:?}"
        );
    }
}
