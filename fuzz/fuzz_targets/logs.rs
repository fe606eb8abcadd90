//! What holds for whatever is in the files of a channel on disk. The files are written here as
//! docs/DISK.md describes them, so that it is seen to be enough for another program.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealpost::channel::disk::log::files::{DirectoryEntry, FileSystem, LogFile};
use sealpost::channel::disk::log::{LogError, LogInspection};

const DIRECTORY: &str = "/data/log";
const NONCE: u64 = 5;
const HEAD: usize = 128;

/// A segment as it comes, and one whose checksums are right: whether the log can be read or not, it
/// is told so, and what can be read holds together.
pub(crate) fn log(data: &[u8]) {
    inspect(data.to_vec());
    inspect(plausible(data));
}

fn inspect(segment: Vec<u8>) {
    let bytes = segment.len();
    let name = format!("{:020}.segment", 1);
    let files: Arc<dyn FileSystem> = Arc::new(MemoryFiles(BTreeMap::from([
        (Path::new(DIRECTORY).join("mark"), mark()),
        (Path::new(DIRECTORY).join(name), segment),
    ])));
    let log = match LogInspection::read_on(&files, Path::new(DIRECTORY)) {
        Ok(log) => log,
        Err(error) => {
            assert!(!matches!(
                error,
                LogError::Full { .. } | LogError::Poisoned { .. }
            ));
            assert!(error.to_string().contains(DIRECTORY), "{error}");
            return;
        }
    };
    let verified = log.verify(|_event| Ok(()));
    assert!(verified.records <= bytes as u64 / 16);
    let mut last = None;
    let mut held = 0;
    let visited = log.visit_events(|event| {
        assert!(last < Some(event.sequence));
        last = Some(event.sequence);
        held += event.event.len();
        ControlFlow::Continue(())
    });
    assert!(held <= bytes);
    if verified.damage.is_empty() {
        visited.expect("what is whole can be read");
    }
    for queue in log.queues() {
        assert!(queue.counts.in_flight == 0);
    }
}

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().to_le_bytes()
}

/// The bytes with their checksum, of all but its own four.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&[&bytes[..12], &bytes[16..]]);
    bytes[12..16].copy_from_slice(&sum);
    bytes
}

fn mark() -> Vec<u8> {
    let mut entry = b"SEALPOST\x01\0\0\0\0\0\0\0".to_vec();
    entry.extend(NONCE.to_le_bytes());
    entry.extend(1_u64.to_le_bytes());
    entry.resize(64, 0);
    let mut file = sealed(entry);
    file.resize(8192, 0);
    file
}

/// A segment whose head and checksums are right: the first byte of the input says how long a record
/// is, and the second of which kind, as often as there are bytes. One in eight ends a frame.
fn plausible(mut data: &[u8]) -> Vec<u8> {
    let mut file = b"SEALPOST\x01\0\0\0\0\0\0\0".to_vec();
    file.extend(NONCE.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend([0; 8]);
    file.extend(1_u64.to_le_bytes());
    file.resize(HEAD, 0);
    let mut file = sealed(file);
    // An empty checkpoint: the next sequence is 1, and there is nothing.
    let mut empty = 1_u64.to_le_bytes().to_vec();
    empty.extend([0; 6]);
    let mut records = vec![(2_u8, empty)];
    let mut number = 1;
    while let [length, kind, rest @ ..] = data {
        let (payload, after) = rest.split_at((*length as usize).min(rest.len()));
        records.push((kind % 15, payload.to_vec()));
        data = after;
        if kind >= &224 {
            put_frame(&mut file, number, &std::mem::take(&mut records));
            number += 1;
        }
    }
    put_frame(&mut file, number, &records);
    file.resize(file.len().next_multiple_of(4096), 0);
    file
}

fn put_frame(file: &mut Vec<u8>, number: u64, records: &[(u8, Vec<u8>)]) {
    let size = |payload: &[u8]| (12 + payload.len()).next_multiple_of(8) as u64;
    let bytes: u64 = records.iter().map(|(_, payload)| size(payload)).sum();
    let mut head = number.to_le_bytes().to_vec();
    head.extend(bytes.to_le_bytes());
    head.extend(length(records).to_le_bytes());
    put_record(file, 1, &head);
    for (kind, payload) in records {
        put_record(file, *kind, payload);
    }
}

fn put_record(file: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let offset = file.len() as u64;
    let mut record = length(payload).to_le_bytes().to_vec();
    record.extend([kind, 0, 0, 0]);
    record.extend(payload);
    let salt = [NONCE.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    file.extend(checksum(&[&salt, &offset.to_le_bytes(), &record]));
    file.extend(record);
    file.resize(file.len().next_multiple_of(8), 0);
}

fn length<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("inputs are short")
}

/// Files in memory that are only read.
struct MemoryFiles(BTreeMap<PathBuf, Vec<u8>>);

#[derive(Debug)]
struct MemoryFile(Vec<u8>);

impl LogFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).expect("an address");
        let rest = self.0.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

impl FileSystem for MemoryFiles {
    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let files = self
            .0
            .iter()
            .filter(|(path, _)| path.parent() == Some(directory));
        Ok(files
            .map(|(path, bytes)| DirectoryEntry {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into(),
                is_file: true,
                length: bytes.len() as u64,
            })
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile(bytes.clone())))
    }

    fn lock_holder(&self, _path: &Path) -> io::Result<Option<String>> {
        Ok(None)
    }
}
