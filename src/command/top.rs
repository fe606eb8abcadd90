//! `sealpost top`: the table of the status page in the terminal.

mod rows;
mod screen;
mod sorting;
mod state;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use super::admin::AdminClient;
use super::print;
use crate::cli::TopOptions;
use rows::TopSnapshot;
use screen::TopScreen;
use sorting::TopOrder;

/// Time between the two looks of which rates are made for a table that is printed once.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Shows the table until it is ended, or prints it where there is no terminal.
///
/// # Errors
/// Fails if the dispatcher cannot be reached at the start, or the terminal cannot be used.
pub async fn run(options: &TopOptions) -> anyhow::Result<ExitCode> {
    let dispatcher = AdminClient::new(&options.admin)?;
    let first = look(options, &dispatcher).await?;
    let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if is_terminal && !options.once {
        TopScreen::new(options.sort, first)
            .run(options, &dispatcher)
            .await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::time::sleep(BETWEEN_LOOKS.min(options.interval)).await;
    let second = look(options, &dispatcher).await?.after(&first);
    print(&view::render_text(&second, TopOrder::new(options.sort)))?;
    Ok(ExitCode::SUCCESS)
}

async fn look(options: &TopOptions, dispatcher: &AdminClient) -> anyhow::Result<TopSnapshot> {
    let status = dispatcher.get("/api/v1/status").await?;
    Ok(TopSnapshot::read(&status, options.scope.namespace()))
}
