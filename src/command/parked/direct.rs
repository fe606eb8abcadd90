//! Parked events straight in RabbitMQ, of the subscriptions of manifests, without a running dispatcher.

use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Keeper, Target};
use crate::channel::parked::{ParkedChange, ParkedErrand, ParkedLook, ParkedOwner, ParkedStore, owners};
use crate::channel::rabbitmq::Address;
use crate::channel::rabbitmq::parking::Parking;
use crate::cli::ParkedOptions;
use crate::control::{self, CaCerts, Settings};
use crate::model::Storage;

/// Events that are shown at most, as by a running dispatcher.
const MOST: usize = 1_000;

/// RabbitMQ, and the subscriptions of manifests.
pub(super) struct Direct {
    parking: Parking,
    owners: Vec<ParkedOwner>,
}

impl Direct {
    pub(super) fn new(options: &ParkedOptions) -> anyhow::Result<Self> {
        let settings = options.manifests.settings(None, None, CaCerts::Unknown);
        let settings = Settings { default_storage: options.default_channel.into(), ..settings };
        let resolution = control::resolve(&control::read(&options.manifests.filename), None, &settings);
        let (uri, credentials, ca) = options.access.given().context("no RabbitMQ is given")?;
        let address = Address::new(uri, credentials, ca)?;
        Ok(Self { parking: Parking::new(address), owners: owners(&resolution.table) })
    }

    /// Those of this name that park events.
    fn named(&self, name: Option<&str>) -> anyhow::Result<Vec<ParkedOwner>> {
        let key = |owner: &ParkedOwner| format!("{}/{}", owner.subscription.namespace, owner.subscription.name);
        let is_meant = |owner: &&ParkedOwner| name.is_none_or(|name| key(owner) == name);
        let found: Vec<ParkedOwner> = self.owners.iter().filter(is_meant).cloned().collect();
        let kept: Vec<ParkedOwner> = found.iter().filter(|owner| owner.storage == Storage::Rabbitmq).cloned().collect();
        if let (Some(name), true) = (name, kept.is_empty()) {
            let first =
                found.first().with_context(|| format!("{name} is no subscription or Trigger in these manifests"))?;
            let (whose, channel) = (&first.subscription, &first.channel);
            anyhow::bail!("{whose} is of {channel}, which is in memory, and channels in memory park nothing");
        }
        Ok(kept)
    }

    fn owner(&self, target: &Target) -> anyhow::Result<&ParkedOwner> {
        let found = self.owners.iter().find(|owner| self::target(owner) == *target);
        found.with_context(|| format!("{target} is not in these manifests"))
    }

    async fn list(&self, name: Option<&str>) -> anyhow::Result<Vec<(Target, u64)>> {
        let owners = self.named(name)?;
        let counts = self.parking.list(&owners).await?;
        Ok(owners.iter().map(target).zip(counts).collect())
    }
}

fn target(owner: &ParkedOwner) -> Target {
    let key = &owner.subscription;
    Target { kind: key.kind.as_str().to_owned(), namespace: key.namespace.clone(), name: key.name.clone() }
}

/// Does it until it is done, or somebody presses Ctrl-C: then it comes to an orderly end.
async fn errand<T>(older_than: Duration, act: impl AsyncFnOnce(&ParkedErrand) -> T) -> T {
    let errand = ParkedErrand { older_than, stop: CancellationToken::new() };
    let mut work = std::pin::pin!(act(&errand));
    tokio::select! {
        done = &mut work => return done,
        _ = tokio::signal::ctrl_c() => errand.stop.cancel(),
    }
    work.await
}

impl Keeper for Direct {
    fn list<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, anyhow::Result<Vec<(Target, u64)>>> {
        self.list(name).boxed()
    }

    fn show<'a>(&'a self, target: &'a Target, older_than: Duration) -> BoxFuture<'a, anyhow::Result<ParkedLook>> {
        async move {
            let owner = self.owner(target)?;
            Ok(errand(older_than, async |errand| self.parking.show(owner, MOST, errand).await).await?)
        }
        .boxed()
    }

    fn replay<'a>(&'a self, target: &'a Target, older_than: Duration) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        async move {
            let owner = self.owner(target)?;
            Ok(errand(older_than, async |errand| self.parking.replay(owner, errand).await).await?)
        }
        .boxed()
    }

    fn discard<'a>(&'a self, target: &'a Target, older_than: Duration) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        async move {
            let owner = self.owner(target)?;
            Ok(errand(older_than, async |errand| self.parking.discard(owner, errand).await).await?)
        }
        .boxed()
    }
}
