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
