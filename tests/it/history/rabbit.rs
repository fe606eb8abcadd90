//! The RabbitMQ of a run: one node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{EventCopy, EventPlace, Recorder};
use super::surroundings::{SUBSCRIPTIONS, TRY, queue};
use crate::support::rabbitmq::{Client, Node, header};

/// One node, or a cluster of three, counted from 1.
pub(super) enum TestedRabbit {
    One(Node),
}

impl TestedRabbit {
    /// Starts so many nodes.
    pub(super) fn start(nodes: usize) -> Self {
        assert_eq!(nodes, 1, "one node or three");
        Self::One(Node::start())
    }

    /// Where its nodes are.
    pub(super) fn uris(&self) -> Vec<String> {
        match self {
            Self::One(node) => vec![node.uri.clone()],
        }
    }

    /// `rabbitmqctl` on a node.
    pub(super) fn ctl(&self, _node: usize, arguments: &[&str]) -> String {
        match self {
            Self::One(node) => node.ctl(arguments),
        }
    }

    /// Stops a node in an orderly way, and starts it again.
    pub(super) fn restart(&self, _node: usize) {
        match self {
            Self::One(node) => {
                node.stop();
                node.restart();
            }
        }
    }

    pub(super) fn pause(&self, _node: usize) {
        match self {
            Self::One(node) => node.pause(),
        }
    }

    pub(super) fn resume(&self, _node: usize) {
        match self {
            Self::One(node) => node.resume(),
        }
    }

    /// How many messages each queue has, ready and unacknowledged.
    fn queues(&self) -> BTreeMap<String, u64> {
        let text = self.ctl(1, &["list_queues", "--no-table-headers", "name", "messages"]);
        let row = |line: &str| {
            let (name, count) = line.rsplit_once(char::is_whitespace)?;
            // A queue without a leader has no count.
            Some((name.trim().to_owned(), count.trim().parse().unwrap_or(u64::MAX)))
        };
        text.lines().filter_map(row).collect()
    }

    /// Waits until every queue but those of parked events is empty; what is left when none of them has moved for as long
    /// as that.
    pub(super) async fn until_empty(&self, limit: Duration) -> Vec<(String, u64)> {
        let (mut deadline, mut before) = (Instant::now() + limit, BTreeMap::new());
        loop {
            let mut queues = self.queues();
            queues.retain(|name, count| *count > 0 && !name.ends_with(":parked"));
            if queues.is_empty() || Instant::now() > deadline {
                return queues.into_iter().collect();
            }
            if queues != before {
                deadline = Instant::now() + limit;
            }
            before = queues;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes what is parked out of the parking queues, and notes it.
    pub(super) async fn drain_parked(&self, recorder: &Recorder) {
        let (client, queues) = (Client::new(&self.uris()[0]).await, self.queues());
        for (subscription, case) in SUBSCRIPTIONS.iter().enumerate() {
            let parked = format!("{}:parked", queue(case.name));
            while queues.contains_key(&parked)
                && let Some((properties, _body)) = client.take(&parked).await
            {
                let number = |name: &str| {
                    let text = header(&properties, &format!("cloudEvents_{name}")).expect("an attribute");
                    text.parse().expect("a number")
                };
                let (event, number) = (number("id"), u16::try_from(number(TRY)).expect("a small number"));
                let (place, at) = (EventPlace::ParkingQueue, recorder.now());
                recorder.came(EventCopy { event, number, subscription, place, at, status: 200 });
            }
        }
    }
}
