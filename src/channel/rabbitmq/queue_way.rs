//! Which connection a queue is published to on. RabbitMQ may confirm nothing for a queue on one connection and well on
//! another: a node that is cut off from most of the others answers everything but what is published, and a channel may go
//! on waiting for a leader that is none any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long RabbitMQ may confirm and refuse nothing for a queue that messages wait for. An election takes less.
const SILENCE: Duration = Duration::from_secs(3);

/// The way to one queue.
#[derive(Debug, Default)]
pub(super) struct QueueWay {
    /// The connection to publish on, by its place.
    preferred: AtomicUsize,
    /// When RabbitMQ confirmed or refused a message for the queue last.
    answered: Mutex<Option<Instant>>,
}

impl QueueWay {
    /// The place of the connection to publish on.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Takes another connection from now on. Whether it is another one.
    pub(super) fn prefer(&self, place: usize) -> bool {
        self.preferred.swap(place, Ordering::Relaxed) != place
    }

    /// RabbitMQ has confirmed or refused a message for the queue.
    pub(super) fn answered(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until RabbitMQ has answered nothing for the queue for 3 s, while a message waited that was sent at `sent`.
    pub(super) async fn until_silent(&self, sent: Instant) {
        loop {
            let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            let due = answered.map_or(sent, |answered| answered.max(sent)) + SILENCE;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_answer_to_any_message() {
        let (way, sent) = (QueueWay::default(), Instant::now());
        let silent = way.until_silent(sent);
        let answered = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            way.answered();
        };
        tokio::join!(silent, answered);
        assert_eq!(sent.elapsed(), Duration::from_secs(5));
    }
}
