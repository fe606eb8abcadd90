//! Every record is read as it was written, and nothing else is.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::channel::disk::log::commit::writer::{encode_frame, frame_bytes};
use crate::channel::disk::log::files::FileSystem;
use crate::channel::disk::log::files::simulated::{DiskFaults, SimulatedDisk};
use crate::channel::disk::log::format::SegmentSalt;
use crate::channel::disk::log::format::checkpoint::{
    EventProgress, LogCheckpoint, QueueEntry, SegmentEntry, UnfinishedEntry,
};
use crate::channel::disk::log::format::queue_set::QueueSet;
use crate::channel::disk::log::format::record::{
    DeferredRecord, EventRecord, LogRecord, ParkedRecord, QueueLeftover, SettledOutcome,
    SettledRecord, SourceEvent,
};
use crate::channel::disk::log::format::scanner::RecordScanner;
use crate::channel::disk::log::format::span::RangeRecord;
use crate::channel::disk::log::{QueueId, Sequence, SequenceSpan};

fn ranges() -> impl Strategy<Value = Vec<(Sequence, Sequence)>> {
    proptest::collection::vec((1_u64..1 << 40, 0_u64..1000), 0..20).prop_map(|steps| {
        let (mut ranges, mut next) = (Vec::new(), 0);
        for (gap, length) in steps {
            let first = next + gap;
            ranges.push((first, first + length));
            next = first + length + 1;
        }
        ranges
    })
}

fn body() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..400).prop_map(Bytes::from)
}

fn queues() -> impl Strategy<Value = QueueSet> {
    proptest::collection::vec(0_u32..300, 0..30)
        .prop_map(|ids| ids.into_iter().map(QueueId).collect())
}

fn source() -> impl Strategy<Value = SourceEvent> {
    (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(queue, event, received_at, bytes)| SourceEvent {
            queue: QueueId(queue),
            event,
            received_at,
            bytes,
        },
    )
}

fn progress() -> impl Strategy<Value = EventProgress> {
    prop_oneof![
        Just(EventProgress::Fresh),
        (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(record, recorded_at, due)| {
            EventProgress::Deferred {
                record,
                recorded_at,
                due,
            }
        }),
        any::<u64>().prop_map(|record| EventProgress::Parked { record }),
    ]
}

fn span(from: u64, until: u64) -> SequenceSpan {
    SequenceSpan { from, until }
}

fn queue_entry() -> impl Strategy<Value = QueueEntry> {
    let unfinished = (any::<u64>(), any::<u64>(), any::<u32>(), progress()).prop_map(
        |(event, received_at, bytes, progress)| UnfinishedEntry {
            event,
            received_at,
            bytes,
            progress,
        },
    );
    let unfinished = proptest::collection::vec(unfinished, 0..10);
    let numbers = (any::<u32>(), any::<bool>(), any::<u64>(), any::<u64>());
    (numbers, "\\PC{0,20}", ranges(), unfinished).prop_map(
        |((id, is_active, taken, depth), name, finished, unfinished)| QueueEntry {
            id: QueueId(id),
            name,
            is_active,
            taken,
            depth,
            bytes: depth.rotate_left(7),
            range: span(taken, depth),
            finished,
            unfinished,
        },
    )
}

fn checkpoint() -> impl Strategy<Value = LogCheckpoint> {
    let segment = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>()).prop_map(
        |(id, generation, first, end)| SegmentEntry {
            events: end / 7,
            id,
            generation,
            first,
            end,
            oldest: end.rotate_left(3),
            newest: end.rotate_left(9),
        },
    );
    let segments = proptest::collection::vec(segment, 0..10);
    let queues = proptest::collection::vec(queue_entry(), 0..6);
    (any::<u64>(), any::<u32>(), segments, queues).prop_map(
        |(next_sequence, next_queue, segments, queues)| LogCheckpoint {
            next_sequence,
            next_queue,
            segments,
            queues,
        },
    )
}

fn deferred() -> impl Strategy<Value = DeferredRecord> {
    let numbers = (any::<u64>(), any::<u8>(), any::<u32>(), any::<u64>());
    (numbers, source(), proptest::option::of(body())).prop_map(
        |((sequence, stage, attempts, due), source, body)| DeferredRecord {
            sequence,
            source,
            stage,
            attempts,
            recorded_at: due.rotate_left(5),
            due,
            body,
        },
    )
}

fn parked() -> impl Strategy<Value = ParkedRecord> {
    let numbers = (any::<u64>(), any::<u32>(), any::<i32>(), any::<u64>());
    (numbers, source(), "\\PC{0,60}", "\\PC{0,60}").prop_map(
        |((sequence, attempts, code, parked_at), source, reason, destination)| ParkedRecord {
            sequence,
            source,
            parked_at,
            attempts,
            code,
            reason,
            destination,
        },
    )
}

fn settled() -> impl Strategy<Value = SettledRecord> {
    let outcome = prop_oneof![
        Just(SettledOutcome::Delivered),
        Just(SettledOutcome::DeadLettered),
        Just(SettledOutcome::Lost),
    ];
    (any::<u32>(), outcome, any::<u64>(), any::<u64>(), ranges()).prop_map(
        |(queue, outcome, count, bytes, ranges)| SettledRecord {
            queue: QueueId(queue),
            outcome,
            count,
            bytes,
            ranges,
        },
    )
}

fn record() -> impl Strategy<Value = LogRecord> {
    let event = (any::<u64>(), any::<u64>(), queues(), body()).prop_map(
        |(sequence, received_at, queues, body)| {
            LogRecord::Event(EventRecord {
                sequence,
                received_at,
                queues,
                body,
            })
        },
    );
    let queue = || any::<u32>().prop_map(QueueId);
    prop_oneof![
        event,
        settled().prop_map(LogRecord::Settled),
        deferred().prop_map(LogRecord::Deferred),
        parked().prop_map(LogRecord::Parked),
        (queue(), ranges()).prop_map(|(queue, ranges)| LogRecord::Replayed(queue, ranges)),
        (queue(), ranges()).prop_map(|(queue, ranges)| LogRecord::Discarded(queue, ranges)),
        (queue(), "\\PC{0,40}").prop_map(|(queue, name)| LogRecord::Declared(queue, name)),
        (queue(), any::<bool>()).prop_map(|(queue, is_kept)| LogRecord::Retired {
            queue,
            leftover: if is_kept {
                QueueLeftover::Kept
            } else {
                QueueLeftover::GivenUp
            },
        }),
        ranges().prop_map(LogRecord::Freed),
        range_record().prop_map(LogRecord::Ranged),
        range_record().prop_map(LogRecord::Cut),
        checkpoint().prop_map(|it| LogRecord::Checkpoint(Box::new(it))),
    ]
}

fn range_record() -> impl Strategy<Value = RangeRecord> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (any::<u32>(), numbers).prop_map(|(id, (from, until, events))| RangeRecord {
        queue: QueueId(id),
        range: span(from, until),
        events,
    })
}

fn scanner(bytes: &[u8], salt: SegmentSalt, begin: u64) -> RecordScanner {
    let disk = SimulatedDisk::new(1, DiskFaults::default());
    let path = std::path::Path::new("/segment");
    let mut file = vec![0; usize::try_from(begin).unwrap()];
    file.extend_from_slice(bytes);
    disk.put(path, &file);
    let open = disk.open(path).expect("the file");
    let end = file.len() as u64;
    RecordScanner::new(Arc::from(path), open, salt, begin, end).with_chunk(97)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_frame_is_read_as_it_was_written(
        records in proptest::collection::vec(record(), 1..8),
        number in any::<u64>(),
        begin in (0_u64..20).prop_map(|it| it * 8),
    ) {
        let salt = SegmentSalt::new(7, 9);
        let mut bytes = Vec::new();
        let offsets = encode_frame(&mut bytes, salt, begin, number, &records);
        prop_assert!(bytes.len() as u64 <= frame_bytes(&records));
        let frame = scanner(&bytes, salt, begin).next_frame().unwrap().unwrap();
        prop_assert_eq!((frame.number, frame.offset), (number, begin));
        let expected: Vec<_> = offsets.into_iter().zip(records).collect();
        prop_assert_eq!(frame.records, expected);
        prop_assert!(scanner(&bytes, SegmentSalt::new(7, 8), begin).next_frame().is_err());
        prop_assert!(scanner(&bytes, salt, begin + 8).next_frame().is_err());
    }

    #[test]
    fn no_flipped_bit_is_taken_for_what_was_written(
        records in proptest::collection::vec(record(), 1..4),
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let salt = SegmentSalt::new(7, 9);
        let mut bytes = Vec::new();
        let offsets = encode_frame(&mut bytes, salt, 0, 3, &records);
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let expected: Vec<_> = offsets.into_iter().zip(records).collect();
        // The zeros between records are not looked at.
        if let Ok(Some(frame)) = scanner(&bytes, salt, 0).next_frame() {
            prop_assert_eq!(frame.records, expected);
        }
    }

    #[test]
    fn sets_of_queues_hold_what_was_put_in(ids in proptest::collection::vec(0_u32..200, 0..60)) {
        let set: QueueSet = ids.iter().copied().map(QueueId).collect();
        let sorted: std::collections::BTreeSet<u32> = ids.into_iter().collect();
        prop_assert_eq!(set.iter().map(|id| id.0).collect::<Vec<_>>(),
            sorted.iter().copied().collect::<Vec<_>>());
        for id in 0..210 {
            prop_assert_eq!(set.contains(QueueId(id)), sorted.contains(&id));
        }
    }
}
