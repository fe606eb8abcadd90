//! `sealpost replay`: what a channel on disk has retained goes to one subscription again, by a
//! running dispatcher.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::admin::AdminClient;
use crate::channel::replay::{ReplayCount, ReplayReport};
use crate::cli::ReplayOptions;

/// Period in which progress is asked for.
const PERIOD: Duration = Duration::from_millis(200);
/// Periods after which a line of progress is printed.
const PERIODS_OF_LINE: u32 = 5;

/// An answer about the replays to one subscription.
#[derive(Deserialize)]
struct ReplayAnswer<T> {
    kind: String,
    namespace: String,
    name: String,
    #[serde(flatten)]
    told: T,
}

impl<T> ReplayAnswer<T> {
    fn subscription(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        super::printable(&format!("{kind} {namespace}/{name}"))
    }
}

/// The client of one command.
struct ReplayClient<'o> {
    admin: AdminClient,
    options: &'o ReplayOptions,
}

/// Carries out the command.
///
/// # Errors
/// Fails if nobody can be asked, or there is nothing to replay.
pub async fn run(options: &ReplayOptions) -> anyhow::Result<ExitCode> {
    let client = ReplayClient {
        admin: AdminClient::new(&options.admin)?,
        options,
    };
    if options.stop {
        let stopped = client.post(&client.path("/stop")).await?;
        // That it did not come to its end is what was asked for.
        return report_end(&stopped).map(|_code| ExitCode::SUCCESS);
    }
    if options.progress {
        let latest = client.progress().await?;
        super::print(&format!("{}\n", progress_line(&latest)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.dry_run {
        return client.count().await;
    }
    client.replay().await
}

impl ReplayClient<'_> {
    /// The path of an action, without what is asked to be replayed.
    fn path(&self, action: &str) -> String {
        self.path_with(action, form_urlencoded::Serializer::new(String::new()))
    }

    /// The path of an action with what is asked to be replayed.
    fn request_path(&self, action: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let rate = self.options.rate.map(|rate| rate.to_string());
        let asked = [
            ("from", &self.options.from),
            ("until", &self.options.until),
            ("filter", &self.options.filter),
            ("rate", &rate),
        ];
        for (name, value) in asked.into_iter() {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        self.path_with(action, query)
    }

    fn path_with(
        &self,
        action: &str,
        mut query: form_urlencoded::Serializer<'_, String>,
    ) -> String {
        let name = super::admin::path_of_name(&self.options.subscription);
        if let Some(kind) = &self.options.kind {
            query.append_pair("kind", kind);
        }
        format!("/api/v1/replay/{name}{action}?{}", query.finish())
    }

    async fn post(&self, path: &str) -> anyhow::Result<ReplayAnswer<ReplayReport>> {
        parse(self.admin.post(path).await?)
    }

    async fn progress(&self) -> anyhow::Result<ReplayAnswer<ReplayReport>> {
        parse(self.admin.get(&self.path("")).await?)
    }

    async fn count(&self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.get(&self.request_path("/count")).await?;
        let counted: ReplayAnswer<ReplayCount> = parse(answer)?;
        let subscription = counted.subscription();
        let ReplayCount {
            events, examined, ..
        } = counted.told;
        super::print(&format!(
            "{subscription}: {events} events would be replayed, of {examined} retained\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Begins a replay, and waits until everything has been sent, or somebody interrupts.
    async fn replay(&self) -> anyhow::Result<ExitCode> {
        let started = self.post(&self.request_path("/start")).await?;
        let id = started.told.id.clone();
        super::print_remark(&format!("{}: replay {id} begins", started.subscription()));
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let mut period = tokio::time::interval(PERIOD);
        let mut latest = started;
        for turn in 1.. {
            tokio::select! {
                _ = period.tick() => {}
                _ = &mut interrupted => return self.stop(&latest).await,
            }
            latest = self.progress().await.with_context(|| lost(&latest))?;
            anyhow::ensure!(
                latest.told.id == id,
                "another replay is under way now, {}: {id} has ended",
                super::printable(&latest.told.id)
            );
            if is_over(&latest.told) {
                break;
            }
            if turn % PERIODS_OF_LINE == 0 {
                super::print_remark(&progress_line(&latest));
            }
        }
        report_end(&latest)
    }

    /// Ends the sending; what is under way goes on to its end.
    async fn stop(&self, latest: &ReplayAnswer<ReplayReport>) -> anyhow::Result<ExitCode> {
        match self.post(&self.path("/stop")).await {
            Ok(stopped) => report_end(&stopped),
            // It may have ended a moment ago.
            Err(error) => match self.progress().await {
                Ok(ended) if ended.told.id == latest.told.id && ended.told.is_sent() => {
                    report_end(&ended)
                }
                _ => Err(error),
            },
        }
    }
}

/// True if nothing is to be sent any more, and no attempt is under way.
fn is_over(report: &ReplayReport) -> bool {
    report.lost || report.is_sent() && report.under_way <= report.waiting
}

fn parse<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<ReplayAnswer<T>> {
    serde_json::from_value(answer).context("the dispatcher's answer is not understood")
}

/// What has become of a replay whose process does not answer any more.
fn lost(latest: &ReplayAnswer<ReplayReport>) -> String {
    format!(
        "{}: {} replayed until now; the replay goes on when the process runs again (--progress, --stop)",
        latest.subscription(),
        latest.told.sent
    )
}

/// One line about how far a replay is.
fn progress_line(latest: &ReplayAnswer<ReplayReport>) -> String {
    let report = &latest.told;
    let (done, all) = (
        report.position.saturating_sub(report.first),
        report.until.saturating_sub(report.first),
    );
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    // One that was stopped ends where it was stopped.
    let (way, state) = match (report.lost, report.stopped, is_over(report)) {
        (true, ..) => (String::new(), "its log was moved, removed or replaced"),
        (_, true, _) => (String::new(), "stopped"),
        (_, _, true) => (format!(", {percent} % of the way"), "ended"),
        (_, _, false) => (format!(", {percent} % of the way"), "under way"),
    };
    format!(
        "{}: {}{way}, {} under way, position @{}, replay {}, {state}",
        latest.subscription(),
        sent(report),
        report.under_way,
        report.position,
        super::printable(&report.id),
    )
}

/// How many events were sent, as far as the process knows.
fn sent(report: &ReplayReport) -> String {
    let since = if report.resumed {
        " since the process was started"
    } else {
        ""
    };
    format!("{} replayed{since}", report.sent)
}

/// Tells the count of a replay that has ended.
fn report_end(ended: &ReplayAnswer<ReplayReport>) -> anyhow::Result<ExitCode> {
    let (subscription, report) = (ended.subscription(), &ended.told);
    let mut line = format!("{subscription}: {}", sent(report));
    if report.under_way > 0 {
        line.push_str(&format!(", {} of them not ended yet", report.under_way));
    }
    if report.stopped {
        line.push_str(&format!(
            ", and stopped before the end: go on with --from @{}",
            report.position
        ));
    }
    super::print(&format!("{line}\n"))?;
    anyhow::ensure!(
        !report.lost,
        "{subscription}: the log of the channel was moved, removed or replaced before everything was \
         replayed: when it is back, go on with --from @{}",
        report.position
    );
    Ok(if report.stopped {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
