//! Tests of the dialects, by tables (contract TF-1 to TF-20).

use proptest::prelude::*;

use super::cesql::MAX_STEPS;
use super::*;

fn pairs(pairs: &[(&str, &str)]) -> AttributePairs {
    pairs
        .iter()
        .map(|(name, wanted)| ((*name).to_owned(), (*wanted).to_owned()))
        .collect()
}

fn cesql(text: &str) -> Filter {
    Filter::from(CesqlExpression::parse(text).expect("an expression"))
}

fn event() -> Event {
    let mut event = Event::new("1", "/s", "com.example.t");
    event.set("ext", "v");
    event.set("word", "é x");
    event.set_integer("five", 5);
    event
}

/// Contract TF-3.
#[test]
fn legacy_attributes() {
    for (wanted, passes) in [
        (&[][..], true),
        (&[("type", "com.example.t")], true),
        (&[("type", "COM.example.t")], false),
        (&[("type", "com.example.t"), ("source", "/s")], true),
        (&[("type", "com.example.t"), ("source", "/x")], false),
        (&[("ext", "")], true),
        (&[("word", "é x")], true),
        (&[("five", "")], true),
        (&[("five", "5")], false),
        (&[("missing", "")], false),
        (&[("missing", "x")], false),
        (&[("time", "")], false),
        (&[("specversion", "1.0")], true),
    ] {
        assert_eq!(
            Filter::Attributes(pairs(wanted)).matches(&event()),
            passes,
            "{wanted:?}"
        );
    }
}

/// Contract TF-4, TF-5, TF-2, G-47.
#[test]
fn dialects() {
    let exact = |name: &str, wanted: &str| Filter::Exact(pairs(&[(name, wanted)]));
    let not = |filter| Filter::Not(Box::new(filter));
    for (filter, passes) in [
        (exact("type", "com.example.t"), true),
        (exact("five", "5"), true),
        (exact("missing", "x"), false),
        (not(exact("missing", "x")), true),
        (
            Filter::Exact(pairs(&[("type", "com.example.t"), ("ext", "w")])),
            false,
        ),
        (
            Filter::Prefix(pairs(&[("type", "com."), ("source", "/")])),
            true,
        ),
        (Filter::Prefix(pairs(&[("time", "0001")])), false),
        (Filter::Suffix(pairs(&[("type", ".t")])), true),
        (Filter::Suffix(pairs(&[("type", ".T")])), false),
        (
            Filter::All(vec![exact("ext", "v"), exact("source", "/s")]),
            true,
        ),
        (
            Filter::All(vec![exact("ext", "v"), exact("source", "/x")]),
            false,
        ),
        (
            Filter::Any(vec![exact("ext", "x"), exact("source", "/s")]),
            true,
        ),
        (
            Filter::Any(vec![exact("ext", "x"), exact("source", "/x")]),
            false,
        ),
        (
            not(Filter::Any(vec![exact("ext", "x"), exact("source", "/x")])),
            true,
        ),
    ] {
        assert_eq!(filter.matches(&event()), passes, "{filter:?}");
    }
}

/// Contract TF-12, TF-13, G-2, TF-14, but an error inside `not` does not pass either.
#[test]
fn expressions_fail_closed() {
    let not = |filter| Filter::Not(Box::new(filter));
    for (filter, passes) in [
        (cesql("type LIKE 'com.%' AND five = 5"), true),
        (cesql("five > 4 AND word = 'é x'"), true),
        (cesql("type = 'x'"), false),
        (cesql("missing = 'x'"), false),
        (cesql("NOT (missing = 'x')"), false),
        (not(cesql("missing = 'x'")), false),
        (not(cesql("type = 'x'")), true),
        (cesql("1"), false),
        (cesql("type"), false),
        (not(cesql("1")), false),
        (cesql("1 / 0 = 0"), false),
        (cesql("TRUE OR missing = 'x'"), true),
        (Filter::Any(vec![cesql("TRUE"), cesql("missing")]), true),
        (Filter::Any(vec![cesql("missing"), cesql("TRUE")]), true),
        (Filter::Any(vec![cesql("missing"), cesql("FALSE")]), false),
        (
            not(Filter::Any(vec![cesql("missing"), cesql("FALSE")])),
            false,
        ),
        (
            not(Filter::All(vec![cesql("missing"), cesql("FALSE")])),
            true,
        ),
        (Filter::All(vec![cesql("FALSE"), cesql("missing")]), false),
    ] {
        assert_eq!(filter.matches(&event()), passes, "{filter:?}");
    }
}

/// Whatever stands in a filter, it is bounded: thousands of conditions, on attributes that are
/// long, encoded or many.
#[test]
fn work_is_bounded() {
    let mut event = event();
    event.set("x", &"Ab".repeat(10_000));
    event.set("y", &"\u{390}".repeat(5_000));
    (0..1000).for_each(|number| event.set(&format!("a{number}"), "v"));
    let many = |filter: fn(usize) -> Filter, count| Filter::Any((0..count).map(filter).collect());
    let pair = |name: &str| pairs(&[(name, "b")]);
    for (filter, passes) in [
        (
            many(|_| Filter::Exact(pairs(&[("x", "b")])), 3_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| Filter::Suffix(pairs(&[("y", "b")])), 3_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| Filter::Attributes(pairs(&[("y", "b")])), 3_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| Filter::Prefix(pairs(&[("missing", "b")])), 3_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| cesql("EXISTS missing"), 3_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| Filter::Not(Box::new(Filter::MatchAll)), 300_000),
            Err(UndecidedReason::Limit),
        ),
        (
            many(|_| Filter::Exact(pairs(&[("missing", "b")])), 500),
            Ok(false),
        ),
        (Filter::Suffix(pair("x")), Ok(true)),
        (
            Filter::Not(Box::new(many(
                |_| Filter::Exact(pairs(&[("x", "b")])),
                3_000,
            ))),
            Err(UndecidedReason::Limit),
        ),
        // What would pass alone does not help what has gone too far, wherever it stands.
        (
            Filter::Any(vec![
                many(|_| Filter::Exact(pairs(&[("x", "b")])), 3_000),
                Filter::MatchAll,
            ]),
            Err(UndecidedReason::Limit),
        ),
    ] {
        let decision = filter.decide(&event);
        assert_eq!(decision.passes, passes);
        assert!(decision.steps <= MAX_STEPS);
        assert!(passes == Ok(true) || !filter.matches(&event));
    }
}

/// A tree of filters around a leaf, which is put in by `hole`.
#[derive(Clone, Debug)]
enum Around {
    Leaf(Filter),
    Hole,
    All(Vec<Around>),
    Any(Vec<Around>),
    Not(Box<Around>),
}

impl Around {
    fn with(&self, hole: &Filter) -> Filter {
        match self {
            Self::Leaf(filter) => filter.clone(),
            Self::Hole => hole.clone(),
            Self::All(inner) => Filter::All(inner.iter().map(|around| around.with(hole)).collect()),
            Self::Any(inner) => Filter::Any(inner.iter().map(|around| around.with(hole)).collect()),
            Self::Not(inner) => Filter::Not(Box::new(inner.with(hole))),
        }
    }
}

fn any_around() -> impl Strategy<Value = Around> {
    let leaf = prop_oneof![
        3 => Just(Around::Hole),
        1 => Just(Around::Leaf(cesql("TRUE"))),
        1 => Just(Around::Leaf(cesql("FALSE"))),
        1 => Just(Around::Leaf(Filter::Exact(pairs(&[("missing", "x")])))),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Around::All),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Around::Any),
            inner.prop_map(|around| Around::Not(Box::new(around))),
        ]
    })
}

proptest! {
    /// Filters fail closed: an expression that cannot be decided never lets an event pass that would not pass whatever
    /// the expression were.
    #[test]
    fn what_is_undecided_lets_nothing_pass(
        around in any_around(),
        undecided in prop::sample::select(vec!["missing = 1", "1", "type", "1 / 0 = 1", "INT('x') = 1", "NOSUCH()"]),
    ) {
        let event = event();
        let passes = |hole: &str| around.with(&cesql(hole)).matches(&event);
        prop_assert!(!passes(undecided) || (passes("TRUE") && passes("FALSE")));
    }
}

/// Keys of RequestReplies in two Secrets, and correlation ids that were made by them.
struct CorrelationIds {
    ring: Arc<KeyRing>,
    by_one: String,
    by_two: String,
    by_third_pod: String,
}

impl CorrelationIds {
    fn new() -> Self {
        let key =
            |text: &str| crate::correlation::CorrelationKey::new(text.as_bytes()).expect("a key");
        let entry = |text: &str| crate::correlation::KeyRingEntry::parse(text).expect("an entry");
        let mut ring = KeyRing::default();
        let (one, two) = (
            key("passphrasewhichneedstobe32bytes!"),
            key("passphrasewhichneedstobe32bytes?"),
        );
        ring.add_key("keys", entry("default.rr.key"), one.clone());
        ring.add_key("keys-2", entry("default.rr.key-1"), one.clone());
        ring.add_key("keys-2", entry("default.rr.key-2"), two.clone());
        ring.add_key("keys-2", entry("default.rr.x.key-1"), two.clone());
        Self {
            ring: Arc::new(ring),
            by_one: one.create_id("1", 0).expect("an id"),
            by_two: two.create_id("1", 0).expect("an id"),
            by_third_pod: two.create_id("urn:x:1", 2).expect("an id"),
        }
    }

    /// Decides whether the expression lets an event with this id pass, where `KN` stands for the
    /// function's name.
    fn decide(&self, id: Option<&str>, text: &str) -> Result<bool, UndecidedReason> {
        let mut event = event();
        if let Some(id) = id {
            event.set("replyid", id);
        }
        let expression = CesqlExpression::parse(&text.replace("KN", "KN_VERIFY_CORRELATION_ID"))
            .expect("an expression");
        Filter::Cesql(expression, Some(Arc::clone(&self.ring)))
            .decide(&event)
            .passes
    }
}

/// `KN_VERIFY_CORRELATION_ID` as upstream's filter evaluates it (`pkg/requestreply/cesql_test.go`),
/// with arguments in their order: id, name, namespace, Secret, pod index, replica count (contract
/// TF-17).
#[test]
fn correlation_ids_are_verified() {
    let ids = CorrelationIds::new();
    let (by_one, by_two) = (ids.by_one.as_str(), ids.by_two.as_str());
    let by_third_pod = ids.by_third_pod.as_str();
    let (yes, no) = (Ok(true), Ok(false));
    let error = Err(UndecidedReason::Expression);
    for (id, text, passes) in [
        (
            Some(by_one),
            r#"KN(replyid, "rr", "default", "keys", 0, 1)"#,
            yes,
        ),
        (
            Some(by_one),
            r#"kn_verify_correlation_id(replyid, 'rr', 'default', 'keys', 0, 1)"#,
            yes,
        ),
        (
            Some(by_two),
            r#"KN(replyid, "rr", "default", "keys-2", 0, 1)"#,
            yes,
        ),
        (
            Some(by_two),
            r#"KN(replyid, "rr", "default", "keys", 0, 1)"#,
            no,
        ),
        (
            Some(by_two),
            r#"KN(replyid, "rr", "default", "keys-2", "0", TRUE)"#,
            yes,
        ),
        (
            Some("1:"),
            r#"KN(replyid, "rr", "default", "keys", 0, 1)"#,
            no,
        ),
        (
            Some("1:AAAA:0"),
            r#"KN(replyid, "rr", "default", "keys", 0, 1)"#,
            no,
        ),
        (None, r#"KN(replyid, "rr", "default", "keys", 0, 1)"#, error),
        (
            Some(by_third_pod),
            r#"KN(replyid, "rr", "default", "keys-2", 2, 3)"#,
            yes,
        ),
        (
            Some(by_third_pod),
            r#"KN(replyid, "rr", "default", "keys-2", 0, 2)"#,
            yes,
        ),
        (
            Some(by_third_pod),
            r#"KN(replyid, "rr", "default", "keys-2", 1, 2)"#,
            no,
        ),
        (
            Some(by_one),
            r#"KN(replyid, "rr", "default", "keys", 0, 0)"#,
            no,
        ),
        (
            Some(by_one),
            r#"KN(replyid, "rr", "default", "keys", 0, -1)"#,
            no,
        ),
        (
            Some(by_one),
            r#"KN(replyid, "rr", "default", "keys", "x", 1)"#,
            error,
        ),
    ] {
        assert_eq!(ids.decide(id, text), passes, "{text} {id:?}");
    }
}

/// Without a key nothing is decided, whatever stands around it.
#[test]
fn correlation_ids_without_a_key_are_undecided() {
    let ids = CorrelationIds::new();
    let (by_one, by_two) = (ids.by_one.as_str(), ids.by_two.as_str());
    let (yes, no) = (Ok(true), Ok(false));
    let error = Err(UndecidedReason::Expression);
    for (id, text, passes) in [
        (
            Some(by_one),
            r#"NOT KN(replyid, "rr", "default", "nosuch", 0, 1)"#,
            error,
        ),
        (
            Some(by_one),
            r#"NOT KN(replyid, "r", "default", "keys", 0, 1)"#,
            error,
        ),
        (
            Some(by_one),
            r#"NOT KN(replyid, "rr", "other", "keys", 0, 1)"#,
            error,
        ),
        (
            Some(by_two),
            r#"NOT KN(replyid, "rr", "default", "keys", 0, 1)"#,
            yes,
        ),
        (
            Some(by_two),
            r#"KN(replyid, "rr.x", "default", "keys-2", 0, 1)"#,
            yes,
        ),
        (
            Some(by_one),
            r#"KN(replyid, "rr.x", "default", "keys-2", 0, 1)"#,
            no,
        ),
    ] {
        assert_eq!(ids.decide(id, text), passes, "{text} {id:?}");
    }
    let unknown = Filter::from(
        CesqlExpression::parse(r#"KN_VERIFY_CORRELATION_ID(id, "rr", "default", "keys", 0, 1)"#)
            .expect("an expression"),
    );
    let mut event = event();
    event.set("id", &ids.by_one);
    assert_eq!(unknown.decide(&event).passes, error, "no keys are known");
}

/// Long ids and many keys are work, and too much of it lets nothing pass.
#[test]
fn verification_is_bounded() {
    let mut ring = KeyRing::default();
    for number in 0..2_000_u32 {
        let key = crate::correlation::CorrelationKey::new(&[number.to_be_bytes(); 8].concat())
            .expect("a key");
        ring.add_key(
            "keys",
            crate::correlation::KeyRingEntry::parse(&format!("d.rr.k{number}")).expect("an entry"),
            key,
        );
    }
    let expression =
        CesqlExpression::parse(r#"KN_VERIFY_CORRELATION_ID(replyid, "rr", "d", "keys", 0, 1)"#)
            .expect("one");
    let filter = Filter::Cesql(expression, Some(Arc::new(ring)));
    let mut event = event();
    event.set("replyid", "1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:0");
    assert_eq!(filter.decide(&event).passes, Err(UndecidedReason::Limit));
}
