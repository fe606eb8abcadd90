//! The task of a process, by its flags and by the variables of its pod (contract 5.11, 5.12). It is
//! decided here and nowhere else.

use super::{RoleArg, RunOptions, ServedOptions, VariableLookup, environment_variable};
use crate::control::{ChannelScope, ControlTask, ObjectSource};

impl RunOptions {
    /// The task of the process: that of `--role`, else in a cluster that of the container's name,
    /// else serving channels.
    #[must_use]
    pub fn task(&self) -> ControlTask {
        self.task_from(&environment_variable)
    }

    pub(super) fn task_from(&self, variable: VariableLookup<'_>) -> ControlTask {
        if !self.kubernetes {
            return self.served.manifests_task();
        }
        match (self.served.role, variable("CONTAINER_NAME").as_deref()) {
            (Some(RoleArg::Controller), _) => {
                ControlTask::ReconcileChannels(self.cluster.reconciled_kind())
            }
            (Some(RoleArg::Ingress), _) | (None, Some("ingress")) => {
                ControlTask::RelayBrokers(ObjectSource::Reconciled)
            }
            (Some(RoleArg::Filter), _) | (None, Some("filter")) => {
                ControlTask::RelayTriggers(ObjectSource::Reconciled)
            }
            (Some(RoleArg::Channel) | None, _) => ControlTask::ServeChannels {
                kind: self.cluster.channel_kind,
                // A dispatcher of one namespace is told which one (contract 1.6).
                scope: match variable("NAMESPACE") {
                    Some(_) => ChannelScope::Namespace,
                    None => ChannelScope::Cluster,
                },
            },
        }
    }
}

impl ServedOptions {
    /// The task of a process that reads files. The controller has none there: its flags are checked
    /// as those of the process that serves its channels.
    pub(super) fn manifests_task(&self) -> ControlTask {
        match self.role {
            Some(RoleArg::Channel | RoleArg::Controller) | None => ControlTask::ServeManifests,
            Some(RoleArg::Ingress) => ControlTask::RelayBrokers(ObjectSource::Written),
            Some(RoleArg::Filter) => ControlTask::RelayTriggers(ObjectSource::Written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests;
    use crate::control::ServedChannelKind;
    fn run(arguments: &[&str]) -> RunOptions {
        tests::run(arguments).expect("options")
    }

    /// Contract 5.11, 5.12: `kubectl set image` is all that is done.
    #[test]
    fn the_container_says_the_role() {
        let channels = ControlTask::ServeChannels {
            kind: ServedChannelKind::InMemory,
            scope: ChannelScope::Cluster,
        };
        let brokers = ControlTask::RelayBrokers(ObjectSource::Reconciled);
        let triggers = ControlTask::RelayTriggers(ObjectSource::Reconciled);
        for (arguments, container, task) in [
            (&["--kubernetes"][..], "dispatcher", channels),
            (&["--kubernetes"], "ingress", brokers),
            (&["--kubernetes"], "filter", triggers),
            (&["--kubernetes"], "else", channels),
            (&["--kubernetes", "--role", "filter"], "ingress", triggers),
            (
                &["--kubernetes", "--role", "controller"],
                "ingress",
                ControlTask::ReconcileChannels(ServedChannelKind::Rabbitmq),
            ),
            (
                &[
                    "--kubernetes",
                    "--role",
                    "controller",
                    "--channel-kind",
                    "DiskChannel",
                ],
                "controller",
                ControlTask::ReconcileChannels(ServedChannelKind::Disk),
            ),
            (&["-f", "x"], "ingress", ControlTask::ServeManifests),
            (
                &["-f", "x", "--role", "ingress"],
                "filter",
                ControlTask::RelayBrokers(ObjectSource::Written),
            ),
        ] {
            let variable = |name: &str| (name == "CONTAINER_NAME").then(|| container.to_owned());
            assert_eq!(
                run(arguments).task_from(&variable),
                task,
                "{arguments:?} {container}"
            );
        }
    }

    /// Contract 1.6.
    #[test]
    fn a_dispatcher_of_a_namespace_serves_its_channels_only() {
        let options = run(&["--kubernetes", "--channel-kind", "RabbitmqChannel"]);
        let variable = |name: &str| (name == "NAMESPACE").then(|| "team".to_owned());
        let task = ControlTask::ServeChannels {
            kind: ServedChannelKind::Rabbitmq,
            scope: ChannelScope::Namespace,
        };
        assert_eq!(options.task_from(&variable), task);
    }
}
