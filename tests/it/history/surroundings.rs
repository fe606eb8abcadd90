//! What the replicas of a run serve: one Broker on RabbitMQ, and Triggers that each end in another
//! way.

use std::net::SocketAddr;
use std::time::Duration;

use super::record::Wish;

/// The extension attribute that says which try of its sender an event is.
pub(super) const TRY: &str = "historytry";

/// A Trigger and its subscriber.
pub(super) struct TriggerCase {
    pub(super) name: &'static str,
    wants: fn(u32) -> bool,
    /// Of its manifest, below `metadata`.
    annotation: &'static str,
    filter: &'static str,
    delivery: &'static str,
    dead_letter_sink: bool,
    /// Status and delay of the answer to an event, which may have come for the first time.
    pub(super) answer: fn(u32, bool) -> (u16, Duration),
}

const QUICK: &str = "retry: 5, backoffPolicy: linear, backoffDelay: PT0.05S";
const OK: (u16, Duration) = (200, Duration::ZERO);
const BUSY: (u16, Duration) = (503, Duration::ZERO);
const REFUSED: (u16, Duration) = (422, Duration::ZERO);

const PLAIN: TriggerCase = TriggerCase {
    name: "fast",
    wants: |_| true,
    annotation: "",
    filter: "",
    delivery: QUICK,
    dead_letter_sink: true,
    answer: |_, _| OK,
};

/// The Triggers of each run.
pub(super) const SUBSCRIPTIONS: &[TriggerCase] = &[
    PLAIN,
    TriggerCase {
        name: "refusing",
        answer: |event, _| if event % 10 == 7 { REFUSED } else { OK },
        ..PLAIN
    },
    TriggerCase {
        name: "parking",
        dead_letter_sink: false,
        answer: |event, _| if event % 20 == 3 { REFUSED } else { OK },
        ..PLAIN
    },
    TriggerCase {
        name: "ordered",
        annotation: ", annotations: {sealpost.dev/delivery-order: ordered}",
        answer: |event, first| if first && event % 50 == 9 { BUSY } else { OK },
        ..PLAIN
    },
    TriggerCase {
        name: "slow",
        answer: |_, _| (200, Duration::from_millis(200)),
        ..PLAIN
    },
    // Its waits are longer than the replicas' patience, so that delay queues keep the events.
    TriggerCase {
        name: "waiting",
        delivery: "retry: 8, backoffPolicy: linear, backoffDelay: PT2S",
        answer: |event, first| if first && event % 20 == 1 { BUSY } else { OK },
        ..PLAIN
    },
    TriggerCase {
        name: "filtered",
        wants: |event| event % 2 == 1,
        filter: "  filter: {attributes: {type: odd}}\n",
        ..PLAIN
    },
];

/// The type of an event.
pub(super) fn event_type(event: u32) -> &'static str {
    if event % 2 == 1 { "odd" } else { "even" }
}

/// What the judge has to know of the Triggers.
pub(super) fn wishes() -> Vec<Wish> {
    let wish = |case: &TriggerCase| Wish {
        name: case.name,
        wants: case.wants,
        ordered: case.name == "ordered",
    };
    SUBSCRIPTIONS.iter().map(wish).collect()
}

/// The queue of a Trigger.
pub(super) fn queue(name: &str) -> String {
    format!("sealpost:broker:default:b:trigger:default:{name}")
}

/// The manifests that all replicas serve.
pub(super) fn manifests(sinks: SocketAddr) -> String {
    let mut yaml =
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n".to_owned();
    for TriggerCase {
        name,
        annotation,
        filter,
        delivery,
        dead_letter_sink,
        ..
    } in SUBSCRIPTIONS
    {
        let sink = if *dead_letter_sink {
            format!(", deadLetterSink: {{uri: 'http://{sinks}/dead/{name}'}}")
        } else {
            String::new()
        };
        yaml += &format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}{annotation}}}\nspec:\n  \
             broker: b\n{filter}  subscriber: {{uri: 'http://{sinks}/{name}'}}\n  delivery: {{{delivery}{sink}}}\n"
        );
    }
    yaml
}
