//! The requests of one signal to its collector: sent again where OTLP says so, and given up when
//! another collector is named meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ExportError, ExportResult, OtlpEndpoint, OtlpSettings, OtlpTransport};

/// Number of times that a request is sent at most, if the collector asks to send it again.
const MAX_ATTEMPTS: u32 = 4;
/// The wait before the second time; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a collector may ask for; a request that should wait longer is dropped.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a collector that is not named any more may take to answer: as long as one may at a
/// stop.
const GRACE: Duration = Duration::from_millis(500);

/// The newest settings, followed by the exporter of one signal.
#[derive(Clone)]
pub(super) struct NewestSettings {
    newest: watch::Receiver<Arc<OtlpSettings>>,
}

impl NewestSettings {
    pub(super) fn new(newest: watch::Receiver<Arc<OtlpSettings>>) -> Self {
        Self { newest }
    }

    /// Returns the newest settings, which count as seen then.
    pub(super) fn take(&mut self) -> Arc<OtlpSettings> {
        Arc::clone(&self.newest.borrow_and_update())
    }

    /// Waits until there are settings that were not taken, or for the stop.
    pub(super) async fn changed_or(&mut self, stop: &CancellationToken) {
        let changed = stop.run_until_cancelled(self.newest.changed()).await;
        // Nobody may change the settings any more, so that only the stop is waited for.
        if let Some(Err(_closed)) = changed {
            stop.cancelled().await;
        }
    }

    /// Waits until there are settings of which this is true; for ever if they never come.
    async fn until(&self, is_wanted: impl Fn(&OtlpSettings) -> bool) {
        let mut newest = self.newest.clone();
        let came = newest
            .wait_for(|settings| is_wanted(settings))
            .await
            .is_ok();
        if !came {
            std::future::pending::<()>().await;
        }
    }
}

/// Sends the requests of one signal.
pub(super) struct CollectorRequests {
    pub(super) transport: Arc<dyn OtlpTransport>,
    pub(super) newest: NewestSettings,
    /// The collector of the signal, by these settings.
    pub(super) collector_of: fn(&OtlpSettings) -> Option<&OtlpEndpoint>,
}

impl CollectorRequests {
    /// Sends a request until it is taken, refused for good, or sent four times, or the process
    /// stops, by OTLP's rules of retrying. A collector that is not named any more has half a second
    /// left, so that nobody waits long for what is not wanted any more.
    pub(super) async fn send(
        &self,
        endpoint: &OtlpEndpoint,
        request: Request<Bytes>,
        stop: &CancellationToken,
    ) -> ExportResult {
        tokio::select! {
            sent = self.send_with_retries(endpoint, request, stop) => sent,
            () = self.until_replaced(endpoint) => {
                Err("it had not answered when it was replaced".to_owned().into())
            }
        }
    }

    async fn until_replaced(&self, endpoint: &OtlpEndpoint) {
        let is_replaced = |settings: &OtlpSettings| (self.collector_of)(settings) != Some(endpoint);
        self.newest.until(is_replaced).await;
        tokio::time::sleep(GRACE).await;
    }

    async fn send_with_retries(
        &self,
        endpoint: &OtlpEndpoint,
        request: Request<Bytes>,
        stop: &CancellationToken,
    ) -> ExportResult {
        let mut wait = FIRST_WAIT;
        for _ in 1..MAX_ATTEMPTS {
            let answer = self.transport.post(endpoint, request.clone()).await;
            let Err(ExportError {
                retry_after: Some(asked),
                ..
            }) = &answer
            else {
                return answer;
            };
            let pause = wait.mul_f64(0.5 + 0.5 * fastrand::f64()).max(*asked);
            if pause > LONGEST_WAIT
                || stop
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
            {
                return answer;
            }
            wait = wait.saturating_mul(2);
        }
        self.transport.post(endpoint, request).await
    }
}
