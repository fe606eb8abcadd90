//! `sealpost parked`: lists, shows, replays and drops parked events, by a running dispatcher or
//! directly in RabbitMQ and on the disk.

mod admin_api;
mod manifests;

use std::io::{BufRead, stdin};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::channel::parked::{ParkedAction, ParkedChange, ParkedListing};
use crate::cli::{ParkedCommand, ParkedOptions};
use admin_api::AdminParkedClient;
use manifests::ManifestParkedClient;

/// The name of a subscription whose parked events a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ParkedSubscriptionName {
    /// The kind in lower case, such as `trigger`.
    kind: String,
    namespace: String,
    name: String,
}

impl std::fmt::Display for ParkedSubscriptionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        f.write_str(&super::printable(&format!("{kind} {namespace}/{name}")))
    }
}

/// A backend of the command, which can read parked events and change them.
trait ParkedClient: Sync {
    /// Lists every subscription of this name, or every one without a name, with the number of its
    /// parked events.
    fn list<'a>(
        &'a self,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Vec<(ParkedSubscriptionName, u64)>>>;

    /// Shows the parked events of a subscription that are older than `older_than`.
    fn show_parked<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedListing>>;

    /// Changes the parked events of a subscription that are older than `older_than`.
    fn change<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        action: ParkedAction,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>>;
}

/// Carries out a command on the subscriptions that its options name.
///
/// # Errors
/// Fails if nobody can be asked, or the subscription does not exist.
pub async fn run(command: &ParkedCommand) -> anyhow::Result<ExitCode> {
    let options = command.options();
    let client = parked_client(options)?;
    // The subscriptions are listed first, so that a wrong name is reported before anything is
    // changed.
    let targets = client.list(options.subscription.as_deref()).await?;
    let change = |action| {
        let client = &client;
        move |target| client.change(target, action, options.older_than)
    };
    match command {
        ParkedCommand::List(_) => list(&targets),
        ParkedCommand::Show(_) => show(&*client, &targets, options).await,
        ParkedCommand::Replay(_) => {
            change_parked(&targets, "replayed", change(ParkedAction::Replay)).await
        }
        ParkedCommand::Drop(drop) if drop.yes || ask_confirmation(&targets)? => {
            change_parked(&targets, "dropped", change(ParkedAction::Discard)).await
        }
        ParkedCommand::Drop(_) => {
            super::print("Nothing dropped\n")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn parked_client(options: &ParkedOptions) -> anyhow::Result<Box<dyn ParkedClient>> {
    Ok(if options.asks_dispatcher() {
        Box::new(AdminParkedClient::new(&options.admin)?)
    } else {
        Box::new(ManifestParkedClient::new(options)?)
    })
}

fn list(targets: &[(ParkedSubscriptionName, u64)]) -> anyhow::Result<ExitCode> {
    for (target, count) in targets {
        super::print(&format!("{target}: {count}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    client: &dyn ParkedClient,
    targets: &[(ParkedSubscriptionName, u64)],
    options: &ParkedOptions,
) -> anyhow::Result<ExitCode> {
    for (target, _) in targets {
        let ParkedListing {
            parked,
            examined: looked,
            events,
        } = client.show_parked(target, options.older_than).await?;
        if looked < parked {
            super::print(&format!(
                "{target}: {parked} parked, the oldest {looked} of them looked at\n"
            ))?;
        } else {
            super::print(&format!("{target}: {} parked\n", events.len()))?;
        }
        let line = |event| format!("  {}\n", super::printable(&format!("{event}")));
        events
            .iter()
            .try_for_each(|event| super::print(&line(event)))?;
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
        let rest = if stopped {
            ", and stopped before the end: some are left"
        } else {
            ""
        };
        super::print(&format!("{target}: {done} {verb}{rest}\n"))?;
        if stopped {
            break;
        }
    }
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ask_confirmation(targets: &[(ParkedSubscriptionName, u64)]) -> anyhow::Result<bool> {
    let all: u64 = targets.iter().map(|(_, count)| count).sum();
    super::print(&format!(
        "Drop up to {all} parked events of {} subscriptions for ever? [y/N] ",
        targets.len()
    ))?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
