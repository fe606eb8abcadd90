//! The election of the process that writes into the cluster: it is the one that holds the Lease
//! (contract 2.21). All processes serve.
//!
//! If upstream has a Lease for the role, it is that one, so that there is one writer in a mixed
//! rollout, too. Unless `config-leader-election` says otherwise, its holder renews it every second,
//! and another process takes over within five seconds of a crash (contract 2.22). Times are
//! compared by the clock of the process that looks: a Lease is free when it has not been seen to
//! change for as long as it says.

mod timings;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::ClusterSettings;
use timings::LeaseTimings;

/// The time limit of giving up the Lease at a stop, and of reading the timings at the start.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A process that wants to write into the cluster.
pub(super) struct LeaseCandidate {
    leases: Api<Lease>,
    config_maps: Api<ConfigMap>,
    /// The name of the ConfigMap with the timings.
    config: String,
    /// The name of the Lease, which depends on the role.
    lease: &'static str,
    /// The name by which the Lease knows this process: the pod's name and a random id.
    identity: String,
}

/// The next step after the Lease was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseStep {
    /// There is no Lease: create it.
    Create,
    /// This process holds the Lease: renew it.
    Renew,
    /// Nobody holds the Lease, or its holder has not renewed it in time: take it over.
    TakeOver,
    /// Another process holds the Lease: wait.
    Wait,
}

/// The version of the Lease as it was last seen to change, and when that was.
#[derive(Debug, Default)]
struct ObservedLease {
    /// The `resourceVersion` of the Lease.
    version: Option<String>,
    /// The time at which this version was first seen.
    since: Option<Instant>,
}

impl ObservedLease {
    /// The time for which the Lease has been seen unchanged.
    fn unchanged_for(&mut self, lease: &Lease, now: Instant) -> Duration {
        if self.since.is_none() || self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since = Some(now);
        }
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// Decides on the next step by the holder of the Lease and the time since it last changed.
fn next_step(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> LeaseStep {
    let Some(spec) = spec else {
        return LeaseStep::TakeOver;
    };
    let promised = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or_default();
    match spec.holder_identity.as_deref() {
        None | Some("") => LeaseStep::TakeOver,
        Some(holder) if holder == identity => LeaseStep::Renew,
        Some(_) if unchanged >= Duration::from_secs(promised) => LeaseStep::TakeOver,
        Some(_) => LeaseStep::Wait,
    }
}

impl LeaseCandidate {
    /// A candidate for the Lease of this name in the system namespace.
    pub(super) fn new(
        client: Client,
        system_namespace: &str,
        lease: &'static str,
        cluster: &ClusterSettings,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), system_namespace),
            config_maps: Api::namespaced(client, system_namespace),
            config: cluster.config_leader_election.clone(),
            lease,
            identity: format!("{}_{}", cluster.pod_name, uuid::Uuid::new_v4()),
        }
    }

    /// Says in `leads` whether this process is the leader, until `leaving` is cancelled; then it
    /// gives the Lease up.
    pub(super) async fn run(self, is_leader: watch::Sender<bool>, leaving: CancellationToken) {
        let campaign = async {
            let timings = self.read_timings().await;
            self.run_election(&timings, &is_leader).await;
        };
        leaving.run_until_cancelled(campaign).await;
        if is_leader.send_replace(false)
            && tokio::time::timeout(RELEASE_TIMEOUT, self.release_lease())
                .await
                .is_err()
        {
            tracing::debug!("The Lease could not be given up in time");
        }
    }

    /// Reads the timings from the ConfigMap, once, at the start (contract 3.8).
    async fn read_timings(&self) -> LeaseTimings {
        let read =
            tokio::time::timeout(RELEASE_TIMEOUT, self.config_maps.get_opt(&self.config)).await;
        let found = read
            .ok()
            .and_then(Result::ok)
            .flatten()
            .and_then(|config_map| config_map.data);
        LeaseTimings::from_config_map(&found.unwrap_or_default())
    }

    async fn run_election(&self, timings: &LeaseTimings, is_leader: &watch::Sender<bool>) {
        let (mut seen, mut renewed) = (ObservedLease::default(), Instant::now());
        loop {
            let leading = match self.attempt_within_deadline(timings, &mut seen).await {
                Ok(held) => {
                    if held {
                        renewed = Instant::now();
                    }
                    held
                }
                // A conflict, or an API server that is away for a moment, does not end the
                // leadership yet.
                Err(reason) => {
                    let leading = *is_leader.borrow() && renewed.elapsed() < timings.renew_deadline;
                    tracing::debug!(reason, leading, "The Lease could not be read or written");
                    leading
                }
            };
            if is_leader.send_replace(leading) != leading {
                tracing::info!(
                    identity = self.identity,
                    leading,
                    "Who writes status has changed"
                );
            }
            // The wait differs by chance, so that waiting processes do not all try at once.
            tokio::time::sleep(timings.retry_period.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        }
    }

    /// Makes one attempt, which may take as long as the holder may try to renew; a slower API server
    /// counts as a failure.
    async fn attempt_within_deadline(
        &self,
        timings: &LeaseTimings,
        seen: &mut ObservedLease,
    ) -> Result<bool, String> {
        let attempt = self.try_acquire_or_renew(timings, seen);
        match tokio::time::timeout(timings.renew_deadline, attempt).await {
            Ok(tried) => tried.map_err(|error| error.to_string()),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        }
    }

    /// Makes one attempt to get or renew the Lease; true if this process holds it now.
    async fn try_acquire_or_renew(
        &self,
        timings: &LeaseTimings,
        seen: &mut ObservedLease,
    ) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(self.lease).await? else {
            let metadata = ObjectMeta {
                name: Some(self.lease.to_owned()),
                ..ObjectMeta::default()
            };
            let lease = Lease {
                metadata,
                spec: Some(self.lease_spec(None, LeaseStep::Create, timings)),
            };
            self.leases.create(&PostParams::default(), &lease).await?;
            return Ok(true);
        };
        let unchanged = seen.unchanged_for(&lease, Instant::now());
        let step = next_step(lease.spec.as_ref(), &self.identity, unchanged);
        if step == LeaseStep::Wait {
            return Ok(false);
        }
        let spec = self.lease_spec(lease.spec.as_ref(), step, timings);
        // The version that was seen is sent along, so that only one of two processes succeeds.
        self.leases
            .replace(
                self.lease,
                &PostParams::default(),
                &Lease {
                    spec: Some(spec),
                    ..lease
                },
            )
            .await?;
        Ok(true)
    }

    fn lease_spec(
        &self,
        before: Option<&LeaseSpec>,
        step: LeaseStep,
        timings: &LeaseTimings,
    ) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.cloned().unwrap_or_default();
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(timings.lease_duration.as_secs()).ok(),
            acquire_time: before
                .acquire_time
                .filter(|_| step == LeaseStep::Renew)
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if step == LeaseStep::TakeOver {
                transitions.saturating_add(1)
            } else {
                transitions
            }),
            ..before
        }
    }

    /// Removes this process as the holder of the Lease, if it is the holder.
    async fn release_lease(&self) {
        let Ok(Some(lease)) = self.leases.get_opt(self.lease).await else {
            return;
        };
        let Some(spec) = lease.spec.clone() else {
            return;
        };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..spec
        };
        let released = Lease {
            spec: Some(spec),
            ..lease
        };
        if let Err(error) = self
            .leases
            .replace(self.lease, &PostParams::default(), &released)
            .await
        {
            tracing::debug!(%error, "The Lease could not be given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 2.21, 2.22.
    #[test]
    fn a_lease_is_taken_when_its_holder_has_not_been_heard_of() {
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(3),
            ..LeaseSpec::default()
        };
        for (holder, unchanged, expected) in [
            ("me", 0, LeaseStep::Renew),
            ("me", 100, LeaseStep::Renew),
            ("other", 0, LeaseStep::Wait),
            ("other", 2999, LeaseStep::Wait),
            ("other", 3000, LeaseStep::TakeOver),
            ("", 0, LeaseStep::TakeOver),
        ] {
            let unchanged = Duration::from_millis(unchanged);
            assert_eq!(
                next_step(Some(&spec(holder)), "me", unchanged),
                expected,
                "{holder} {unchanged:?}"
            );
        }
        assert_eq!(next_step(None, "me", Duration::ZERO), LeaseStep::TakeOver);
        // What upstream has written counts as it is written.
        let upstream = LeaseSpec {
            lease_duration_seconds: Some(60),
            ..spec("other")
        };
        assert_eq!(
            next_step(Some(&upstream), "me", Duration::from_secs(59)),
            LeaseStep::Wait
        );
    }

    #[test]
    fn a_lease_is_as_old_as_its_last_change() {
        let lease = |version: &str| {
            let metadata = ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            };
            Lease {
                metadata,
                spec: None,
            }
        };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = ObservedLease::default();
        assert_eq!(seen.unchanged_for(&lease("1"), at(0)).as_secs(), 0);
        assert_eq!(seen.unchanged_for(&lease("1"), at(2)).as_secs(), 2);
        assert_eq!(seen.unchanged_for(&lease("2"), at(3)).as_secs(), 0);
        assert_eq!(seen.unchanged_for(&lease("2"), at(7)).as_secs(), 4);
    }
}
