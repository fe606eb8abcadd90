//! Events that the log still holds, whoever has finished them.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::format::scanner::ScanFault;
use crate::channel::disk::log::read::{SegmentView, again_if_gone};
use crate::channel::disk::log::{LogError, Sequence};

/// Bytes of events after which no more are read in one call.
const MOST_BYTES: usize = 1 << 20;

/// An event that the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    /// Its sequence in the log.
    pub sequence: Sequence,
    /// Time at which it was written.
    pub received_at: EpochMillis,
    /// The event, as it was published.
    pub event: Bytes,
}

impl LogCore {
    pub(crate) async fn read_history(
        self: &Arc<Self>,
        from: EpochMillis,
        after: Sequence,
        most: usize,
    ) -> Result<Vec<HistoryEvent>, LogError> {
        let core = Arc::clone(self);
        let read = self.lanes.reads.run(move || {
            let views = || core.state().views_from(after.saturating_add(1));
            again_if_gone(views, |views| {
                let mut page = HistoryPage {
                    from,
                    after,
                    most: most.max(1),
                    bytes: 0,
                    events: Vec::new(),
                };
                for view in views {
                    page.read(&core, view)?;
                }
                Ok(page.events)
            })
        });
        read.await?
    }
}

/// What is read in one call.
struct HistoryPage {
    from: EpochMillis,
    after: Sequence,
    most: usize,
    bytes: usize,
    events: Vec<HistoryEvent>,
}

impl HistoryPage {
    fn is_full(&self) -> bool {
        self.events.len() >= self.most || self.bytes >= MOST_BYTES
    }

    fn read(&mut self, core: &LogCore, view: &SegmentView) -> Result<(), LogError> {
        if self.is_full() || view.newest < self.from {
            return Ok(());
        }
        let state = core.state();
        let index = state.segments.holding(self.after.saturating_add(1));
        let index = index.filter(|it| Arc::ptr_eq(&it.file, &view.file));
        let index = index.and_then(|segment| segment.index.clone());
        drop(state);
        let offset = index.map_or(HEAD_BYTES, |it| it.floor(self.after.saturating_add(1)));
        let mut scanner = view.file.scan(&*core.files, offset, view.end)?;
        let damaged = |fault: ScanFault| fault.into_damage(&view.file.path);
        while !self.is_full()
            && let Some((_, record)) = scanner.next_content().map_err(damaged)?
        {
            if let LogRecord::Event(event) = record
                && event.sequence > self.after
                && event.received_at >= self.from
            {
                self.bytes += event.body.len();
                self.events.push(HistoryEvent {
                    sequence: event.sequence,
                    received_at: event.received_at,
                    event: Bytes::copy_from_slice(&event.body),
                });
            }
        }
        Ok(())
    }
}
