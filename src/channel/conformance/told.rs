//! The promise of every backend to whoever asks what became of an event.

use std::cell::RefCell;

use super::promises::loss;
use super::{BackendUnderTest, Bench, event, eventually, of_everything};
use crate::channel::DeliveryOutcome;
use crate::observation::{LineWriter, TapBatch, TapDetail};

/// Whoever asks what became of an event is told so when it is true, taps as well; a delivery that is
/// given up is told, too.
pub(crate) async fn observers_are_told_how_deliveries_end<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[of_everything("a")]).await;
    let counters = bench.under_test.counters();
    let observer = &counters.observer;
    let tap = observer.tap(TapDetail::Attributes).expect("a place");
    let tapped = RefCell::new((TapBatch::default(), LineWriter::default(), Vec::new()));
    let is_told = async |word: &'static str, id: &'static str| {
        eventually(word, || {
            let (batch, writer, lines) = &mut *tapped.borrow_mut();
            tap.take(batch);
            for observation in batch.observations() {
                writer.write(&observation, &|_| true, lines);
            }
            let explained = observer.explain(id, Some("/s")).lines;
            has_line(lines, word, id) && has_line(&explained, word, id)
        })
        .await;
    };
    let lost = if B::IS_DURABLE { "parked" } else { "lost" };
    for (id, outcome, word) in [
        ("1", DeliveryOutcome::Delivered, "delivered"),
        ("2", DeliveryOutcome::DeadLettered, "dead letter"),
        ("3", loss(bench.key("a")), lost),
    ] {
        bench.publish(&event(id)).await;
        bench.next("a").await.settle(outcome).await;
        is_told(word, id).await;
    }
    bench.publish(&event("4")).await;
    drop(bench.next("a").await);
    is_told(if B::IS_DURABLE { "requeued" } else { "lost" }, "4").await;
}

/// True if one of these lines says this word of this event.
fn has_line(lines: &[u8], word: &str, id: &str) -> bool {
    let (word, id) = (format!("\"what\":\"{word}\""), format!("\"id\":\"{id}\""));
    let lines = String::from_utf8_lossy(lines);
    lines
        .lines()
        .any(|line| line.contains(&word) && line.contains(&id))
}
