//! The RabbitMQ of a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{EventCopy, EventPlace, Recorder};
use super::surroundings::{SUBSCRIPTIONS, TRY, queue};
use crate::support::rabbitmq::{Client, Cluster, Node, header};

/// How long queues must look empty: a quorum queue tells its counts every 5 s, and after a start of
/// its node none before.
const COUNTED: Duration = Duration::from_secs(12);

/// One node, or a cluster of three, counted from 1.
pub(super) enum TestedRabbit {
    One(Node),
    Three(Cluster),
}

impl TestedRabbit {
    /// Starts so many nodes.
    pub(super) fn start(nodes: usize) -> Self {
        match nodes {
            1 => Self::One(Node::start()),
            3 => Self::Three(Cluster::start()),
            _ => panic!("one node or three, not {nodes}"),
        }
    }

    /// Where its nodes are.
    pub(super) fn uris(&self) -> Vec<String> {
        match self {
            Self::One(node) => vec![node.uri.clone()],
            Self::Three(cluster) => cluster.uris().to_vec(),
        }
    }

    /// `rabbitmqctl` on a node.
    pub(super) fn ctl(&self, node: usize, arguments: &[&str]) -> String {
        match self {
            Self::One(only) => only.ctl(arguments),
            Self::Three(cluster) => cluster.ctl(node, arguments),
        }
    }

    /// Stops a node in an orderly way.
    pub(super) fn stop(&self, node: usize) {
        match self {
            Self::One(only) => only.stop(),
            Self::Three(cluster) => cluster.stop(node),
        }
    }

    /// Starts a node again that was stopped or killed.
    pub(super) fn restart(&self, node: usize) {
        match self {
            Self::One(only) => only.restart(),
            Self::Three(cluster) => cluster.restart(node),
        }
    }

    pub(super) fn pause(&self, node: usize) {
        match self {
            Self::One(only) => only.pause(),
            Self::Three(cluster) => cluster.pause(node),
        }
    }

    pub(super) fn resume(&self, node: usize) {
        match self {
            Self::One(only) => only.resume(),
            Self::Three(cluster) => cluster.resume(node),
        }
    }

    /// The cluster, for what only a cluster survives.
    pub(super) fn three(&self) -> &Cluster {
        match self {
            Self::One(_) => panic!("this needs three nodes"),
            Self::Three(cluster) => cluster,
        }
    }

    /// How many messages each queue has, ready and unacknowledged.
    fn queues(&self) -> BTreeMap<String, u64> {
        let text = self.ctl(
            1,
            &["list_queues", "--no-table-headers", "name", "messages"],
        );
        let row = |line: &str| {
            let (name, count) = line.rsplit_once(char::is_whitespace)?;
            // A queue without a leader has no count.
            Some((
                name.trim().to_owned(),
                count.trim().parse().unwrap_or(u64::MAX),
            ))
        };
        text.lines().filter_map(row).collect()
    }

    /// Waits until every queue but those of parked events is empty; what is left when none of them
    /// has moved for as long as that.
    pub(super) async fn until_empty(&self, limit: Duration) -> Vec<(String, u64)> {
        let (mut deadline, mut before) = (Instant::now() + limit, BTreeMap::new());
        let mut empty_since = None;
        loop {
            let mut queues = self.queues();
            queues.retain(|name, count| *count > 0 && !name.ends_with(":parked"));
            empty_since = if queues.is_empty() {
                empty_since.or(Some(Instant::now()))
            } else {
                None
            };
            let is_done = empty_since.is_some_and(|since| since.elapsed() >= COUNTED);
            if is_done || Instant::now() > deadline {
                return queues.into_iter().collect();
            }
            if queues != before {
                deadline = Instant::now() + limit;
            }
            before = queues;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What RabbitMQ says of its queues and of who consumes them: what is looked at first when
    /// something is left.
    pub(super) fn state(&self) -> String {
        let tables: [&[&str]; 4] = [
            &[
                "list_queues",
                "name",
                "leader",
                "consumers",
                "messages_ready",
                "messages_unacknowledged",
            ],
            &["list_consumers"],
            &[
                "list_channels",
                "pid",
                "connection",
                "number",
                "prefetch_count",
                "messages_unacknowledged",
            ],
            &["list_connections", "pid", "name", "state", "channels"],
        ];
        tables.map(|arguments| self.ctl(1, arguments)).join("\n")
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
                    let text =
                        header(&properties, &format!("cloudEvents_{name}")).expect("an attribute");
                    text.parse().expect("a number")
                };
                let (event, number) = (
                    number("id"),
                    u16::try_from(number(TRY)).expect("a small number"),
                );
                let (place, at) = (EventPlace::ParkingQueue, recorder.now());
                recorder.came(EventCopy {
                    event,
                    number,
                    subscription,
                    place,
                    at,
                    status: 200,
                });
            }
        }
    }
}
