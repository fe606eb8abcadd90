//! Damage is told from a torn end, each with its file, offset and remedy, and never read.

use std::path::Path;

use super::simulation::run_paused;
use super::*;

/// A log of several segments, closed, with 120 events in one queue.
async fn filled(bench: &Bench) -> Vec<String> {
    let (log, _) = bench.open().await;
    let queue = declare(&log, "a").await;
    let bodies: Vec<String> = (0..120)
        .map(|it| format!("{it} {}", "x".repeat(300)))
        .collect();
    for body in &bodies {
        publish(&log, &[queue], body).await;
    }
    log.close().await;
    bodies
}

/// Opens the log and reads everything; gives what came and whether an end was cut off.
async fn read_all(bench: &Bench) -> Result<(Vec<String>, bool), LogError> {
    let (log, opening) = bench.try_open().await?;
    let queue = log.declare("a", QueueOptions::default()).await?;
    let mut bodies = Vec::new();
    loop {
        let take = log.take(queue, 50);
        match tokio::time::timeout(Duration::from_millis(5), take).await {
            Ok(taken) => bodies.extend(taken?.iter().map(text)),
            Err(_elapsed) => break,
        }
    }
    log.close().await;
    Ok((bodies, opening.torn_end.is_some()))
}

/// What operators move away of a log that was never opened is not counted any more.
#[test]
fn a_damaged_log_that_was_moved_away_gives_its_room_back() {
    run_paused(async {
        let bench = Bench::new();
        filled(&bench).await;
        let taken = || {
            bench
                .disk
                .files()
                .iter()
                .map(|(_, bytes)| bytes)
                .sum::<u64>()
        };
        let newest = bench.segments().pop().expect("a segment");
        bench.disk.flip(&newest, 40, 0);
        let directory = bench.directory();
        for _ in 0..2 {
            let refused = directory.open_log("log", bench.options).await;
            refused.map(drop).expect_err("it is damaged");
            assert_eq!(directory.budget().used(), taken());
        }
        let before = taken();
        for (path, _) in bench.disk.files() {
            bench.disk.lose(&path);
        }
        let (log, opening) = directory
            .open_log("log", bench.options)
            .await
            .expect("a log");
        assert!(opening.is_new && taken() < before);
        log.close().await;
        assert_eq!(directory.budget().used(), taken());
    });
}

/// No flipped bit leads to a wrong event, or to one that is missing without a word: only the very
/// last frame may be taken for one that was being written, and that is told.
#[test]
fn a_flipped_bit_is_told() {
    let (mut refused, mut harmless, mut cut) = (0, 0, 0);
    for seed in 0..400_u64 {
        run_paused(async {
            let bench = Bench::new();
            let bodies = filled(&bench).await;
            let mut chance =
                crate::channel::disk::log::files::simulated::faults::SeededChance::new(seed);
            let segments = bench.segments();
            assert!(segments.len() > 2);
            let chosen = usize::try_from(chance.below(segments.len() as u64)).unwrap();
            let path = &segments[chosen];
            let length = bench.disk.contents(path).expect("a file").len() as u64;
            bench.disk.flip(path, chance.below(length), 3);
            match read_all(&bench).await {
                Ok((found, _)) if found == bodies => harmless += 1,
                Ok((found, true)) if chosen + 1 == segments.len() => {
                    assert_eq!(found, bodies[..found.len()]);
                    assert!(bodies.len() - found.len() <= 1, "{}", found.len());
                    cut += 1;
                }
                Ok((found, _)) => panic!("seed {seed}: {} of {}", found.len(), bodies.len()),
                Err(error) => {
                    let words = error.to_string();
                    assert!(words.contains(".segment"), "{words}");
                    refused += 1;
                }
            }
        });
    }
    println!("{refused} refused, {harmless} harmless, {cut} cut off");
    assert!(refused > 100);
}

#[test]
fn a_torn_end_is_cut_off_and_told() {
    run_paused(async {
        let bench = Bench::new();
        let bodies = filled(&bench).await;
        let newest = bench.segments().pop().expect("a segment");
        // The last record ends somewhere; what is torn is a part of the frame that holds it.
        let bytes = bench.disk.contents(&newest).expect("a file");
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'x')
            .expect("a body");
        bench.disk.flip(&newest, end as u64 - 10, 0);
        let (found, is_torn) = read_all(&bench).await.expect("a log");
        assert_eq!((found.as_slice(), is_torn), (&bodies[..119], true));
        let (found, is_torn) = read_all(&bench).await.expect("a log");
        assert_eq!((found.as_slice(), is_torn), (&bodies[..119], false));
    });
}

#[test]
fn what_does_not_belong_there_is_told_apart() {
    run_paused(async {
        let bench = Bench::new();
        filled(&bench).await;
        let segments = bench.segments();
        let newest = segments.last().expect("a segment");
        let bytes = bench.disk.contents(newest).expect("a file");
        let error = |changed: Vec<u8>| {
            bench.disk.put(newest, &changed);
            bench.try_open()
        };
        let failed = error(Vec::new()).await.err().expect("an error");
        assert_eq!(failed, LogError::EmptySegment(newest.clone()));
        let failed = error(bytes[..50].to_vec()).await.err().expect("an error");
        assert!(
            matches!(failed, LogError::IncompleteHead { .. }),
            "{failed}"
        );
        let failed = error(vec![0; 4096]).await.err().expect("an error");
        assert!(
            matches!(failed, LogError::IncompleteHead { .. }),
            "{failed}"
        );
        let mut other = bytes.clone();
        other[8] = 9;
        let failed = error(other).await.err().expect("an error");
        let version = LogError::UnknownVersion {
            path: newest.clone(),
            version: 9,
        };
        assert_eq!(failed, version);
        let failed = error(b"a letter ".repeat(99))
            .await
            .err()
            .expect("an error");
        assert_eq!(failed, LogError::Foreign(newest.clone()));
        bench.disk.put(newest, &bytes);
        let stray = Path::new("/d/log/notes.txt");
        bench.disk.put(stray, b"mine");
        let failed = bench.try_open().await.err().expect("an error");
        assert_eq!(failed, LogError::Foreign(stray.to_owned()));
        bench.disk.lose(stray);
        let older = bench.disk.contents(&segments[0]).expect("a file");
        bench.disk.lose(&segments[0]);
        let failed = bench.try_open().await.err().expect("an error");
        assert!(failed.to_string().contains("missing"), "{failed}");
        bench.disk.put(&segments[0], &older);
        assert!(read_all(&bench).await.is_ok());
    });
}

/// A segment whose file is gone is missed, also if it is the newest: the ones before do not know it.
#[test]
fn a_lost_segment_is_told_whichever_it_is() {
    run_paused(async {
        let bench = Bench::new();
        filled(&bench).await;
        let segments = bench.segments();
        for lost in &segments {
            let bytes = bench.disk.contents(lost).expect("a file");
            bench.disk.lose(lost);
            let error = bench.try_open().await.err().expect("an error");
            let LogError::Damaged(damage) = error else {
                panic!("{error}")
            };
            assert_eq!(&damage.path, lost);
            assert!(damage.what.contains("missing"), "{damage}");
            bench.disk.put(lost, &bytes);
        }
        for lost in &segments {
            bench.disk.lose(lost);
        }
        let error = bench.try_open().await.err().expect("an error");
        assert!(error.to_string().contains("missing"), "{error}");
    });
}

/// The mark is needed, too: a log without it may have lost anything.
#[test]
fn a_mark_that_is_lost_or_damaged_is_told() {
    run_paused(async {
        let bench = Bench::new();
        let bodies = filled(&bench).await;
        let path = Path::new("/d/log/mark");
        let bytes = bench.disk.contents(path).expect("a file");
        bench.disk.lose(path);
        let error = bench.try_open().await.err().expect("an error");
        assert!(error.to_string().contains("missing"), "{error}");
        bench.disk.put(path, &vec![0; bytes.len()]);
        let error = bench.try_open().await.err().expect("an error");
        assert!(error.to_string().contains("no entry"), "{error}");
        let mut other = bytes.clone();
        other[8] = 9;
        bench.disk.put(path, &other);
        let error = bench.try_open().await.err().expect("an error");
        assert!(error.to_string().contains("version 9"), "{error}");
        // One entry is enough: the other may have been torn while it was written.
        let mut torn = bytes;
        torn[20] ^= 1;
        bench.disk.put(path, &torn);
        let (found, _) = read_all(&bench).await.expect("a log");
        assert_eq!(found, bodies);
    });
}

/// What is damaged while the log is open is told when it is read: the log stops, with file, offset
/// and remedy, and the others of the directory go on.
#[test]
fn damage_that_is_found_while_reading_stops_that_log_alone() {
    run_paused(async {
        let mut bench = Bench::new();
        let bodies = filled(&bench).await;
        // Nothing is read before it is damaged.
        bench.options.read_ahead.events = 6;
        let directory = bench.directory();
        let opened = directory.open_log("log", bench.options).await;
        let log = opened.expect("a log").0;
        let other = directory.open_log("other", bench.options).await;
        let other = other.expect("a log").0;
        let (a, b) = (declare(&log, "a").await, declare(&other, "b").await);
        let first = log.take(a, 2).await.expect("events");
        assert_eq!(text(&first[0]), bodies[0]);
        let segment = &bench.segments()[1];
        let length = bench.disk.contents(segment).expect("a file").len() as u64;
        bench.disk.flip(segment, length / 2, 0);
        let before = log.counts(a).expect("counts");
        assert_eq!((before.depth, before.in_flight), (120, 2));
        let mut error = None;
        for _ in 0..120 {
            error = error.or(log.take(a, 1).await.err());
        }
        let error = error.expect("an error");
        let LogError::Damaged(damage) = &error else {
            panic!("{error}")
        };
        assert_eq!(&damage.path, segment);
        assert!(error.to_string().contains("Restore"), "{error}");
        assert_eq!(log.failure(), Some(error.clone()));
        let refused = log.publish(vec![event(&[a], "more")]).await;
        assert_eq!(refused, Err(error.clone()));
        let settled = log.settle(a, first[0].sequence, SettledOutcome::Delivered);
        assert_eq!(settled.await, Err(error));
        // What is in flight stays so, and nothing is counted out.
        let after = log.counts(a).expect("counts");
        assert!(after.depth == 120 && after.in_flight >= 2, "{after:?}");
        publish(&other, &[b], "other").await;
        assert_eq!(deliver(&other, b).await, "other");
    });
}
