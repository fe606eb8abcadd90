//! Tables of the counters of a process: the name and the help text of each, as they are exposed.

use super::ProcessCounters;
use crate::telemetry::counter::CounterDescription;

/// Counters of what senders sent; the counters of the backends are exposed after them.
pub(super) const ARRIVALS: &[CounterDescription<ProcessCounters>] = &[
    CounterDescription {
        name: "sealpost_events_accepted",
        help: "Events answered 202 or taken from a reply inside the process",
        counter: |counters| &counters.accepted,
    },
    CounterDescription {
        name: "sealpost_requests_refused",
        help: "Requests with events answered otherwise",
        counter: |counters| &counters.refused,
    },
    CounterDescription {
        name: "sealpost_events_unrouted",
        help: "Events accepted that no subscription wanted",
        counter: |counters| &counters.unrouted,
    },
];

/// Counters of what was done for the events, and of everything else.
pub(super) const DELIVERIES: &[CounterDescription<ProcessCounters>] = &[
    CounterDescription {
        name: "sealpost_deliveries_enqueued",
        help: "Deliveries taken by the queue of a subscription",
        counter: |counters| &counters.enqueued,
    },
    CounterDescription {
        name: "sealpost_deliveries_delivered",
        help: "Deliveries that ended with the subscriber and its reply",
        counter: |counters| &counters.delivered,
    },
    CounterDescription {
        name: "sealpost_deliveries_dead_lettered",
        help: "Deliveries that ended in a dead letter sink",
        counter: |counters| &counters.dead_lettered,
    },
    CounterDescription {
        name: "sealpost_deliveries_lost",
        help: "Deliveries that ended without a home",
        counter: |counters| &counters.lost,
    },
    CounterDescription {
        name: "sealpost_deliveries_abandoned",
        help: "Deliveries unfinished when the process had to stop",
        counter: |counters| &counters.abandoned,
    },
    CounterDescription {
        name: "sealpost_deliveries_deferred",
        help: "Deliveries put off to be taken up again later",
        counter: |counters| &counters.deferred,
    },
    CounterDescription {
        name: "sealpost_deliveries_parked",
        help: "Deliveries that ended in a parking queue",
        counter: |counters| &counters.parked,
    },
    CounterDescription {
        name: "sealpost_messages_parked",
        help: "Messages that were no events, parked before any delivery",
        counter: |counters| &counters.parked_messages,
    },
    CounterDescription {
        name: "sealpost_deliveries_returned",
        help: "Deliveries given back to their queue unfinished",
        counter: |counters| &counters.requeued,
    },
    CounterDescription {
        name: "sealpost_delivery_retries",
        help: "Attempts after the first",
        counter: |counters| &counters.retries,
    },
    CounterDescription {
        name: "sealpost_system_events_sent",
        help: "Operator's events that the Broker or channel of --system-events took",
        counter: |counters| &counters.system_events_sent,
    },
    CounterDescription {
        name: "sealpost_system_events_lost",
        help: "Operator's events that the Broker or channel of --system-events did not take",
        counter: |counters| &counters.system_events_lost,
    },
    CounterDescription {
        name: "sealpost_events_filtered",
        help: "Events that the filter of a Trigger did not let pass",
        counter: |counters| &counters.filtered,
    },
    CounterDescription {
        name: "sealpost_filter_errors",
        help: "Of those, events for which an expression gave an error or no boolean, or was too much work",
        counter: |counters| &counters.undecided,
    },
    CounterDescription {
        name: "sealpost_spans_exported",
        help: "Spans that a collector took",
        counter: |counters| &counters.spans_exported,
    },
    CounterDescription {
        name: "sealpost_spans_dropped",
        help: "Spans that no collector took",
        counter: |counters| &counters.spans_dropped,
    },
    CounterDescription {
        name: "sealpost_configurations_applied",
        help: "Configurations that came into effect",
        counter: |counters| &counters.configurations,
    },
    CounterDescription {
        name: "sealpost_requests_unauthenticated",
        help: "Requests without a token that counts",
        counter: |counters| &counters.unauthenticated,
    },
    CounterDescription {
        name: "sealpost_requests_forbidden",
        help: "Requests of senders that are not allowed to",
        counter: |counters| &counters.forbidden,
    },
    CounterDescription {
        name: "sealpost_requests_undecidable",
        help: "Requests whose sender could not be judged",
        counter: |counters| &counters.undecidable,
    },
    CounterDescription {
        name: "sealpost_token_requests",
        help: "Tokens asked for",
        counter: |counters| &counters.token_requests,
    },
    CounterDescription {
        name: "sealpost_token_failures",
        help: "Tokens that were not to be had",
        counter: |counters| &counters.token_failures,
    },
    CounterDescription {
        name: "sealpost_key_fetches",
        help: "Fetches of the keys of the token issuer",
        counter: |counters| &counters.key_fetches,
    },
    CounterDescription {
        name: "sealpost_key_fetch_failures",
        help: "Fetches of keys that failed",
        counter: |counters| &counters.key_fetch_failures,
    },
    CounterDescription {
        name: "sealpost_event_types_created",
        help: "EventTypes made",
        counter: |counters| &counters.event_types_created,
    },
    CounterDescription {
        name: "sealpost_event_types_failed",
        help: "EventTypes that could not be made",
        counter: |counters| &counters.event_types_failed,
    },
    CounterDescription {
        name: "sealpost_event_types_put_off",
        help: "Events of new types left to a later event",
        counter: |counters| &counters.event_types_put_off,
    },
];
