//! The `sealpost` binary: reads the options, starts the runtime, and gives the exit code.

use std::process::ExitCode;

use sealpost::cli::{Cli, CliCommand, FilterCommand, LogFormat, RunOptions, unread_variables};
use sealpost::telemetry::{AuditFile, LogLevel, LogStyle, start_logging};
use sealpost::{app, command, wire_text};
use tokio::task::JoinSet;

/// The exit code of a command line that cannot be carried out.
const USAGE: u8 = 2;
/// The number of threads for blocking work: look-ups of names, which have a lower limit of their
/// own, and files.
const BLOCKING: usize = 1024;
/// The longest error that is printed at the end, in bytes; it may repeat what others have said.
const LONGEST_ERROR: usize = 4096;
/// The level of logs, if neither a flag nor a ConfigMap sets one.
const INFO: &str = "info";

fn main() -> ExitCode {
    let cli = Cli::read();
    // Only the first provider of a process counts, so that it is installed before anything uses
    // TLS.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    // The format and the level of logs are known before anything is logged.
    let (style, level) = match &cli.command {
        CliCommand::Run(options) if options.kubernetes => (
            log_style(options.log_format.or(Some(LogFormat::Json))),
            log_level(options),
        ),
        CliCommand::Run(options) => (log_style(options.log_format), log_level(options)),
        _ => (LogStyle::Text, INFO),
    };
    // Usage errors are found before logging starts, and end the process with 2.
    let usage = match &cli.command {
        CliCommand::Run(options) => options.validate(),
        CliCommand::Check(options) => options.validate(),
        CliCommand::Filter(FilterCommand::Test(options)) => options.manifests.validate(),
        CliCommand::Parked(parked) => parked.options().validate(),
        CliCommand::Disk(disk) => disk.validate(),
        CliCommand::Explain(options) => options.validate(),
        _ => Ok(()),
    };
    let audited = match &cli.command {
        CliCommand::Run(options) => options.audit_log.as_deref().map(AuditFile::new),
        _ => None,
    };
    let audited = match (usage, audited.transpose()) {
        (Err(error), _) => return print_error(&error, ExitCode::from(USAGE)),
        (Ok(()), Err(error)) => return print_error(&error, ExitCode::FAILURE),
        (Ok(()), Ok(audited)) => audited,
    };
    let log = match start_logging(style, level, audited) {
        Ok(log) => log,
        Err(error) => return print_error(&error, ExitCode::from(USAGE)),
    };
    // The first line comes before the runtime, so that a failure to start has a line before it.
    log_start(&cli.command);
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
    {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli.command, log));
            // Look-ups of names that nobody waits for any more do not keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => print_error(&format!("no runtime: {error}"), ExitCode::FAILURE),
    }
}

async fn run(command: CliCommand, log: LogLevel) -> ExitCode {
    let ended = match command {
        CliCommand::Run(options) => run_on_worker_thread(app::run(*options, log)).await,
        CliCommand::Check(options) => command::check::run(&options),
        CliCommand::Schema(options) => command::schema::run(&options),
        CliCommand::Filter(FilterCommand::Test(options)) => command::filter::test(&options),
        CliCommand::Parked(parked) => command::parked::run(&parked).await,
        CliCommand::Replay(options) => command::replay::run(&options).await,
        CliCommand::Disk(disk) => command::disk::run(&disk),
        CliCommand::Get(options) => command::get::run(&options).await,
        CliCommand::Top(options) => command::top::run(&options).await,
        CliCommand::Tap(options) => command::tap::run(&options).await,
        CliCommand::Explain(options) => command::tap::explain(&options).await,
        CliCommand::Send(options) => command::send::run(*options).await,
        CliCommand::Display(options) => command::display::run(options).await,
        CliCommand::Exec(options) => command::exec::run(&options).await,
        CliCommand::Env(options) => command::env::run(&options),
        CliCommand::Completions(options) => command::completions::run(&options),
        CliCommand::Man(options) => command::man::run(&options),
    };
    ended.unwrap_or_else(|error| print_error(&format!("{error:#}"), ExitCode::FAILURE))
}

/// Runs the future on a thread of the runtime instead of the main one: the memory that only the
/// start needs is used again by the same thread alone, and there is more work to come on that one.
async fn run_on_worker_thread(
    app: impl Future<Output = anyhow::Result<ExitCode>> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    let ended = JoinSet::from_iter([app]).join_next().await;
    ended.unwrap_or_else(|| Ok(Ok(ExitCode::SUCCESS)))?
}

/// Logs what the process is, in the first line of one that stays; then the variables that its
/// author may believe to have set.
fn log_start(command: &CliCommand) {
    if let CliCommand::Run(options) = command {
        let configuration = if options.kubernetes {
            "cluster"
        } else {
            "files"
        };
        let role = options.task().role_name();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            role,
            configuration,
            "sealpost starts"
        );
    }
    for variable in unread_variables() {
        let name = variable.name;
        match variable.suggestion {
            Some(meant) => {
                tracing::warn!(name, "Nothing reads this variable, did you mean {meant}?")
            }
            None => {
                tracing::warn!(
                    name,
                    "Nothing reads this variable: every flag is one, as `sealpost run --help` shows"
                )
            }
        }
    }
}

fn log_level(options: &RunOptions) -> &str {
    options.log_level.as_deref().unwrap_or(INFO)
}

fn log_style(format: Option<LogFormat>) -> LogStyle {
    match format {
        Some(LogFormat::Text) => LogStyle::Text,
        Some(LogFormat::Json) => LogStyle::Json,
        None => LogStyle::Auto,
    }
}

#[expect(
    clippy::print_stderr,
    reason = "logging may not have started, and this line is for whoever typed the command"
)]
fn print_error(error: &str, code: ExitCode) -> ExitCode {
    eprintln!(
        "sealpost: {}",
        wire_text::escaped_excerpt(error, LONGEST_ERROR)
    );
    code
}
