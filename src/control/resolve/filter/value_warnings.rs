//! Texts in filters that hardly any event has, and that somebody has probably meant otherwise.

use crate::control::read::report::ObjectReport;

/// Warns of a text that hardly any event has: a template which was not rendered, blanks where a
/// value begins or ends, and patterns of other languages, since texts are compared as they are.
pub(super) fn warn_of_value(
    wanted: &str,
    dialect: &str,
    name: &str,
    field: &str,
    report: &mut ObjectReport<'_>,
) {
    if wanted.contains("${") || wanted.contains("{{") || is_placeholder(wanted) {
        report.warning(
            field,
            format!("is {wanted:?}: is this a template that was not rendered? Render it first"),
        );
        return;
    }
    let begins = dialect != "suffix" && wanted.starts_with(char::is_whitespace);
    let ends = dialect != "prefix" && wanted.ends_with(char::is_whitespace);
    if begins || ends || wanted.contains(char::is_control) {
        let rule = "blanks and line ends count, and events hardly have them there: remove them";
        let block = if wanted.ends_with('\n') {
            ", for a block of text by |- instead of |"
        } else {
            ""
        };
        report.warning(field, format!("is {wanted:?}: {rule}{block}"));
    }
    if is_regular_expression(wanted) {
        let rule = "regular expressions are compared as they are: write prefix, suffix, or cesql \
             with LIKE, where % is any text";
        report.warning(field, format!("is {wanted:?}: {rule}"));
    } else if wanted.contains('*') && !is_schedule(wanted) {
        let remedy = wildcard_remedy(name, wanted.trim());
        report.warning(
            field,
            format!("is {wanted:?}: a * stands for itself only, and for no other text: {remedy}"),
        );
    }
}

/// True for a text that is nothing but a name in the signs of a template.
fn is_placeholder(wanted: &str) -> bool {
    let between = |begin: &str, end: &str| wanted.strip_prefix(begin)?.strip_suffix(end);
    let inside = [("$(", ")"), ("<", ">"), ("%", "%"), ("$", "")]
        .iter()
        .find_map(|(begin, end)| between(begin, end));
    // A variable of a shell has capitals; topics may begin with `$aws`.
    let is_topic = |name: &str| {
        wanted.len() == name.len() + 1 && name.contains(|c: char| c.is_ascii_lowercase())
    };
    inside.is_some_and(|name| {
        !is_topic(name)
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    })
}

/// True for a schedule as cron has them, in which a `*` is meant.
fn is_schedule(wanted: &str) -> bool {
    let is_field = |field: &str| {
        let is_sign =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | ',' | '-' | '?');
        field.chars().all(is_sign)
    };
    (5..=7).contains(&wanted.split(' ').count()) && wanted.split(' ').all(is_field)
}

/// True for a text that hardly anything but a regular expression is.
fn is_regular_expression(wanted: &str) -> bool {
    let has_repetition = wanted.contains(['*', '+', '?']);
    let is_anchored = wanted.starts_with('^') || (wanted.ends_with('$') && has_repetition);
    is_anchored || (wanted.contains('\\') && has_repetition)
}

/// What to write in `filters` for a text that means a pattern with `*`.
fn wildcard_remedy(name: &str, pattern: &str) -> String {
    let is_plain = |part: &&str| !part.is_empty() && !part.contains('*');
    match (
        pattern.strip_suffix('*').filter(is_plain),
        pattern.strip_prefix('*').filter(is_plain),
    ) {
        _ if pattern == ".*" || pattern.chars().all(|letter| letter == '*') => {
            format!("remove it if any value will do, or write cesql: EXISTS {name}")
        }
        (Some(start), _) => format!("write prefix: {{{name}: {start}}} in filters"),
        (_, Some(end)) => format!("write suffix: {{{name}: {end}}} in filters"),
        _ => format!(
            "write cesql: {name} LIKE '{}' in filters",
            pattern.replace('*', "%")
        ),
    }
}
