//! System calls of a process that fail as long as a test wants it: strace answers them in the place
//! of the kernel. Nothing of the program is built for that.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{SOON, eventually};

/// System calls that fail until this value is dropped.
pub(crate) struct FailingCalls {
    strace: Child,
    process: u32,
}

impl FailingCalls {
    /// Has each of these calls of a process and all of its threads fail with this error, and do
    /// nothing.
    pub(crate) async fn start(process: u32, call: &str, error: &str) -> Self {
        let failing = Self {
            strace: attach(process, call, &format!("{call}:error={error}")),
            process,
        };
        eventually("strace is attached", || is_traced(process)).await;
        failing
    }
}

fn attach(process: u32, call: &str, fault: &str) -> Child {
    let started = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
        ])
        .args(["-e", &format!("inject={fault}"), "-p", &process.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.expect("strace starts")
}

/// Who traces a process: the tracer of each of its threads, 0 for nobody.
fn tracers(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let tracers = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let tracer = status
            .lines()
            .find_map(|it| it.strip_prefix("TracerPid:"))?;
        tracer.trim().parse().ok()
    });
    tracers.collect()
}

fn is_traced(process: u32) -> bool {
    let tracers = tracers(process);
    !tracers.is_empty() && tracers.iter().all(|tracer| *tracer > 0)
}

impl Drop for FailingCalls {
    fn drop(&mut self) {
        // It lets the process go, whose calls are the kernel's again.
        let signalled = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        signalled.expect("signalled");
        self.strace.wait().expect("reaped");
        let deadline = Instant::now() + SOON;
        while tracers(self.process).iter().any(|tracer| *tracer > 0) {
            assert!(Instant::now() < deadline, "strace lets the process go");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether calls can be made to fail here: strace is there, and may trace a process that it has not
/// started.
pub(crate) fn can_trace() -> bool {
    let Ok(mut other) = Command::new("sleep").arg("60").spawn() else {
        return false;
    };
    let traced = Command::new("timeout")
        .args(["10", "strace", "-qq", "-o", "/dev/null", "-e", "trace=none"])
        .args(["-p", &other.id().to_string()])
        .stderr(Stdio::null())
        .spawn();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut can_trace = false;
    if let Ok(mut traced) = traced {
        while !can_trace && Instant::now() < deadline && matches!(traced.try_wait(), Ok(None)) {
            can_trace = is_traced(other.id());
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ended = other.kill();
        let _reaped = traced.wait();
    }
    let _ended = other.kill();
    let _reaped = other.wait();
    can_trace
}
