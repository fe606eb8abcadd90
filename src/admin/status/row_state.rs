//! The state of a row in a word or two, and what there is to say of it: judged here once, for the
//! status page, `sealpost top` and scripts.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::StatusSource;
use super::row_reason::{RowLevel, RowReason};
use super::subscription_row::{SubscriptionCounts, SubscriptionRow};
use super::trust::StatusDestination;
use crate::admin::waiting::{TwoClocks, format_span};
use crate::control::{Resolution, Severity};
use crate::delivery::NotedEvent;
use crate::model::ProcessRole;
use crate::wire_text::WireText;

/// Time for which a failed attempt makes a row failing.
const RECENT: Duration = Duration::from_secs(60);
/// Time after a delivery in which others are told to succeed.
const SUCCEEDING: Duration = Duration::from_secs(10);
/// Time after a delivery in which a row is working.
const WORKING: Duration = Duration::from_secs(15);
/// Time for which events that were lost or dead-lettered need attention.
const HOUR: Duration = Duration::from_secs(3600);
/// Days before the end of a certificate from which it is told, and from which it is bad.
const SOON: i64 = 14;
const VERY_SOON: i64 = 3;
const DAY: i64 = 24 * 60 * 60;

/// Judges rows, all by one time.
pub(super) struct StateJudge<'s> {
    clocks: TwoClocks,
    /// True in a process that serves channels: a row without counts is not served then.
    serves_channels: bool,
    /// Number of warnings about an object.
    warnings: HashMap<ObjectPath<'s>, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ObjectPath<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
}

/// What is said of one row.
#[derive(Default)]
struct RowReasons(Vec<RowReason>);

impl RowReasons {
    fn push(&mut self, level: RowLevel, word: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.0.push(RowReason { level, word, text });
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|reason| reason.word == word)
    }
}

impl<'s> StateJudge<'s> {
    pub(super) fn new(view: &StatusSource, shown: &'s Resolution) -> Self {
        let mut warnings = HashMap::new();
        let doubts = shown.problems.iter();
        let doubts = doubts.filter(|problem| problem.severity == Severity::Warning);
        for object in doubts.filter_map(|problem| problem.object.as_ref()) {
            let path = ObjectPath {
                kind: &object.kind,
                namespace: &object.namespace,
                name: &object.name,
            };
            *warnings.entry(path).or_insert(0) += 1;
        }
        Self {
            clocks: TwoClocks::now(),
            serves_channels: view.process.role == ProcessRole::Channel,
            warnings,
        }
    }

    /// Sets the state of a row, and the reasons for it.
    pub(super) fn judge(&self, row: &mut SubscriptionRow<'s>) {
        let mut reasons = RowReasons::default();
        self.judge_readiness(row, &mut reasons);
        self.judge_trust(row, &mut reasons);
        self.judge_attempts(row, &mut reasons);
        self.judge_waits(row, &mut reasons);
        self.judge_outcomes(row, &mut reasons);
        self.judge_warnings(row, &mut reasons);
        self.judge_activity(row, &mut reasons);
        // The order of equal ones stays.
        let RowReasons(mut reasons) = reasons;
        reasons.sort_by_key(|reason| Reverse(reason.level));
        row.state = reasons.first().map_or("", |reason| reason.word);
        row.reasons = reasons;
    }

    fn judge_readiness(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let status = row.ready.as_ref().map(|ready| ready.status());
        let why = || row.ready.as_ref().map_or_else(String::new, |it| it.why());
        match status {
            Some("False") => reasons.push(RowLevel::Broken, "Not ready", why()),
            Some("True") | None => {}
            Some(_) => reasons.push(RowLevel::Doubtful, "Not ready yet", why()),
        }
        if row.counts.is_none() && self.serves_channels && status != Some("False") {
            let why = "no events are delivered";
            reasons.push(RowLevel::Broken, "Not served", why);
        }
    }

    fn judge_trust(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let legs = [
            ("subscriber", &row.subscriber),
            ("reply", &row.reply),
            ("dead letter sink", &row.dead_letter_sink),
        ];
        for (leg, to) in legs {
            if let Some(to) = to {
                self.judge_destination(leg, to, reasons);
            }
        }
    }

    fn judge_destination(&self, leg: &str, to: &StatusDestination, reasons: &mut RowReasons) {
        if to.trusts_nobody() {
            let why = format!("{leg}: nothing of its CACerts can be read, so nothing is sent");
            reasons.push(RowLevel::Broken, "No trust", why);
        }
        let Some((first, last)) = to.ends() else {
            return;
        };
        let now = OffsetDateTime::from(self.clocks.wall()).unix_timestamp();
        let (left, days) = (first - now, (first - now) / DAY);
        if last < now {
            let why = format!("{leg}: its CACerts have expired");
            reasons.push(RowLevel::Broken, "Expired", why);
        } else if left < 0 {
            let why = format!("{leg}: a certificate of its CACerts has expired");
            reasons.push(RowLevel::Doubtful, "Certificate", why);
        } else if days < SOON {
            let level = if days < VERY_SOON {
                RowLevel::Broken
            } else {
                RowLevel::Doubtful
            };
            let left = format_span(Duration::from_secs(u64::try_from(left).unwrap_or(0)));
            let why = format!("{leg}: a certificate of its CACerts ends in {left}");
            reasons.push(level, "Certificate", why);
        }
    }

    /// An attempt that failed a moment ago.
    fn judge_attempts(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let Some(error) = row.last_error.as_ref() else {
            return;
        };
        let has_recovered = row.last.success_at.is_some_and(|at| at >= error.at);
        if self.age(error.at) >= RECENT || has_recovered {
            return;
        }
        let why = format!("{}: {} at {}", error.leg, error.reason, error.destination);
        if self.is_within(row.last.success_at, SUCCEEDING) {
            let why = format!("{why}; others succeed");
            reasons.push(RowLevel::Doubtful, "Retrying", why);
        } else {
            reasons.push(RowLevel::Broken, "Failing", why);
        }
    }

    /// Events that wait for another attempt, however long ago the last one was.
    fn judge_waits(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let tried = row.unfinished.iter();
        let tried = tried.filter(|event| event.progress.attempts > 0);
        // Those whose attempt is under way come last.
        let next = tried.min_by_key(|event| {
            let due = event.progress.next.due();
            (due.is_none(), due)
        });
        let why = match (next, row.until_next_due) {
            (Some(next), _) => self.describe_unfinished(row, next),
            // A process before this one has put it off.
            (None, Some(wait)) => self.describe_due(row, wait),
            (None, None) => return,
        };
        let level = if reasons.has("Failing") || reasons.has("Retrying") {
            // That needs attention already; this is more of it.
            RowLevel::Fine
        } else {
            RowLevel::Doubtful
        };
        reasons.push(level, "Retrying", why);
    }

    /// How many events are not finished, and which attempt is next.
    fn describe_unfinished(&self, row: &SubscriptionRow<'_>, event: &NotedEvent) -> String {
        let mut text = unfinished_in_words(row.counts.as_ref());
        let (id, progress) = (WireText::new(&event.id), &event.progress);
        text.push_str(&format!("{id}: {}", self.clocks.describe(progress)));
        if let Some(due) = progress.next.due() {
            text.push_str(&format!(" ({})", self.clocks.format(due)));
        }
        text
    }

    /// How many events are not finished, and when the first of them is tried again.
    fn describe_due(&self, row: &SubscriptionRow<'_>, wait: Duration) -> String {
        format!(
            "{}the next attempt is in {} ({})",
            unfinished_in_words(row.counts.as_ref()),
            format_span(wait),
            self.clocks.format_later(wait)
        )
    }

    fn judge_outcomes(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let Some(counts) = row.counts.as_ref() else {
            return;
        };
        let last = &row.last;
        if let Some(at) = last.lost_at.filter(|at| self.age(*at) < HOUR) {
            let has_recovered = last.success_at.is_some_and(|success| success >= at);
            let level = if has_recovered {
                RowLevel::Doubtful
            } else {
                RowLevel::Broken
            };
            let why = format!(
                "the last one {} ago; {} in all reached neither subscriber nor dead letter sink since the start",
                format_span(self.age(at)),
                counts.lost
            );
            reasons.push(level, "Lost events", why);
        }
        if counts.filter_limit_exceeded > 0 {
            let why = format!(
                "{} events did not pass since the start because the filter takes too much work: docs/FILTERS.md",
                counts.filter_limit_exceeded
            );
            reasons.push(RowLevel::Doubtful, "Filter limit", why);
        }
        if counts.parked > 0 {
            let why = format!("{} in the parking queue now", counts.parked);
            reasons.push(RowLevel::Doubtful, "Parked", why);
        }
        if let Some(at) = last.dead_letter_at.filter(|at| self.age(*at) < HOUR) {
            let why = format!(
                "the last one {} ago; {} in all went to the dead letter sink since the start",
                format_span(self.age(at)),
                counts.dead_lettered
            );
            reasons.push(RowLevel::Doubtful, "Dead letters", why);
        }
    }

    fn judge_warnings(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        let path = ObjectPath {
            kind: row.kind,
            namespace: row.namespace,
            name: row.name,
        };
        if let Some(warnings) = self.warnings.get(&path) {
            let why = format!("{warnings} in the problems of the configuration");
            reasons.push(RowLevel::Doubtful, "Doubtful", why);
        }
    }

    /// What it does, where nothing else is to be said.
    fn judge_activity(&self, row: &SubscriptionRow<'_>, reasons: &mut RowReasons) {
        if !reasons.0.is_empty() {
            return;
        }
        let Some(counts) = row.counts.as_ref() else {
            return reasons.push(RowLevel::Fine, "Relayed", "");
        };
        let has_queue = counts.unfinished.unwrap_or(0) > 0;
        if self.is_within(row.last.success_at, WORKING) {
            reasons.push(RowLevel::Fine, "Working", "");
        } else if let Some(slow) = row.unfinished.first() {
            let why = self.describe_unfinished(row, slow);
            reasons.push(RowLevel::Fine, "Waiting", why);
        } else if counts.in_flight > 0 {
            reasons.push(RowLevel::Fine, "Working", "");
        } else if has_queue {
            let why = unfinished_in_words(Some(counts));
            reasons.push(RowLevel::Fine, "Waiting", why.trim_end_matches("; "));
        } else {
            reasons.push(RowLevel::Fine, "Idle", "");
        }
    }

    fn age(&self, at: SystemTime) -> Duration {
        self.clocks.wall().duration_since(at).unwrap_or_default()
    }

    fn is_within(&self, at: Option<SystemTime>, time: Duration) -> bool {
        at.is_some_and(|at| self.age(at) < time)
    }
}

/// `17 events are not finished; `; nothing if none is known of.
fn unfinished_in_words(counts: Option<&SubscriptionCounts>) -> String {
    match counts.and_then(|counts| counts.unfinished) {
        None | Some(0) => String::new(),
        Some(1) => "1 event is not finished; ".to_owned(),
        Some(unfinished) => format!("{unfinished} events are not finished; "),
    }
}

#[cfg(test)]
mod tests;
