//! Keeps one list of objects in step with the API server, whatever happens to it: a broken connection, a version that is
//! gone (410), a right that is missing for now (401, 403), a kind that is not installed (404). What is known meanwhile
//! stays (contract 3.12a).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Client;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch as value;
use tokio::time::Instant;

use super::backoff::ApiRetryBackoff;
use super::reachability;
use super::store::ObjectStore;
use super::watch_rows::WatchRow;
use crate::telemetry::log_rate_limit::LogRateLimit;

/// How long the server keeps a watch open, in seconds, at least and at most: shorter than any silence that is allowed,
/// so that a connection which has died unnoticed is.
const WATCH_SECONDS: std::ops::Range<u32> = 100..120;
/// How often everything is listed anew, so that an event that was missed heals (contract 2.22a); a tenth of it is left
/// to chance.
const RESYNC: Duration = Duration::from_secs(9 * 3600);

/// Trouble that is longer ago is over.
const QUIET: Duration = Duration::from_secs(60);

/// Watches whenever it is wanted.
pub(super) async fn watch_list_while(
    mut wanted: value::Receiver<bool>,
    client: Client,
    row: WatchRow,
    store: Arc<ObjectStore>,
    index: usize,
) {
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let watch = watch_list(client.clone(), row.clone(), Arc::clone(&store), index);
        tokio::select! {
            () = watch => {}
            _unwanted = wanted.wait_for(|wanted| !*wanted) => store.forget(index),
        }
    }
}

/// Watches for ever.
pub(super) async fn watch_list(client: Client, row: WatchRow, store: Arc<ObjectStore>, index: usize) {
    let mut trouble = WatchErrors::default();
    loop {
        let until = Instant::now() + RESYNC.mul_f64(0.9 + fastrand::f64() / 10.0);
        let events = watcher::watcher(row.api(client.clone()), row.watcher_config(fastrand::u32(WATCH_SECONDS)));
        let mut events = pin!(events);
        while let Ok(Some(event)) = tokio::time::timeout_at(until, events.next()).await {
            match event {
                Ok(event) => {
                    trouble.log_recovery(&row, &event);
                    store.apply_event(index, row.kind, event);
                }
                Err(error) => {
                    trouble.log_and_back_off(&row, &error).await;
                    if is_gone(&error) {
                        break;
                    }
                }
            }
        }
    }
}

/// Whether the version to go on from is not known any more, said by the status of the answer, as some proxies do; said by
/// an event of the watch, as usual, it is dealt with already.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// Whether no answer came: then it is told already that the API server is away.
fn is_unreachable(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => reachability::is_unreachable(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

/// What is wrong at present, and how long to wait.
#[derive(Debug, Default)]
struct WatchErrors {
    backoff: ApiRetryBackoff,
    log_throttle: LogRateLimit,
    last_error: Option<Instant>,
}

impl WatchErrors {
    /// Trouble with one list is told when it begins, once a minute, and when it is over.
    async fn log_and_back_off(&mut self, row: &WatchRow, error: &watcher::Error) {
        // A watch that was begun again says nothing until something happens.
        if self.last_error.replace(Instant::now()).is_some_and(|last| last.elapsed() > QUIET) {
            (self.backoff, self.log_throttle) = (ApiRetryBackoff::default(), LogRateLimit::default());
        }
        let reason = reachability::error_reason(error);
        if !is_unreachable(error) && self.log_throttle.is_due() {
            tracing::warn!(watched = %row, reason, "Watch failed, what is known stays in use");
        } else {
            tracing::debug!(watched = %row, reason, "Watch failed");
        }
        tokio::time::sleep(self.backoff.next_delay()).await;
    }

    fn log_recovery(&mut self, row: &WatchRow, event: &Event<kube::core::DynamicObject>) {
        // A list that is being begun proves nothing.
        if matches!(event, Event::Init) {
            return;
        }
        if self.log_throttle.reset() {
            tracing::info!(watched = %row, "Watch goes on");
        }
        self.backoff.reset();
    }
}
