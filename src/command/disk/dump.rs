//! `sealpost disk dump`: events of channels as lines of JSON.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{FoundLog, is_of, time_text};
use crate::channel::disk::log::{EventStanding, InspectedEvent, LogInspection, QueueStanding};
use crate::channel::disk::queue_owner;
use crate::cli::{DiskDumpOptions, DumpState};
use crate::event::{http, stored};

/// An event with what the log knows of it.
#[derive(Serialize)]
struct DumpedEvent<'a> {
    channel: &'a str,
    sequence: u64,
    received: String,
    subscriptions: Vec<DumpedStanding>,
    /// The event in CloudEvents JSON format.
    event: Box<RawValue>,
}

/// How far an event has come in one queue.
#[derive(Serialize)]
struct DumpedStanding {
    subscription: String,
    state: &'static str,
    /// Time of the next attempt, if one is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
}

/// Where events are printed to, and which.
struct EventDump<'a> {
    options: &'a DiskDumpOptions,
    out: BufWriter<StdoutLock<'static>>,
    failure: Option<anyhow::Error>,
}

/// Prints the events of logs that are asked for.
pub(super) fn dump(logs: &[FoundLog], options: &DiskDumpOptions) -> anyhow::Result<ExitCode> {
    let mut dump = EventDump {
        options,
        out: BufWriter::new(io::stdout().lock()),
        failure: None,
    };
    for log in logs {
        let inspection = LogInspection::read(&log.path)?;
        inspection.visit_events(|event| dump.visit(&log.owner, &event))?;
        if dump.failure.is_some() {
            break;
        }
    }
    let flushed = dump.out.flush().context("standard output");
    match dump.failure.map_or(flushed, Err) {
        // The reader has what it wanted.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl EventDump<'_> {
    fn visit(&mut self, channel: &str, event: &InspectedEvent) -> ControlFlow<()> {
        if !self.is_asked_for(event) {
            return ControlFlow::Continue(());
        }
        match self.print(channel, event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn is_asked_for(&self, event: &InspectedEvent) -> bool {
        let options = self.options;
        let is_after = options
            .from
            .is_none_or(|it| event.received_at >= millis(it));
        let is_before = options
            .until
            .is_none_or(|it| event.received_at < millis(it));
        let mut queues = event.queues.iter().filter(|it| {
            let queue = options.queue.as_ref();
            queue.is_none_or(|queue| is_of(&queue_owner(&it.queue), queue))
        });
        let is_there = match options.state {
            Some(state) => queues.any(|it| state_of(it.standing) == state),
            None => options.queue.is_none() || queues.next().is_some(),
        };
        is_after && is_before && is_there
    }

    fn print(&mut self, channel: &str, event: &InspectedEvent) -> anyhow::Result<()> {
        let sequence = event.sequence;
        let decoded = stored::decode(event.event.clone());
        let decoded = decoded.with_context(|| format!("{channel}: event {sequence}"))?;
        let (_, json) = http::encode_structured(&decoded);
        let standings = event.queues.iter();
        let line = DumpedEvent {
            channel,
            sequence,
            received: time_text(event.received_at),
            subscriptions: standings.map(describe_standing).collect(),
            event: serde_json::from_slice(&json)
                .with_context(|| format!("{channel}: event {sequence}"))?,
        };
        serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }
}

fn describe_standing(queue: &QueueStanding) -> DumpedStanding {
    DumpedStanding {
        subscription: queue_owner(&queue.queue),
        state: match state_of(queue.standing) {
            DumpState::Waiting => "waiting",
            DumpState::Parked => "parked",
            DumpState::Delivered => "delivered",
        },
        due: match queue.standing {
            EventStanding::Deferred { due } => Some(time_text(due)),
            _ => None,
        },
    }
}

fn state_of(standing: EventStanding) -> DumpState {
    match standing {
        EventStanding::Waiting | EventStanding::Deferred { .. } => DumpState::Waiting,
        EventStanding::Parked => DumpState::Parked,
        EventStanding::Finished => DumpState::Delivered,
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
