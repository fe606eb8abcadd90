//! The steps of a nemesis, made by chance from a seed, and as a text that can be repeated.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use fastrand::Rng;

use super::surroundings::SUBSCRIPTIONS;

/// Something that is done to replicas or to RabbitMQ. Replicas and nodes are counted from 1;
/// lengths are in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NemesisStep {
    /// SIGKILL, and a new process.
    KillReplica(usize),
    /// All replicas killed so many times, each time as soon as they deliver: on the same unfinished
    /// events.
    KillRow(usize),
    /// Each replica stopped by SIGTERM and started anew, one after the other.
    Roll,
    /// One AMQP connection closed by RabbitMQ.
    CloseConnection,
    /// SIGKILL, and a start after so long.
    KillNode(usize, u64),
    /// An orderly stop, and a start at once.
    RestartNode(usize),
    /// SIGSTOP, and SIGCONT after so long.
    PauseNode(usize, u64),
    /// The other nodes not seen for so long, clients seen all the time.
    PartNode(usize, u64),
    /// Taken out of the cluster, and in again, empty.
    ForgetNode(usize),
    /// Publishing blocked for so long.
    Alarm(u64),
    /// A policy on the Triggers' queues for so long.
    Policy(QueuePolicy, u64),
    /// A Trigger's queue deleted.
    DeleteQueue(String),
}

/// A policy that makes RabbitMQ give up messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuePolicy {
    /// After two deliveries that were not acknowledged; with replicas killed meanwhile.
    DeliveryLimit,
    /// After a tenth of a second.
    MessageTtl,
    /// Beyond five.
    MaxLength,
}

impl QueuePolicy {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (
            Self::DeliveryLimit,
            "delivery-limit",
            r#"{"delivery-limit":2}"#,
        ),
        (Self::MessageTtl, "message-ttl", r#"{"message-ttl":100}"#),
        (Self::MaxLength, "max-length", r#"{"max-length":5}"#),
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(policy, ..)| *policy == self)
            .expect("one of all")
            .1
    }

    /// As `rabbitmqctl set_policy` takes it.
    pub(super) fn definition(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(policy, ..)| *policy == self)
            .expect("one of all")
            .2
    }
}

impl Display for NemesisStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillReplica(replica) => write!(f, "kill-replica {replica}"),
            Self::KillRow(times) => write!(f, "kill-row {times}"),
            Self::Roll => f.write_str("roll"),
            Self::CloseConnection => f.write_str("close-connection"),
            Self::KillNode(node, seconds) => write!(f, "kill-node {node} {seconds}"),
            Self::RestartNode(node) => write!(f, "restart-node {node}"),
            Self::PauseNode(node, seconds) => write!(f, "pause-node {node} {seconds}"),
            Self::PartNode(node, seconds) => write!(f, "part-node {node} {seconds}"),
            Self::ForgetNode(node) => write!(f, "forget-node {node}"),
            Self::Alarm(seconds) => write!(f, "alarm {seconds}"),
            Self::Policy(policy, seconds) => write!(f, "policy {} {seconds}", policy.name()),
            Self::DeleteQueue(name) => write!(f, "delete-queue {name}"),
        }
    }
}

impl FromStr for NemesisStep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let unknown = || format!("no step of a nemesis: {text:?}");
        let number = |word: &str| word.parse::<usize>().ok().ok_or_else(unknown);
        let seconds = |word: &str| word.parse::<u64>().ok().ok_or_else(unknown);
        Ok(match words.as_slice() {
            ["kill-replica", replica] => Self::KillReplica(number(replica)?),
            ["kill-row", times] => Self::KillRow(number(times)?),
            ["roll"] => Self::Roll,
            ["close-connection"] => Self::CloseConnection,
            ["kill-node", node, length] => Self::KillNode(number(node)?, seconds(length)?),
            ["restart-node", node] => Self::RestartNode(number(node)?),
            ["pause-node", node, length] => Self::PauseNode(number(node)?, seconds(length)?),
            ["part-node", node, length] => Self::PartNode(number(node)?, seconds(length)?),
            ["forget-node", node] => Self::ForgetNode(number(node)?),
            ["alarm", length] => Self::Alarm(seconds(length)?),
            ["policy", name, length] => {
                let policy = QueuePolicy::ALL
                    .iter()
                    .find(|(_, known, _)| known == name)
                    .ok_or_else(unknown)?
                    .0;
                Self::Policy(policy, seconds(length)?)
            }
            ["delete-queue", name] if SUBSCRIPTIONS.iter().any(|case| case.name == *name) => {
                Self::DeleteQueue((*name).to_owned())
            }
            _ => return Err(unknown()),
        })
    }
}

/// Steps in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NemesisScript(pub(super) Vec<NemesisStep>);

impl NemesisScript {
    /// For one node and three replicas, with seven kills.
    pub(super) fn short(seed: u64) -> Self {
        use NemesisStep::{CloseConnection, KillReplica, KillRow, RestartNode, Roll};
        let mut rng = Rng::with_seed(seed);
        let killed = KillReplica(rng.usize(1..=3));
        let mut steps = [killed, KillRow(2), Roll, CloseConnection, RestartNode(1)];
        rng.shuffle(&mut steps);
        Self(steps.to_vec())
    }

    /// For three nodes and three replicas: twenty kills of replicas in steps of their own, and
    /// everything else that can be done to them and to RabbitMQ.
    pub(super) fn long(seed: u64) -> Self {
        use NemesisStep::{
            Alarm, CloseConnection, DeleteQueue, ForgetNode, KillNode, KillReplica, KillRow,
        };
        use NemesisStep::{PartNode, PauseNode, Policy, RestartNode, Roll};
        let mut rng = Rng::with_seed(seed);
        let kills = std::iter::repeat_with(|| KillReplica(rng.usize(1..=3))).take(11);
        let mut steps: Vec<_> = kills.collect();
        let mut node = || rng.usize(1..=3);
        steps.extend([KillRow(3), Roll, CloseConnection, CloseConnection, Alarm(3)]);
        steps.extend([
            PartNode(node(), 10),
            PartNode(node(), 20),
            PauseNode(node(), 15),
            PauseNode(node(), 30),
        ]);
        steps.extend([
            KillNode(node(), 5),
            KillNode(node(), 15),
            RestartNode(node()),
            ForgetNode(node()),
        ]);
        steps.extend(QueuePolicy::ALL.map(|(policy, ..)| Policy(policy, 3)));
        steps.push(DeleteQueue("filtered".to_owned()));
        rng.shuffle(&mut steps);
        Self(steps)
    }
}

impl Display for NemesisScript {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.0.iter().map(NemesisStep::to_string).collect();
        f.write_str(&steps.join("; "))
    }
}

impl FromStr for NemesisScript {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(';')
            .filter(|step| !step.trim().is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_is_printed_can_be_repeated() {
        for script in [NemesisScript::short(7), NemesisScript::long(7)] {
            assert_eq!(script.to_string().parse(), Ok(script));
        }
        assert_eq!(NemesisScript::long(1), NemesisScript::long(1));
        assert_ne!(NemesisScript::long(1), NemesisScript::long(2));
        for wrong in [
            "kill",
            "kill-node 1",
            "alarm x",
            "policy none 3",
            "delete-queue none",
        ] {
            assert_eq!(
                wrong.parse::<NemesisScript>(),
                Err(format!("no step of a nemesis: {wrong:?}"))
            );
        }
    }
}
