//! Looks once a second at what is so, and sends what has not been told.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::certificate_watch::CertificateWatch;
use super::failure_watch::FailureWatch;
use super::own_deliveries::OwnDeliveries;
use super::parked_watch::ParkedWatch;
use super::problem_watch::ProblemWatch;
use super::rate_allowance::RateAllowance;
use super::system_event::SystemEvent;
use super::target::SystemEventTarget;
use crate::channel::{DeliveryOutcome, DeliveryProgress};
use crate::client::HttpTransport;
use crate::control::{Resolution, ServedConfiguration};
use crate::delivery::{EventDeliverer, SubscriptionWorkerState};
use crate::filter::Filter;
use crate::model::{
    BackoffPolicy, DeliverySpec, NamespacedName, Subscription, SubscriptionKey, SubscriptionKind,
};
use crate::router::enter_broker;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{SeriesKey, SubscriptionSeries};
use crate::tls::server_identity::ServerIdentity;

/// Interval of the looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Number of looks from one at certificates to the next, if the table is the same.
const CERTIFICATES_EVERY: u32 = 60;
/// Statuses of a target that is full, or away.
const NOT_NOW: [i32; 2] = [429, 503];
/// Name in place of that of a subscription, where these events fail.
const NAME: &str = "system-events";

/// What the operator's events need to know beside what is counted and served.
pub(crate) struct SystemEventSettings {
    /// The Broker or channel that they go into.
    pub(crate) target: NamespacedName,
    /// Their `source` attribute.
    pub(crate) source: String,
    /// Number of Brokers that they may pass.
    pub(crate) max_ttl: i32,
    /// True while this process is the one of its replicas that tells of what is the same for all;
    /// `None` if there is always one only.
    pub(crate) is_leader: Option<watch::Receiver<bool>>,
    /// The certificate of the HTTPS listener.
    pub(crate) server_identity: ServerIdentity,
}

/// Sends the operator's events.
pub(crate) struct SystemEventRunner<T> {
    deliverer: Arc<EventDeliverer<T>>,
    counters: Arc<ProcessCounters>,
    settings: SystemEventSettings,
    failures: FailureWatch,
    parked: ParkedWatch,
    problems: ProblemWatch,
    certificates: CertificateWatch,
    allowance: RateAllowance,
    /// Counted by nobody and shown by nobody: nothing is told about these deliveries.
    series: Arc<SubscriptionSeries>,
    sink: Option<SystemEventSink>,
    /// True if it was logged that there is no Broker or channel of this name.
    is_missing: bool,
    looks: u32,
}

/// The target in the newest table, and how it is sent to.
struct SystemEventSink {
    target: SystemEventTarget,
    worker: SubscriptionWorkerState,
    own: OwnDeliveries,
}

impl<T: HttpTransport> SystemEventRunner<T> {
    pub(crate) fn new(
        deliverer: Arc<EventDeliverer<T>>,
        counters: Arc<ProcessCounters>,
        settings: SystemEventSettings,
    ) -> Self {
        let series = SubscriptionSeries::new(SeriesKey {
            kind: NAME,
            namespace: settings.target.namespace.as_str().into(),
            name: settings.target.name.as_str().into(),
        });
        Self {
            deliverer,
            counters,
            settings,
            failures: FailureWatch::default(),
            parked: ParkedWatch::default(),
            problems: ProblemWatch::default(),
            certificates: CertificateWatch::default(),
            allowance: RateAllowance::new(Instant::now()),
            series: Arc::new(series),
            sink: None,
            is_missing: false,
            looks: 0,
        }
    }

    /// Looks and sends until the stop, by which nothing is waited for.
    pub(crate) async fn run(
        mut self,
        mut served: watch::Receiver<ServedConfiguration>,
        stop: CancellationToken,
    ) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looks = async {
            loop {
                period.tick().await;
                let is_new = self.sink.is_none() || served.has_changed().unwrap_or(false);
                let resolution = Arc::clone(&served.borrow_and_update().resolution);
                if is_new {
                    self.find_target(&resolution);
                    self.looks = 0;
                }
                if let Some(sink) = self.sink.take() {
                    self.look(&sink, &resolution).await;
                    self.sink = Some(sink);
                }
            }
        };
        stop.run_until_cancelled(looks).await;
    }

    fn find_target(&mut self, resolution: &Resolution) {
        let (table, name) = (&resolution.table, &self.settings.target);
        let found = SystemEventTarget::find(table, name);
        if found.is_none() && !self.is_missing {
            tracing::warn!(
                system_events = %name,
                "--system-events names no Broker and no channel that is served here, so that nothing is told there"
            );
        }
        self.is_missing = found.is_none();
        self.sink = found.map(|target| SystemEventSink {
            own: OwnDeliveries::find(table, name, &target),
            worker: SubscriptionWorkerState::new(Arc::new(subscription(name, &target)), 1)
                .with_series(Arc::clone(&self.series)),
            target,
        });
    }

    /// Sends what has not been told, as far as that may be sent now. What is left is found again by
    /// the next look, if it is so still.
    async fn look(&mut self, sink: &SystemEventSink, resolution: &Resolution) {
        let counters = Arc::clone(&self.counters);
        let now = OffsetDateTime::now_utc().unix_timestamp();
        for news in self.failures.news(&counters.series, &sink.own, now) {
            if !self.send(sink, news.event()).await {
                return;
            }
            self.failures.set_told(news);
        }
        let parked = self
            .parked
            .news(&counters.series, &sink.own, Instant::now());
        for news in parked {
            if !self.send(sink, news.event()).await {
                return;
            }
            self.parked.set_told(news, Instant::now());
        }
        let is_leader = self.settings.is_leader.as_ref();
        if is_leader.is_none_or(|is_leader| *is_leader.borrow()) {
            self.look_at_configuration(sink, resolution, now).await;
        }
    }

    /// Sends what is the same for all replicas.
    async fn look_at_configuration(
        &mut self,
        sink: &SystemEventSink,
        resolution: &Resolution,
        now: i64,
    ) {
        for news in self.problems.news(resolution) {
            if !self.send(sink, news.event()).await {
                return;
            }
            self.problems.set_told(news);
        }
        if self.looks == 0 {
            let server = self.settings.server_identity.not_after();
            for news in self.certificates.news(&resolution.table, server, now) {
                if !self.send(sink, news.event()).await {
                    return;
                }
                self.certificates.set_told(news);
            }
        }
        self.looks = (self.looks + 1) % CERTIFICATES_EVERY;
    }

    /// Sends one event; false if none may be sent, or taken, now. One that the target refuses is
    /// counted, and not sent again: some of its subscriptions may have it.
    async fn send(&mut self, sink: &SystemEventSink, news: &SystemEvent) -> bool {
        if !self.allowance.take(Instant::now()) {
            return false;
        }
        let mut event = news.to_event(&self.settings.source);
        if sink.target.enters_broker && enter_broker(&mut event, self.settings.max_ttl).is_err() {
            return true;
        }
        let Some(permit) = sink.worker.acquire_permit().await else {
            return true;
        };
        let (event, progress) = (Arc::new(event), DeliveryProgress::default());
        let outcome = self
            .deliverer
            .deliver(&event, &sink.worker, permit, progress)
            .await;
        match outcome {
            DeliveryOutcome::Delivered => self.counters.system_events_sent.increment(),
            // What the target cannot take now is found again by the next look.
            DeliveryOutcome::Lost(loss) if NOT_NOW.contains(&loss.code) => return false,
            _ => self.counters.system_events_lost.increment(),
        }
        true
    }
}

/// The subscription as which events are sent: one that no channel has. What is in this process is
/// tried once, since a channel that waits for its deliveries would make each of them again.
fn subscription(name: &NamespacedName, target: &SystemEventTarget) -> Subscription {
    Subscription {
        key: SubscriptionKey::new(SubscriptionKind::Subscription, &name.namespace, NAME),
        filter: Filter::MatchAll,
        subscriber: Some(target.address.clone()),
        reply: None,
        dead_letter_sink: None,
        delivery: DeliverySpec {
            retry: if target.channel.is_some() { 0 } else { 4 },
            backoff_policy: Some(BackoffPolicy::Exponential),
            backoff_delay: Some(Duration::from_millis(200)),
            timeout: Some(Duration::from_secs(10)),
            ..DeliverySpec::default()
        },
        sender: target.sender.clone(),
        event_types: None,
        namespace: name.namespace.clone(),
    }
}
