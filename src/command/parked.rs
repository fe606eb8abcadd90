//! `sealpost parked`: looks after parked events, of a running dispatcher, or straight in RabbitMQ.

mod admin_api;
mod rabbitmq;

use std::io::{BufRead, stdin};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::channel::parked::{ParkedChange, ParkedListing};
use crate::cli::{ParkedCommand, ParkedOptions};
use admin_api::AdminParkedClient;
use rabbitmq::RabbitmqParkedClient;

/// A subscription whose parked events are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ParkedSubscriptionName {
    kind: String,
    namespace: String,
    name: String,
}

impl std::fmt::Display for ParkedSubscriptionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, namespace, name } = self;
        f.write_str(&super::printable(&format!("{kind} {namespace}/{name}")))
    }
}

/// Somebody who can be asked about parked events, and told to do something with them.
trait ParkedClient: Sync {
    /// Every subscription of this name, or every one, with the number of its parked events.
    fn list<'a>(&'a self, name: Option<&'a str>) -> BoxFuture<'a, anyhow::Result<Vec<(ParkedSubscriptionName, u64)>>>;

    /// What is parked.
    fn show_parked<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedListing>>;

    /// Puts it back.
    fn replay<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>>;

    /// Deletes it.
    fn discard<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>>;
}

/// Does what is asked with what is meant.
///
/// # Errors
/// If nobody can be asked, or the subscription is not there.
pub async fn run(command: &ParkedCommand) -> anyhow::Result<ExitCode> {
    let options = command.options();
    let keeper: Box<dyn ParkedClient> = if options.asks_dispatcher() {
        Box::new(AdminParkedClient::new(&options.admin)?)
    } else {
        Box::new(RabbitmqParkedClient::new(options)?)
    };
    let targets = keeper.list(options.subscription.as_deref()).await?;
    match command {
        ParkedCommand::List(_) => {
            targets.iter().try_for_each(|(target, count)| super::print(&format!("{target}: {count}\n")))?;
            Ok(ExitCode::SUCCESS)
        }
        ParkedCommand::Show(_) => show(&*keeper, &targets, options).await,
        ParkedCommand::Replay(_) => {
            change_parked(&targets, "replayed", |target| keeper.replay(target, options.older_than)).await
        }
        ParkedCommand::Drop(drop) if drop.yes || ask_confirmation(&targets)? => {
            change_parked(&targets, "dropped", |target| keeper.discard(target, options.older_than)).await
        }
        ParkedCommand::Drop(_) => {
            super::print("Nothing dropped\n")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn show(
    keeper: &dyn ParkedClient,
    targets: &[(ParkedSubscriptionName, u64)],
    options: &ParkedOptions,
) -> anyhow::Result<ExitCode> {
    for (target, _) in targets {
        let ParkedListing { parked, examined: looked, events } = keeper.show_parked(target, options.older_than).await?;
        if looked < parked {
            super::print(&format!("{target}: {parked} parked, the oldest {looked} of them looked at\n"))?;
        } else {
            super::print(&format!("{target}: {} parked\n", events.len()))?;
        }
        let line = |event| format!("  {}\n", super::printable(&format!("{event}")));
        events.iter().try_for_each(|event| super::print(&line(event)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn change_parked<'t>(
    targets: &'t [(ParkedSubscriptionName, u64)],
    verb: &str,
    act: impl Fn(&'t ParkedSubscriptionName) -> BoxFuture<'t, anyhow::Result<ParkedChange>>,
) -> anyhow::Result<ExitCode> {
    let mut is_whole = true;
    for (target, _) in targets {
        let ParkedChange { done, stopped } = act(target).await?;
        is_whole &= !stopped;
        let rest = if stopped { ", and stopped before the end: some are left" } else { "" };
        super::print(&format!("{target}: {done} {verb}{rest}\n"))?;
        if stopped {
            break;
        }
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask_confirmation(targets: &[(ParkedSubscriptionName, u64)]) -> anyhow::Result<bool> {
    let all: u64 = targets.iter().map(|(_, count)| count).sum();
    super::print(&format!("Drop up to {all} parked events of {} subscriptions for ever? [y/N] ", targets.len()))?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
