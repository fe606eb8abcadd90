//! The tap: `GET /api/v1/tap` tells what happens to events as it happens, a line of JSON for each
//! (`application/x-ndjson`), until its reader goes away. An empty line is a sign of life.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::AdminRefusal;
use super::status::StatusSource;
use super::tap_query::{TapQuery, TapScope};
use crate::control::ServedConfiguration;
use crate::observation::{LineWriter, MOST_READERS, TapBatch, TapReader};
use crate::server::BodyStream;

/// Interval at which a tap looks for what has come: nobody wakes it.
const LOOK: Duration = Duration::from_millis(20);
/// Time after which an empty line is sent, by which both sides see that the other one is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Number of observations for which lines are made without a pause for other tasks.
const AT_ONCE: usize = 256;

/// A tap that is open.
struct OpenTap {
    query: TapQuery,
    scope: TapScope,
    reader: TapReader,
    /// What was taken last, whose memory is used again.
    batch: TapBatch,
    writer: LineWriter,
    served: watch::Receiver<ServedConfiguration>,
    stop: CancellationToken,
    last_sent: Instant,
}

/// Opens a tap, which ends at the stop.
///
/// # Errors
/// Fails with a status and a line of text if the query is not understood, names nothing that is
/// served, or if there are too many taps.
pub(super) fn open(
    source: &StatusSource,
    query: &str,
    stop: CancellationToken,
) -> Result<BodyStream, AdminRefusal> {
    let query = TapQuery::parse(query).map_err(AdminRefusal::bad_request)?;
    let mut served = source.served.clone();
    let table = Arc::clone(&served.borrow_and_update().resolution.table);
    let scope = query.scope(&table);
    let scope = scope.map_err(AdminRefusal::not_found)?;
    let reader = source.counters.observer.tap(query.detail());
    let too_many = || format!("{MOST_READERS} taps are open, and no more may be: end one first");
    let reader =
        reader.ok_or_else(|| AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, too_many()))?;
    let tap = OpenTap {
        query,
        scope,
        reader,
        batch: TapBatch::default(),
        writer: LineWriter::default(),
        served,
        stop,
        last_sent: Instant::now(),
    };
    // The first piece is empty, so that the reader sees at once that the tap is open.
    let opened = stream::iter([Bytes::from_static(b"\n")]);
    let pieces = stream::unfold(tap, async |mut tap| {
        let piece = tap.next_piece().await?;
        Some((piece, tap))
    });
    Ok(BodyStream::new(stream::StreamExt::chain(opened, pieces)))
}

impl OpenTap {
    /// Returns the next lines; `None` at the stop.
    async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let pause = tokio::time::sleep(LOOK);
            self.stop.run_until_cancelled(pause).await?;
            let piece = self.take_lines().await;
            if !piece.is_empty() || self.last_sent.elapsed() > SIGN_OF_LIFE {
                self.last_sent = Instant::now();
                let is_empty = piece.is_empty();
                return Some(if is_empty {
                    Bytes::from_static(b"\n")
                } else {
                    piece.into()
                });
            }
        }
    }

    /// Returns the lines of what has come since the last look.
    async fn take_lines(&mut self) -> Vec<u8> {
        self.follow_configuration();
        let mut lines = Vec::new();
        self.reader.take(&mut self.batch);
        for (number, observation) in self.batch.observations().enumerate() {
            if number % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let filter = self.query.filter.as_ref();
            if filter.is_none_or(|filter| filter.matches(&observation.to_event())) {
                let is_asked = |label: &str| self.scope.has(label);
                self.writer.write(&observation, &is_asked, &mut lines);
            }
        }
        let missed = self.batch.missed();
        if missed > 0 {
            let missed = format!("{{\"what\":\"lines lost\",\"lines\":{missed}}}\n");
            lines.extend_from_slice(missed.as_bytes());
        }
        lines
    }

    /// Finds the objects anew when the configuration has changed. What is gone meanwhile is told of
    /// still, since events of it may be under way.
    fn follow_configuration(&mut self) {
        if !self.served.has_changed().unwrap_or(false) {
            return;
        }
        let table = Arc::clone(&self.served.borrow_and_update().resolution.table);
        if let (Ok(TapScope::Objects(found)), TapScope::Objects(labels)) =
            (self.query.scope(&table), &mut self.scope)
        {
            labels.extend(found);
        }
    }
}
