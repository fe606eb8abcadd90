//! Tests of readiness and of the log, by the state that a backend reports of its queues; time is
//! paused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::trouble_log::TroubleTransition;
use super::*;
use crate::channel::rabbitmq::trouble::RabbitmqTrouble;
use crate::filter::Filter;
use crate::model::{
    AcknowledgeMode, BackendKind, ChannelKind, DeliverySpec, ServiceHosts, Subscription,
    SubscriptionKind, TransportEncryption,
};

/// RabbitMQ as a test wants it: no connection, or a trouble for each name.
#[derive(Default)]
struct Scripted {
    away: Mutex<bool>,
    troubles: Mutex<HashMap<String, RabbitmqTrouble>>,
}

impl Scripted {
    fn goes(&self) {
        *self.away.lock().expect("not poisoned") = true;
    }

    fn comes(&self) {
        *self.away.lock().expect("not poisoned") = false;
    }

    fn set(&self, name: &str, trouble: Option<RabbitmqTrouble>) {
        let mut troubles = self.troubles.lock().expect("not poisoned");
        match trouble {
            Some(trouble) => troubles.insert(name.to_owned(), trouble),
            None => troubles.remove(name),
        };
    }

    fn report<'t>(&self, table: &'t RoutingTable) -> TroubleReport<'t> {
        TroubleReport::collect(table, self)
    }

    fn outage(&self) -> Option<TroubleReason> {
        let is_away = *self.away.lock().expect("not poisoned");
        is_away.then(|| RabbitmqTrouble::Disconnected.into())
    }
}

impl TroubleSource for Scripted {
    fn connections(&self) -> Vec<BackendConnection> {
        vec![BackendConnection {
            backend: BackendKind::Rabbitmq,
            outage: self.outage(),
            failure: None,
        }]
    }

    fn subscription_trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason> {
        let troubles = self.troubles.lock().expect("not poisoned");
        let of_queue = troubles.get(&subscription.name).cloned();
        self.outage().or(of_queue.map(TroubleReason::from))
    }
}

fn channel(name: &str, storage: BackendKind, subscriptions: &[&str]) -> Arc<Channel> {
    let namespace = || "ns".to_owned();
    let subscription = |name: &&str| {
        let key = SubscriptionKey {
            kind: SubscriptionKind::Subscription,
            namespace: namespace(),
            name: (*name).to_owned(),
        };
        Arc::new(Subscription {
            key,
            filter: Filter::MatchAll,
            subscriber: None,
            reply: None,
            dead_letter_sink: None,
            sender: None,
            event_types: None,
            delivery: DeliverySpec::default(),
            namespace: namespace(),
        })
    };
    Arc::new(Channel {
        key: ChannelKey {
            kind: ChannelKind::Channel,
            namespace: namespace(),
            name: name.to_owned(),
        },
        backend: storage,
        acknowledge: AcknowledgeMode::AfterDelivery,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions: subscriptions.iter().map(subscription).collect(),
    })
}

fn table(channels: Vec<Arc<Channel>>) -> RoutingTable {
    RoutingTable::new(
        TransportEncryption::Disabled,
        ServiceHosts::new("system", "cluster.local"),
        channels,
        [],
    )
}

fn on_rabbitmq() -> RoutingTable {
    table(vec![
        channel("a", BackendKind::Rabbitmq, &["a1", "a2"]),
        channel("b", BackendKind::Rabbitmq, &["b1"]),
    ])
}

fn mixed() -> RoutingTable {
    table(vec![
        channel("a", BackendKind::Rabbitmq, &["a1"]),
        channel("m", BackendKind::Memory, &["m1"]),
    ])
}

fn missing(text: &str) -> ReadinessDecision {
    ReadinessDecision::Missing(text.to_owned())
}

/// A process that has nothing else is ready when its queues are, and no longer than RabbitMQ is
/// there; what is added later, and a queue that is declared again, change nothing.
#[tokio::test(start_paused = true)]
async fn ready_is_served() {
    let (rabbitmq, judge, table) = (
        Scripted::default(),
        ServiceReadiness::default(),
        on_rabbitmq(),
    );
    rabbitmq.goes();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        missing("RabbitMQ is away")
    );
    rabbitmq.comes();
    rabbitmq.set("a1", Some(RabbitmqTrouble::NotDeclared));
    rabbitmq.set("b1", Some(RabbitmqTrouble::NotDeclared));
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        missing("2 of 3 queues on RabbitMQ are not declared yet")
    );
    rabbitmq.set("a1", None);
    rabbitmq.set("b1", None);
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        ReadinessDecision::Ready
    );
    for name in ["a1", "a2", "b1"] {
        rabbitmq.set(name, Some(RabbitmqTrouble::NotDeclared));
    }
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        ReadinessDecision::Ready,
        "added later"
    );
    rabbitmq.goes();
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        missing("RabbitMQ is away")
    );
    rabbitmq.comes();
    for name in ["a1", "a2", "b1"] {
        rabbitmq.set(name, Some(RabbitmqTrouble::Blocked));
    }
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        missing("RabbitMQ is blocked by an alarm of memory or disk"),
        "nothing is taken"
    );
}

/// A queue that cannot be declared by its own fault does not keep the others from their events for
/// ever; if there are no others, it does.
#[tokio::test(start_paused = true)]
async fn one_queue_does_not_hold_up_the_others() {
    let (rabbitmq, table) = (Scripted::default(), on_rabbitmq());
    let (judge, alone) = (ServiceReadiness::default(), ServiceReadiness::default());
    let only = self::table(vec![channel("b", BackendKind::Rabbitmq, &["b1"])]);
    rabbitmq.set("b1", Some(RabbitmqTrouble::NotDeclared));
    let not_yet = missing("1 of 3 queues on RabbitMQ are not declared yet");
    assert_eq!(judge.judge(&rabbitmq.report(&table)), not_yet);
    assert_ne!(
        alone.judge(&rabbitmq.report(&only)),
        ReadinessDecision::Ready
    );
    tokio::time::advance(Duration::from_secs(29)).await;
    assert_eq!(judge.judge(&rabbitmq.report(&table)), not_yet);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        ReadinessDecision::Ready
    );
    assert_ne!(
        alone.judge(&rabbitmq.report(&only)),
        ReadinessDecision::Ready
    );
    let summary = rabbitmq.report(&table).summary();
    assert_eq!(
        summary.as_deref(),
        Some("1 of 2 channels is not served: channel ns/b: its queue is not declared yet")
    );
}

/// What is in memory is not taken out of service by RabbitMQ, which is waited for at the start
/// only.
#[tokio::test(start_paused = true)]
async fn memory_is_served_without_rabbitmq() {
    let (rabbitmq, judge, table) = (Scripted::default(), ServiceReadiness::default(), mixed());
    rabbitmq.goes();
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        missing("RabbitMQ is away")
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        ReadinessDecision::Ready
    );
    let summary = rabbitmq.report(&table).summary();
    assert_eq!(
        summary.as_deref(),
        Some("RabbitMQ is away: 1 of 2 channels is not served")
    );
    rabbitmq.comes();
    rabbitmq.set("a1", Some(RabbitmqTrouble::NotDeclared));
    assert_eq!(
        judge.judge(&rabbitmq.report(&table)),
        ReadinessDecision::Ready,
        "it does not come and go"
    );
    rabbitmq.set("a1", None);
    assert_eq!(
        (
            judge.judge(&rabbitmq.report(&table)),
            rabbitmq.report(&table).summary()
        ),
        (ReadinessDecision::Ready, None)
    );
}

/// Nothing is on RabbitMQ: without any channel it is waited for, with channels in memory at the
/// start only.
#[tokio::test(start_paused = true)]
async fn a_backend_that_nothing_needs() {
    let (rabbitmq, empty) = (Scripted::default(), table(Vec::new()));
    let memory = table(vec![channel("m", BackendKind::Memory, &["m1"])]);
    let (of_empty, of_memory) = (ServiceReadiness::default(), ServiceReadiness::default());
    rabbitmq.goes();
    assert_eq!(
        of_memory.judge(&rabbitmq.report(&memory)),
        missing("RabbitMQ is away")
    );
    assert_eq!(
        of_empty.judge(&rabbitmq.report(&empty)),
        missing("RabbitMQ is away")
    );
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(
        of_memory.judge(&rabbitmq.report(&memory)),
        ReadinessDecision::Ready
    );
    assert_eq!(
        rabbitmq.report(&memory).summary().as_deref(),
        Some("RabbitMQ is away: no channel is on it")
    );
    assert_eq!(
        of_empty.judge(&rabbitmq.report(&empty)),
        missing("RabbitMQ is away")
    );
    rabbitmq.comes();
    assert_eq!(
        of_empty.judge(&rabbitmq.report(&empty)),
        ReadinessDecision::Ready
    );
}

/// Channels and subscriptions are named with their reasons, a channel without subscriptions too.
#[test]
fn reports_name_what_is_in_trouble() {
    let rabbitmq = Scripted::default();
    let table = table(vec![
        channel("a", BackendKind::Rabbitmq, &["a1", "a2"]),
        channel("none", BackendKind::Rabbitmq, &[]),
        channel("m", BackendKind::Memory, &["m1"]),
    ]);
    let key = |at: usize| &table.channels()[at].key;
    assert!(rabbitmq.report(&table).is_empty());
    rabbitmq.set("a2", Some(RabbitmqTrouble::NoAnswer));
    let report = rabbitmq.report(&table);
    let expected =
        "1 of 2 subscriptions are not served; ns/a2: RabbitMQ does not answer for its queue";
    let in_part = ChannelTrouble {
        message: expected.to_owned(),
        condition: "RabbitmqUnavailable",
        reason: None,
        refuses_senders: false,
    };
    assert_eq!(
        (
            report.channel_trouble(key(0)),
            report.channel_trouble(key(1))
        ),
        (Some(&in_part), None)
    );
    assert_eq!(
        report.subscriptions(),
        [&table.channels()[0].subscriptions[1].key]
    );
    rabbitmq.goes();
    let report = rabbitmq.report(&table);
    let whole = ChannelTrouble::for_all_subscriptions(RabbitmqTrouble::Disconnected.into());
    assert_eq!(
        [0, 1, 2].map(|at| report.channel_trouble(key(at))),
        [Some(&whole), Some(&whole), None]
    );
    assert_eq!(
        report.summary().as_deref(),
        Some("RabbitMQ is away: 2 of 3 channels are not served")
    );
}

/// A channel is named once, whatever number of subscriptions it has, and a reason once, whatever number
/// of channels has it.
#[test]
fn a_summary_names_channels_and_reasons_once() {
    let rabbitmq = Scripted::default();
    let table = on_rabbitmq();
    let summary = || rabbitmq.report(&table).summary().unwrap_or_default();
    for name in ["a1", "a2", "b1"] {
        rabbitmq.set(name, Some(RabbitmqTrouble::NoAnswer));
    }
    assert_eq!(
        summary(),
        "2 of 2 channels are not served: channel ns/a, channel ns/b: RabbitMQ does not answer for \
         its queue"
    );
    rabbitmq.set("a1", None);
    assert_eq!(
        summary(),
        "2 of 2 channels are not served: channel ns/a: 1 of 2 subscriptions are not served; ns/a2: \
         RabbitMQ does not answer for its queue; channel ns/b: RabbitMQ does not answer for its queue"
    );
    let many: Vec<_> = (0..7).map(|it| format!("m{it}")).collect();
    let channels = many
        .iter()
        .map(|name| channel(name, BackendKind::Rabbitmq, &["b1"]));
    let table = self::table(channels.collect());
    assert_eq!(
        rabbitmq.report(&table).summary().as_deref(),
        Some(
            "7 of 7 channels are not served: channel ns/m0, channel ns/m1, channel ns/m2, channel \
             ns/m3, channel ns/m4: RabbitMQ does not answer for its queue; and 2 more"
        )
    );
}

/// Whatever is told once is not told again; a blink, and a queue that is added, are not told at
/// all.
#[tokio::test(start_paused = true)]
async fn trouble_is_told_once() {
    let (rabbitmq, table, mut log) = (Scripted::default(), on_rabbitmq(), TroubleLog::default());
    let mut look = |seconds: u64| {
        let mut told = Vec::new();
        for _ in 0..seconds * 2 {
            told.extend(log.log_changes(&rabbitmq.report(&table)));
            futures_util::FutureExt::now_or_never(tokio::time::advance(Duration::from_millis(500)));
        }
        told
    };
    rabbitmq.set("a1", Some(RabbitmqTrouble::NotDeclared));
    assert_eq!(look(20), []);
    rabbitmq.set("a1", None);
    assert_eq!(look(1), []);
    rabbitmq.goes();
    assert_eq!(look(1), [], "a blink");
    assert_eq!(look(60), [TroubleTransition::Begun]);
    rabbitmq.comes();
    rabbitmq.set("b1", Some(RabbitmqTrouble::NoAnswer));
    rabbitmq.set("a1", Some(RabbitmqTrouble::NotDeclared));
    assert_eq!(look(60), [TroubleTransition::Begun], "another kind");
    rabbitmq.set("b1", None);
    rabbitmq.set("a1", None);
    assert_eq!(look(10), [TroubleTransition::Ended]);
}
