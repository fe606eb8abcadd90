//! Senders that go on until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;
use crate::support::sender::event;

/// A few senders, each sending one event after the other.
pub(super) struct Traffic {
    stop: CancellationToken,
    sent: Arc<AtomicUsize>,
    senders: JoinSet<Vec<String>>,
}

impl Traffic {
    /// Starts sending to a URL.
    pub(super) fn start(client: &Client, url: &str) -> Self {
        let (stop, sent, mut senders) = (CancellationToken::new(), Arc::default(), JoinSet::new());
        for sender in 0..3 {
            senders.spawn(run(
                client.clone(),
                url.to_owned(),
                stop.clone(),
                Arc::clone(&sent),
                sender,
            ));
        }
        Self {
            stop,
            sent,
            senders,
        }
    }

    /// How many events were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many more were sent.
    pub(super) async fn more(&self, count: usize) {
        let until = self.sent() + count;
        eventually("events are sent", || self.sent() >= until).await;
    }

    /// Stops; what was answered otherwise than by 202.
    pub(super) async fn stop(self) -> Vec<String> {
        self.more(1).await;
        self.stop.cancel();
        self.senders.join_all().await.concat()
    }
}

async fn run(
    client: Client,
    url: String,
    stop: CancellationToken,
    sent: Arc<AtomicUsize>,
    sender: usize,
) -> Vec<String> {
    let mut failures = Vec::new();
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        match event(&client, &url, &format!("{sender}-{number}"))
            .send()
            .await
        {
            Ok(answer) if answer.status() == 202 => {}
            Ok(answer) => failures.push(answer.status().to_string()),
            Err(error) => failures.push(format!("{error:?}")),
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    failures
}
