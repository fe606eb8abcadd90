//! A process whose work is measured.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process on the first processor, ended when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// A program that will run on the first processor.
    pub(crate) fn pinned(program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("a program that starts"))
    }

    /// User and system time of the process so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("a process");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The most memory that the process has had resident.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("ended");
        self.0.wait().expect("reaped");
    }
}

/// Moves this process to the second processor, if there is one.
pub(crate) fn pin_self() {
    let id = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", "1", &id]).stdout(Stdio::null()).status();
    if !pinned.is_ok_and(|status| status.success()) {
        eprintln!("not pinned: taskset failed");
    }
}
