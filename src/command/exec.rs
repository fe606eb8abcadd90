//! `sealpost exec`: runs a command as Knative's SinkBinding and ContainerSource would, with the
//! sink of its events in its environment.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::sink::{self, SinkVariables};
use crate::cli::ExecOptions;

/// The exit code of shells for a command that does not exist.
const NOT_FOUND: u8 = 127;
/// The exit code of shells for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The number that shells add to that of the signal which has ended a command.
const BY_SIGNAL: i32 = 128;
/// The largest number of signals that wait to be passed on; a command that got so many has noticed.
const MAX_PENDING_SIGNALS: usize = 16;

/// The signals that are passed on to the command.
const FORWARDED_SIGNALS: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// Runs the command, and ends with its exit code.
///
/// # Errors
/// Fails if the sink has no address, or nothing can be run at all.
pub async fn run(options: &ExecOptions) -> anyhow::Result<ExitCode> {
    // The sink is resolved first: without one, the command is not started.
    let variables = sink::sink_variables(&options.sink)?;
    let command = options.command.split_first();
    let (program, arguments) = command.context("no command is given")?;
    let mut command = Command::new(program);
    command.args(arguments);
    set_variables(&mut command, &variables);
    // Signals are listened for before the command starts, so that none is missed.
    let mut signals = ForwardedSignals::listen()?;
    match command.spawn() {
        Ok(child) => Ok(exit_code(
            wait_and_forward_signals(child, &mut signals).await?,
        )),
        Err(error) => {
            let name = super::printable(&program.to_string_lossy());
            super::print_remark(&format!("sealpost: {name}: {error}"));
            Ok(match error.kind() {
                ErrorKind::NotFound => ExitCode::from(NOT_FOUND),
                _ => ExitCode::from(NOT_EXECUTABLE),
            })
        }
    }
}

fn set_variables(command: &mut Command, variables: &SinkVariables) {
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Waits for the end of the command, and passes on the signals that come meanwhile.
async fn wait_and_forward_signals(
    mut child: Child,
    signals: &mut ForwardedSignals,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            Some(signal) = signals.received.recv() => forward_signal(signal, &child),
        }
    }
}

fn forward_signal(signal: Signal, child: &Child) {
    if matches!(signal, Signal::INT | Signal::QUIT) && is_in_foreground() {
        // The terminal has sent the signal to the command, too, so that it is not sent twice.
        return;
    }
    // A command that has just ended has no process id any more.
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        tracing::warn!(%error, "A signal could not be passed on");
    }
}

/// True if this process is in the group that the keys of a terminal send signals to.
fn is_in_foreground() -> bool {
    File::open("/dev/tty")
        .is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The exit code of the command, as shells give it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| Some(BY_SIGNAL + status.signal()?))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The signals to be passed on, as they come.
struct ForwardedSignals {
    received: mpsc::Receiver<Signal>,
    /// The tasks that listen, which end with this value.
    _listening: JoinSet<()>,
}

impl ForwardedSignals {
    fn listen() -> io::Result<Self> {
        let (sender, received) = mpsc::channel(MAX_PENDING_SIGNALS);
        let mut listening = JoinSet::new();
        for (kind, number) in FORWARDED_SIGNALS {
            let (mut signals, sender) = (signal(kind)?, sender.clone());
            listening.spawn(async move {
                while signals.recv().await.is_some() && sender.send(number).await.is_ok() {}
            });
        }
        Ok(Self {
            received,
            _listening: listening,
        })
    }
}
