//! A replay: a queue of its own in the log of the channel, whose range is what was retained, and
//! whose events go to the worker of the subscription.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::log::{LogQueueCounts, RangeProgress};
use super::queue::{DeclaredQueue, DiskQueue};
use super::replay_name::ReplayName;
use crate::channel::replay::{REPLAY_EXTENSION, ReplayReport};
use crate::event::Event;
use crate::filter::Filter;
use crate::filter::cesql::{CesqlExpression, ExpressionFinding, FindingSeverity};

/// A replay to one subscription.
pub(super) struct DiskReplay {
    pub(super) name: ReplayName,
    /// Its queue in the log.
    pub(super) queue: Arc<DiskQueue>,
    /// Filter besides that of the subscription.
    filter: Option<Filter>,
    /// True if an earlier process began it. What has been sent is not in the log.
    is_resumed: bool,
    sent: AtomicU64,
    examined: AtomicU64,
    /// Cancelled when the replay is to end with what has been sent.
    pub(super) cut: CancellationToken,
    /// Set when it has ended so.
    is_cut: AtomicBool,
    /// Progress when its queue was given up.
    last: Mutex<Option<RangeProgress>>,
    /// Progress when somebody last asked, for when its log is gone.
    seen: Mutex<RangeProgress>,
    /// Notified when the replay has been cut.
    pub(super) was_cut: Notify,
}

/// Parses the filter of a replay.
///
/// # Errors
/// Says what is wrong.
pub(super) fn parse_filter(text: Option<&str>) -> Result<Option<Filter>, String> {
    let Some(text) = text else { return Ok(None) };
    let expression = CesqlExpression::parse(text)
        .map_err(|error| CesqlExpression::explain_error(text, error).to_string())?;
    let is_wrong = |finding: &ExpressionFinding| {
        let severity = finding.severity;
        severity == FindingSeverity::NeverTrue || severity == FindingSeverity::UnknownFunction
    };
    match expression.check(text).into_iter().find(is_wrong) {
        Some(finding) => Err(finding.error.to_string()),
        None => Ok(Some(expression.into())),
    }
}

impl DiskReplay {
    /// Makes the replay whose queue has this name and this state.
    ///
    /// # Errors
    /// If its filter is not understood.
    pub(super) fn new(
        name: ReplayName,
        declared: DeclaredQueue,
        of: &DiskQueue,
    ) -> Result<Self, String> {
        let filter = parse_filter(name.settings.filter.as_deref())?;
        Ok(Self {
            queue: Arc::new(of.for_replay(name.text(), declared)),
            filter,
            is_resumed: false,
            sent: AtomicU64::new(0),
            examined: AtomicU64::new(0),
            cut: CancellationToken::new(),
            is_cut: AtomicBool::new(false),
            last: Mutex::default(),
            seen: Mutex::default(),
            was_cut: Notify::new(),
            name,
        })
    }

    /// The same as one that an earlier process began.
    pub(super) fn resumed(self) -> Self {
        Self {
            is_resumed: true,
            ..self
        }
    }

    /// True if the subscription gets an event by the replay.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let passes = |filter: &Filter| filter.matches(event);
        passes(&self.queue.subscription().filter) && self.filter.as_ref().is_none_or(passes)
    }

    /// Marks an event with the replay.
    pub(super) fn mark(&self, event: &mut Event) {
        event.set(REPLAY_EXTENSION, &self.name.id);
    }

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_examined(&self, count: usize) {
        self.examined.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Notes that the replay has been cut.
    pub(super) fn set_cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.was_cut.notify_waiters();
    }

    /// Notes the progress before the queue is given up.
    pub(super) fn set_last(&self, progress: RangeProgress) {
        *self.last() = Some(progress);
    }

    fn last(&self) -> MutexGuard<'_, Option<RangeProgress>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The progress; `None` if its log is gone, or another one is in its place.
    fn progress(&self) -> Option<RangeProgress> {
        let live = self.queue.declared.get();
        let live = live.and_then(|declared| declared.log.range_progress(declared.id));
        let progress = live.or_else(|| *self.last());
        if let Some(progress) = progress {
            *self.seen() = progress;
        }
        progress
    }

    fn seen(&self) -> MutexGuard<'_, RangeProgress> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if something is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        let progress = self.progress();
        progress.is_some_and(|progress| progress.taken < progress.range.until)
    }

    /// Progress, for operators.
    pub(super) fn report(&self) -> ReplayReport {
        let found = self.progress();
        let progress = found.unwrap_or_else(|| *self.seen());
        let counts: LogQueueCounts = self.queue.counts().unwrap_or_default();
        let waiting = counts.deferred as u64;
        ReplayReport {
            id: self.name.id.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            examined: self.examined.load(Ordering::Relaxed),
            under_way: self.queue.unsettled() as u64 + waiting,
            waiting,
            first: self.name.settings.first,
            position: progress.taken,
            until: progress.range.until,
            stopped: self.is_cut.load(Ordering::Acquire),
            lost: found.is_none(),
            resumed: self.is_resumed,
        }
    }
}

/// The replays to one subscription, the oldest first.
#[derive(Default)]
pub(super) struct ReplayList {
    replays: Mutex<Vec<Arc<DiskReplay>>>,
    /// Notified when there is a new one.
    pub(super) changed: Notify,
}

impl ReplayList {
    fn replays(&self) -> MutexGuard<'_, Vec<Arc<DiskReplay>>> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All replays.
    pub(super) fn all(&self) -> Vec<Arc<DiskReplay>> {
        self.replays().clone()
    }

    /// The latest replay.
    pub(super) fn latest(&self) -> Option<Arc<DiskReplay>> {
        self.replays().last().cloned()
    }

    /// Adds a replay, unless it is known. Forgets those whose queue is gone, but for the latest.
    pub(super) fn add(&self, replay: Arc<DiskReplay>) {
        let mut replays = self.replays();
        if replays.iter().any(|it| it.name == replay.name) {
            return;
        }
        replays.retain(|it| it.queue.counts().is_some());
        replays.push(replay);
        drop(replays);
        self.changed.notify_waiters();
    }
}
