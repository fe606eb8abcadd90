//! Keeps one list of objects in step with the API server, whatever happens to it: a broken
//! connection, a version that is gone (410), a right that is missing for now (401, 403), a kind
//! that is not installed (404). The objects that are known stay in use meanwhile (contract 3.12a).

pub(super) mod rows;
pub(super) mod store;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Client;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch as value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::api_retry_backoff;
use super::reachability;
use crate::doubling_wait::DoublingWait;
use crate::telemetry::log_rate_limit::LogRateLimit;
use rows::{WatchNeed, WatchRow};
use store::ObjectStore;

/// The shortest time between two resolutions, so that many changes become few resolutions.
pub(super) const MIN_RESOLVE_INTERVAL: Duration = Duration::from_millis(10);
/// The time for which the server keeps a watch open, in seconds: shorter than
/// [`super::access::READ_TIMEOUT`], so that a connection that has died unnoticed is noticed.
const WATCH_SECONDS: std::ops::Range<u32> = 100..120;
/// The time after which everything is listed anew, so that an event that was missed heals (contract
/// 2.22a); a tenth of it is left to chance.
const RESYNC: Duration = Duration::from_secs(9 * 3600);

/// The time after which an error counts as over, so that the next one is logged at once.
const ERROR_MEMORY: Duration = Duration::from_secs(60);

/// Starts the watch of each row, whose objects go into the list of the row's index. The rows that
/// only OIDC needs are watched while `oidc_wanted` is true.
pub(super) fn spawn_watches(
    rows: Vec<WatchRow>,
    client: &Client,
    store: &Arc<ObjectStore>,
    oidc_wanted: &value::Receiver<bool>,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        let (client, store) = (client.clone(), Arc::clone(store));
        match row.need {
            WatchNeed::WithOidc => {
                let wanted = oidc_wanted.clone();
                watches.spawn(watch_list_while(wanted, client, row, store, index))
            }
            WatchNeed::Always | WatchNeed::WithinGrace => {
                watches.spawn(watch_list(client, row, store, index))
            }
        };
    }
    watches
}

/// Watches a list while `wanted` is true, and forgets its objects when it is not.
async fn watch_list_while(
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

/// Watches a list without end; the task is aborted by its owner.
async fn watch_list(client: Client, row: WatchRow, store: Arc<ObjectStore>, index: usize) {
    let mut trouble = WatchErrors::new();
    loop {
        // A new watcher begins with a new list.
        let until = Instant::now() + RESYNC.mul_f64(0.9 + fastrand::f64() / 10.0);
        let events = watcher::watcher(
            row.api(client.clone()),
            row.watcher_config(fastrand::u32(WATCH_SECONDS)),
        );
        let mut events = pin!(events);
        while let Ok(Some(event)) = tokio::time::timeout_at(until, events.next()).await {
            match event {
                Ok(event) => {
                    trouble.log_recovery(&row, &event);
                    store.apply_event(index, row.kind, event);
                }
                Err(error) => {
                    trouble.log_and_back_off(&row, &error).await;
                    // The watcher would go on from a version that the server does not have any
                    // more.
                    if is_gone(&error) {
                        break;
                    }
                }
            }
        }
    }
}

/// True if the server does not know the version to go on from, and says so by the status of the
/// response, as some proxies do. If an event of the watch says so, as usual, the watcher lists
/// again by itself.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// True if there was no response: then it is logged already that the API server cannot be reached.
fn is_unreachable(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => reachability::is_unreachable(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

/// The errors of a watch at present, and the wait before it goes on.
#[derive(Debug)]
struct WatchErrors {
    backoff: DoublingWait,
    log_throttle: LogRateLimit,
    /// The time of the last error; `None` if there was none.
    last_error: Option<Instant>,
}

impl WatchErrors {
    fn new() -> Self {
        Self {
            backoff: api_retry_backoff(),
            log_throttle: LogRateLimit::default(),
            last_error: None,
        }
    }

    /// Waits after an error of a watch. Errors are logged when they begin, once a minute, and when
    /// they are over.
    async fn log_and_back_off(&mut self, row: &WatchRow, error: &watcher::Error) {
        // A watch that was begun again says nothing until something happens, so that only time
        // tells that it works.
        if self
            .last_error
            .replace(Instant::now())
            .is_some_and(|last| last.elapsed() > ERROR_MEMORY)
        {
            (self.backoff, self.log_throttle) = (api_retry_backoff(), LogRateLimit::default());
        }
        let reason = reachability::error_reason(error);
        if !is_unreachable(error) && self.log_throttle.is_due() {
            tracing::warn!(watched = %row, reason, "Watch failed, what is known stays in use");
        } else {
            tracing::debug!(watched = %row, reason, "Watch failed");
        }
        tokio::time::sleep(self.backoff.take_jittered()).await;
    }

    fn log_recovery(&mut self, row: &WatchRow, event: &Event<kube::core::DynamicObject>) {
        // The event that begins a list proves nothing: the list may still fail.
        if matches!(event, Event::Init) {
            return;
        }
        if self.log_throttle.reset() {
            tracing::info!(watched = %row, "Watch goes on");
        }
        self.backoff.reset();
    }
}
