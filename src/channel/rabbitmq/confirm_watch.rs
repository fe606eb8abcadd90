//! Whether RabbitMQ confirms anything on a connection. A node that is cut off from most of the others answers everything
//! but what is published: such a connection is in order, and useless.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How often it is looked, and after how many looks without a confirm the connection is silent: after 3 s. An election
/// takes less; a disk that is slow for so long confirms nothing for anybody.
const PERIOD: Duration = Duration::from_millis(250);
const LOOKS: u32 = 12;

/// What is known of the confirms of one connection. On the way of a message it costs two additions.
pub(super) struct ConfirmWatch {
    /// Messages that wait for their confirm.
    waiting: AtomicUsize,
    /// Messages that RabbitMQ confirmed or refused.
    answered: AtomicU64,
    silent: watch::Sender<bool>,
}

impl Default for ConfirmWatch {
    fn default() -> Self {
        Self { waiting: AtomicUsize::new(0), answered: AtomicU64::new(0), silent: watch::Sender::new(false) }
    }
}

/// A message that waits for its confirm, until it is dropped.
pub(super) struct Waiting<'a>(&'a ConfirmWatch);

impl Waiting<'_> {
    /// RabbitMQ has confirmed or refused the message.
    pub(super) fn answered(self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConfirmWatch {
    /// Notes a message that is published now.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Whether messages wait for confirms, and none has come for 3 s.
    pub(super) fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Waits until that is so.
    pub(super) async fn until_silent(&self) {
        // The sender is here, so this cannot fail.
        drop(self.silent.subscribe().wait_for(|is_silent| *is_silent).await);
    }

    /// Looks again and again, for ever.
    pub(super) async fn run(&self) {
        let mut looks = Looks::default();
        loop {
            tokio::time::sleep(PERIOD).await;
            let (waiting, answered) = (self.waiting.load(Ordering::Relaxed), self.answered.load(Ordering::Relaxed));
            let is_silent = looks.judge(waiting, answered);
            self.silent.send_if_modified(|silent| std::mem::replace(silent, is_silent) != is_silent);
        }
    }
}

/// What was seen at the looks before.
#[derive(Default)]
struct Looks {
    answered: u64,
    /// Looks in a row at which messages waited, and none had been answered since the look before.
    in_vain: u32,
}

impl Looks {
    fn judge(&mut self, waiting: usize, answered: u64) -> bool {
        let has_moved = std::mem::replace(&mut self.answered, answered) != answered;
        self.in_vain = if waiting == 0 || has_moved { 0 } else { self.in_vain + 1 };
        self.in_vain > LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_messages_that_wait_without_an_answer_to_any() {
        let mut looks = Looks::default();
        for _ in 0..LOOKS {
            assert!(!looks.judge(3, 7));
        }
        assert!(!looks.judge(3, 8), "one was answered");
        for _ in 0..LOOKS {
            assert!(!looks.judge(1, 8));
        }
        assert!(looks.judge(1, 8) && looks.judge(1, 8));
        assert!(!looks.judge(0, 8), "nothing waits");
        assert!(!looks.judge(1, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_silence_is_told() {
        let confirms = ConfirmWatch::default();
        let watched = async {
            let first = confirms.wait();
            confirms.until_silent().await;
            assert!(confirms.is_silent());
            first.answered();
            tokio::time::sleep(PERIOD * 2).await;
            assert!(!confirms.is_silent());
        };
        tokio::select! {
            () = watched => {}
            () = confirms.run() => {}
        }
    }
}
