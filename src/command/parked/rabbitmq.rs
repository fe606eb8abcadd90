//! Parked events directly in RabbitMQ, of the subscriptions of manifests, without a running
//! dispatcher.

use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{ParkedClient, ParkedSubscriptionName};
use crate::channel::parked::{
    ParkedChange, ParkedListing, ParkedOperation, ParkedStore, ParkingSubscription,
    parking_subscriptions,
};
use crate::channel::rabbitmq::RabbitmqAddress;
use crate::channel::rabbitmq::parking::ParkingQueues;
use crate::cli::ParkedOptions;
use crate::control::{self, AdvertisedCaCerts, ControlSettings};
use crate::model::BackendKind;

/// The largest number of events that are shown, as by a running dispatcher.
const MOST: usize = 1_000;

/// A client of RabbitMQ, with the subscriptions of manifests.
pub(super) struct RabbitmqParkedClient {
    parking: ParkingQueues,
    /// All subscriptions of the manifests, also those in memory, which park nothing.
    owners: Vec<ParkingSubscription>,
}

impl RabbitmqParkedClient {
    pub(super) fn new(options: &ParkedOptions) -> anyhow::Result<Self> {
        let settings = options
            .manifests
            .control_settings(None, None, AdvertisedCaCerts::Unknown);
        let settings = ControlSettings {
            default_backend: options.default_channel,
            ..settings
        };
        let resolution = control::resolve(
            &control::read_manifests(&options.manifests.filename),
            None,
            &settings,
        );
        let (uri, credentials, ca) = options
            .access
            .connection()
            .context("no RabbitMQ is given")?;
        let address = RabbitmqAddress::new(uri, credentials, ca)?;
        Ok(Self {
            parking: ParkingQueues::new(address),
            owners: parking_subscriptions(&resolution.table),
        })
    }

    /// The subscriptions of this name that park events; every one without a name.
    fn owners_by_name(&self, name: Option<&str>) -> anyhow::Result<Vec<ParkingSubscription>> {
        let is_meant = |owner: &&ParkingSubscription| {
            let key = &owner.subscription;
            name.is_none_or(|name| format!("{}/{}", key.namespace, key.name) == name)
        };
        let found: Vec<ParkingSubscription> =
            self.owners.iter().filter(is_meant).cloned().collect();
        let kept: Vec<ParkingSubscription> = found
            .iter()
            .filter(|owner| owner.backend == BackendKind::Rabbitmq)
            .cloned()
            .collect();
        if let (Some(name), true) = (name, kept.is_empty()) {
            let first = found.first().with_context(|| {
                format!("{name} is no subscription or Trigger in these manifests")
            })?;
            let (whose, channel) = (&first.subscription, &first.channel);
            anyhow::bail!(
                "{whose} is of {channel}, which is in memory, and channels in memory park nothing"
            );
        }
        Ok(kept)
    }

    fn owner(&self, target: &ParkedSubscriptionName) -> anyhow::Result<&ParkingSubscription> {
        let found = self
            .owners
            .iter()
            .find(|owner| self::subscription_of(owner) == *target);
        found.with_context(|| format!("{target} is not in these manifests"))
    }

    async fn list(&self, name: Option<&str>) -> anyhow::Result<Vec<(ParkedSubscriptionName, u64)>> {
        let owners = self.owners_by_name(name)?;
        let counts = self.parking.count(&owners).await?;
        Ok(owners.iter().map(subscription_of).zip(counts).collect())
    }
}

fn subscription_of(owner: &ParkingSubscription) -> ParkedSubscriptionName {
    let key = &owner.subscription;
    ParkedSubscriptionName {
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Runs an operation until it is done, or until Ctrl-C: then it is told to stop, and ends in order.
async fn run_until_interrupted<T>(
    older_than: Duration,
    act: impl AsyncFnOnce(&ParkedOperation) -> T,
) -> T {
    let operation = ParkedOperation {
        older_than,
        stop: CancellationToken::new(),
    };
    let mut work = std::pin::pin!(act(&operation));
    tokio::select! {
        done = &mut work => return done,
        _ = tokio::signal::ctrl_c() => operation.stop.cancel(),
    }
    work.await
}

impl ParkedClient for RabbitmqParkedClient {
    fn list<'a>(
        &'a self,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Vec<(ParkedSubscriptionName, u64)>>> {
        self.list(name).boxed()
    }

    fn show_parked<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedListing>> {
        async move {
            let owner = self.owner(target)?;
            Ok(run_until_interrupted(older_than, async |operation| {
                self.parking.show(owner, MOST, operation).await
            })
            .await?)
        }
        .boxed()
    }

    fn replay<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        async move {
            let owner = self.owner(target)?;
            Ok(run_until_interrupted(older_than, async |operation| {
                self.parking.replay(owner, operation).await
            })
            .await?)
        }
        .boxed()
    }

    fn discard<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        async move {
            let owner = self.owner(target)?;
            Ok(run_until_interrupted(older_than, async |operation| {
                self.parking.discard(owner, operation).await
            })
            .await?)
        }
        .boxed()
    }
}
