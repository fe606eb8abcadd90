//! `sealpost parked`: looks after the parking queues of RabbitMQ.

use std::io::{BufRead, stdin};
use std::process::ExitCode;

use anyhow::Context;

use crate::channel::rabbitmq::Address;
use crate::channel::rabbitmq::parking::{Action, Lot, Parked, Parking, lots};
use crate::cli::{ParkedCommand, ParkedOptions, RabbitmqAccess};
use crate::control::{self, CaCerts, Settings};

/// Does what is asked with what is meant.
///
/// # Errors
/// If RabbitMQ is away, or the subscription is not there.
pub async fn run(command: &ParkedCommand) -> anyhow::Result<ExitCode> {
    let options = command.options();
    let lots = meant(options)?;
    let RabbitmqAccess { rabbitmq_uri, rabbitmq_username, rabbitmq_password, rabbitmq_ca } = &options.access;
    let uri = rabbitmq_uri.as_deref().context("no RabbitMQ is given")?;
    let credentials = (rabbitmq_username.as_deref(), rabbitmq_password.as_deref());
    let address = Address::new(uri, credentials, rabbitmq_ca.as_deref())?;
    let parking = Parking::open(&address).await?;
    match command {
        ParkedCommand::List(_) => list(&parking, &lots).await,
        ParkedCommand::Show(_) => each(&parking, &lots, Action::Show, options).await,
        ParkedCommand::Replay(_) => each(&parking, &lots, Action::Replay, options).await,
        ParkedCommand::Drop(drop) => {
            if drop.yes || confirmed(&parking, &lots).await? {
                each(&parking, &lots, Action::Drop, options).await
            } else {
                super::print("Nothing dropped\n");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn meant(options: &ParkedOptions) -> anyhow::Result<Vec<Lot>> {
    let settings = options.manifests.settings(None, None, CaCerts::Unknown);
    let settings = Settings { default_storage: options.default_channel.into(), ..settings };
    let resolution = control::resolve(&control::read(&options.manifests.filename), None, &settings);
    let mut lots = lots(&resolution.table);
    if let Some(wanted) = &options.subscription {
        lots.retain(|lot| format!("{}/{}", lot.subscription.namespace, lot.subscription.name) == *wanted);
        anyhow::ensure!(!lots.is_empty(), "{wanted} is no subscription or Trigger on RabbitMQ in these manifests");
    }
    Ok(lots)
}

async fn list(parking: &Parking, lots: &[Lot]) -> anyhow::Result<ExitCode> {
    for lot in lots {
        let count = parking.count(lot).await?;
        let count = count.map_or_else(|| "not declared yet".to_owned(), |count| count.to_string());
        super::print(&format!("{}: {count}\n", lot.subscription));
    }
    Ok(ExitCode::SUCCESS)
}

async fn each(parking: &Parking, lots: &[Lot], action: Action, options: &ParkedOptions) -> anyhow::Result<ExitCode> {
    for lot in lots {
        let done = parking.visit(lot, action, options.older_than).await?;
        let verb = match action {
            Action::Show => "parked",
            Action::Replay => "replayed",
            Action::Drop => "dropped",
        };
        super::print(&format!("{}: {} {verb}\n", lot.subscription, done.len()));
        if action == Action::Show {
            done.iter().for_each(|parked| super::print(&line(parked)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(parked: &Parked) -> String {
    let Parked { id, ty, remark, bytes } = parked;
    let event = match (id, ty) {
        (Some(id), Some(ty)) => format!("id {id}, type {ty}"),
        _ => "no event".to_owned(),
    };
    format!("  {}\n", super::printable(&format!("{event}, {bytes} bytes: {remark}")))
}

async fn confirmed(parking: &Parking, lots: &[Lot]) -> anyhow::Result<bool> {
    let mut all = 0;
    for lot in lots {
        all += parking.count(lot).await?.unwrap_or(0);
    }
    super::print(&format!("Drop up to {all} parked events of {} subscriptions for ever? [y/N] ", lots.len()));
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
