//! Parked events directly in RabbitMQ and on the disk, of the subscriptions of manifests, without a
//! running dispatcher.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{ParkedClient, ParkedSubscriptionName};
use crate::channel::disk::parked_logs::open_parked_logs;
use crate::channel::parked::{
    ParkedAction, ParkedChange, ParkedListing, ParkedOperation, ParkedStore, ParkingSubscription,
    parking_subscriptions,
};
use crate::channel::rabbitmq::parking::ParkingQueues;
use crate::cli::ParkedOptions;
use crate::control::{self, AdvertisedCaCerts, ControlSettings};
use crate::model::BackendKind;

/// The largest number of events that are shown, as by a running dispatcher.
const MOST: usize = 1_000;

/// The stores of the backends, with the subscriptions of manifests.
pub(super) struct ManifestParkedClient {
    /// Missing if no RabbitMQ is given.
    rabbitmq: Option<ParkingQueues>,
    data_directory: PathBuf,
    /// Opened when the first subscription of a channel on disk is asked for.
    disk: OnceLock<Box<dyn ParkedStore>>,
    /// All subscriptions of the manifests, also those in memory, which park nothing.
    owners: Vec<ParkingSubscription>,
}

impl ManifestParkedClient {
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
        let client = Self {
            rabbitmq: options.access.address()?.map(ParkingQueues::new),
            data_directory: options.data_directory().to_owned(),
            disk: OnceLock::new(),
            owners: parking_subscriptions(&resolution.table),
        };
        anyhow::ensure!(
            client.rabbitmq.is_some() || !client.has_any(BackendKind::Rabbitmq),
            "no RabbitMQ is given: set SEALPOST_RABBITMQ_URI, or --rabbitmq-uri; or leave out -f to \
             ask a running dispatcher"
        );
        Ok(client)
    }

    fn has_any(&self, kind: BackendKind) -> bool {
        self.owners.iter().any(|owner| owner.backend == kind)
    }

    /// The store of a backend.
    fn store(&self, kind: BackendKind) -> anyhow::Result<&dyn ParkedStore> {
        if kind == BackendKind::Rabbitmq {
            let rabbitmq = self.rabbitmq.as_ref().context("no RabbitMQ is given")?;
            return Ok(rabbitmq);
        }
        if let Some(disk) = self.disk.get() {
            return Ok(&**disk);
        }
        let opened = open_parked_logs(&self.data_directory)?;
        Ok(&**self.disk.get_or_init(|| opened))
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
            .filter(|owner| owner.backend != BackendKind::Memory)
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
        let mut listed = Vec::new();
        for kind in [BackendKind::Rabbitmq, BackendKind::Disk] {
            let of_kind = owners.iter().filter(|owner| owner.backend == kind);
            let of_kind: Vec<_> = of_kind.cloned().collect();
            if !of_kind.is_empty() {
                let counts = self.store(kind)?.count(&of_kind).await?;
                listed.extend(of_kind.iter().map(subscription_of).zip(counts));
            }
        }
        Ok(listed)
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
        wants_data: false,
        stop: CancellationToken::new(),
    };
    let mut work = std::pin::pin!(act(&operation));
    tokio::select! {
        done = &mut work => return done,
        _ = tokio::signal::ctrl_c() => operation.stop.cancel(),
    }
    work.await
}

impl ParkedClient for ManifestParkedClient {
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
            let store = self.store(owner.backend)?;
            Ok(run_until_interrupted(older_than, async |operation| {
                store.show(owner, MOST, operation).await
            })
            .await?)
        }
        .boxed()
    }

    fn change<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        action: ParkedAction,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        async move {
            let owner = self.owner(target)?;
            let store = self.store(owner.backend)?;
            Ok(run_until_interrupted(older_than, async |operation| {
                store.change(owner, action, operation).await
            })
            .await?)
        }
        .boxed()
    }
}
