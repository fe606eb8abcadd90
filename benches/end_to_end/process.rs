//! A process whose work is measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A process on the first processor, ended when it is dropped. What it is asked is answered with
/// its children's part.
pub(crate) struct Process(Child);

impl Process {
    /// A program that will run on the first processor.
    pub(crate) fn pinned(program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command
            .args(["-c", "0"])
            .arg(program)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(profile) = std::env::var_os("SEALPOST_BENCH_PROFILE") {
            command.env("LLVM_PROFILE_FILE", profile);
        }
        command
    }

    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("a program that starts"))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.ask_to_end();
        self.0.wait().expect("reaped");
    }

    /// Asks it to end, and waits until it has, for some seconds: one that writes a profile does so
    /// then.
    pub(crate) async fn end(&mut self) {
        self.ask_to_end();
        for _ in 0..1000 {
            if self.0.try_wait().expect("a child").is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn ask_to_end(&self) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).expect("a process");
        kill_process(pid, Signal::TERM).expect("a process of ours");
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.family().iter().map(|process| cpu_of(process)).sum()
    }

    /// The most memory that has been resident. Pages that parent and child share count twice.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory that is resident now.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// Open files, and how many of them are sockets.
    pub(crate) fn files(&self) -> (u64, u64) {
        let entries =
            |process: PathBuf| std::fs::read_dir(process.join("fd")).expect("a process of ours");
        let files = self
            .family()
            .into_iter()
            .flat_map(entries)
            .filter_map(|entry| {
                // One that is closed meanwhile cannot be read.
                entry
                    .ok()
                    .and_then(|entry| std::fs::read_link(entry.path()).ok())
            });
        files.fold((0, 0), |(all, sockets), file| {
            (
                all + 1,
                sockets + u64::from(file.to_string_lossy().starts_with("socket:")),
            )
        })
    }

    fn status(&self, name: &str) -> u64 {
        let value = |process: PathBuf| {
            let status = std::fs::read_to_string(process.join("status")).expect("a process");
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .expect("a line of this name");
            line.split_whitespace()
                .nth(1)
                .expect("a number")
                .parse::<u64>()
                .expect("a number")
        };
        self.family().into_iter().map(value).sum()
    }

    /// Directories in `/proc` of the process and its children.
    fn family(&self) -> Vec<PathBuf> {
        let id = self.0.id().to_string();
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let ids = std::iter::once(id.as_str()).chain(children.split_whitespace());
        ids.map(|id| Path::new("/proc").join(id)).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("ended");
        self.0.wait().expect("reaped");
    }
}

/// User and system time so far of the process with this directory in `/proc`.
pub(crate) fn cpu_of(process: &Path) -> Duration {
    let stat = std::fs::read_to_string(process.join("stat")).expect("a process");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    let ticks = fields[11..=12]
        .iter()
        .map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// User and system time that the first processor has spent on all processes.
pub(crate) fn busy() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").expect("a file");
    let line = stat
        .lines()
        .find(|line| line.starts_with("cpu0 "))
        .expect("a processor");
    // user, nice, system
    let ticks = line
        .split_whitespace()
        .skip(1)
        .take(3)
        .map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Moves this process to the second processor, if there is one.
pub(crate) fn pin_self() {
    let id = std::process::id().to_string();
    let pinned = Command::new("taskset")
        .args(["-a", "-p", "-c", "1", &id])
        .stdout(Stdio::null())
        .status();
    if !pinned.is_ok_and(|status| status.success()) {
        eprintln!("not pinned: taskset failed");
    }
}
