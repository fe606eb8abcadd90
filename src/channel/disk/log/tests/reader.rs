//! Whatever bytes are in the files, the reader neither panics nor asks for more memory than they
//! have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::simulation::{JumpingClock, run_paused};
use crate::channel::disk::log::commit::writer::encode_frame;
use crate::channel::disk::log::files::simulated::{DiskFaults, SimulatedDisk};
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::format::record::{FrameHead, LogRecord, kind};
use crate::channel::disk::log::format::{HEAD_BYTES, SegmentSalt};
use crate::channel::disk::log::mark::SegmentMark;
use crate::channel::disk::log::{
    DataDirectory, DirectoryOptions, LaneKind, LogError, LogOptions, QueueOptions,
};

/// Chance number of the log.
const NONCE: u64 = 5;

fn segment(id: u64) -> PathBuf {
    Path::new("/d/log").join(crate::channel::disk::log::segment::segment_name(id))
}

/// A disk with a log that has this as its only segment, and a mark that is whole.
fn disk_with(bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1, DiskFaults::default());
    let directory = Path::new("/d/log");
    disk.make_directory(directory);
    SegmentMark::create(&disk, directory, NONCE).expect("a mark");
    disk.put(&segment(1), bytes);
    disk
}

async fn open(disk: &SimulatedDisk) -> Result<(), LogError> {
    let options = DirectoryOptions {
        lanes: LaneKind::Tasks,
        reserve_bytes: 0,
        ..DirectoryOptions::default()
    };
    let files = Arc::new(disk.clone());
    let directory = DataDirectory::open_on(files, JumpingClock::new(), Path::new("/d"), &options)?;
    let (log, _opening) = directory.open_log("log", LogOptions::default()).await?;
    for (queue, _, _) in log.queues() {
        log.counts(queue)?;
        log.parked(queue, 0, 100).await.map(drop)?;
        let take = log.take(queue, 10);
        let taken = tokio::time::timeout(std::time::Duration::from_millis(5), take).await;
        taken.unwrap_or(Ok(Vec::new())).map(drop)?;
    }
    log.history(0, 0, 100).await.map(drop)?;
    log.declare("new", QueueOptions::default())
        .await
        .map(drop)?;
    log.close().await;
    Ok(())
}

/// A segment whose head and checksums are right, so that what is in it is read.
fn plausible(id: u64, payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let salt = SegmentSalt::new(NONCE, id);
    let head = SegmentHead {
        events: 0,
        nonce: NONCE,
        id,
        generation: 0,
        first: 1,
        created_at: 0,
        end: 0,
    };
    let mut file = head.encode();
    let mut frame = Vec::new();
    let checkpoint = LogRecord::Checkpoint(Box::default());
    encode_frame(&mut frame, salt, HEAD_BYTES, 1, &[checkpoint]);
    file.extend_from_slice(&frame);
    for (number, (record_kind, payload)) in payloads.iter().enumerate() {
        let begin = file.len() + FrameHead::record_bytes();
        let mut record = Vec::new();
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        record.extend_from_slice(&[*record_kind, 0, 0, 0]);
        record.extend_from_slice(payload);
        let checksum = salt.checksum(begin as u64, &record[4..]);
        record[..4].copy_from_slice(&checksum.to_le_bytes());
        record.resize(record.len().next_multiple_of(8), 0);
        let head = FrameHead {
            number: number as u64 + 2,
            bytes: record.len() as u64,
            count: 1,
        };
        let mut encoded = Vec::new();
        head.encode(&mut encoded, salt, file.len() as u64);
        file.extend_from_slice(&encoded);
        file.extend_from_slice(&record);
    }
    file.resize(file.len().next_multiple_of(4096), 0);
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let disk = disk_with(&bytes);
        prop_assert!(run_paused(open(&disk)).is_err());
    }

    #[test]
    fn any_payload_is_refused_or_read(
        payloads in proptest::collection::vec(
            (kind::FRAME..=kind::CUT + 1, proptest::collection::vec(any::<u8>(), 0..80)),
            0..6,
        ),
    ) {
        let disk = disk_with(&plausible(1, &payloads));
        match run_paused(open(&disk)) {
            Ok(()) | Err(LogError::Damaged(_)) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
