//! `sealpost parked` and `sealpost replay`, as somebody types them.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::binary;

/// How the command ended, and what it printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A `sealpost parked`, or another command, with the flags that say who is asked.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    command: &'static str,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Default for Parked {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Parked {
    /// One that asks whom these flags name.
    pub(crate) fn with(flags: &[&str]) -> Self {
        Self {
            command: "parked",
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// The same for another command.
    pub(crate) fn command(mut self, command: &'static str) -> Self {
        self.command = command;
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(binary());
        command
            .arg(self.command)
            .args(arguments)
            .args(&self.flags)
            .kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("it runs")
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.answering(arguments, "").await
    }

    /// Runs it to its end; its question is answered with this.
    pub(crate) async fn answering(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self.start(arguments);
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).await.expect("written");
        drop(stdin);
        ended(child).await
    }
}

/// Waits for the end of one that was started.
pub(crate) async fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().await.expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
