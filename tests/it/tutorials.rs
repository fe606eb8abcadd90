//! The tutorials (docs/TUTORIALS.md) do what they say: their blocks are run as they stand, on other
//! ports.

mod moves;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::python::python;
use crate::support::{binary, eventually};

/// How long a step may take that waits for something.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a reader does.
#[derive(Clone, Debug)]
enum Step {
    /// A block: what stands behind its fence, and what is in it.
    Block { info: String, text: String },
    /// Stops the `sealpost run` that was started last.
    Interrupt,
}

impl Step {
    fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Block { info, .. } if info == wanted)
    }

    fn holds(&self, part: &str) -> bool {
        matches!(self, Self::Block { text, .. } if text.contains(part))
    }
}

fn page() -> String {
    fs::read_to_string(root().join("docs/TUTORIALS.md")).expect("the page")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The steps below a heading, up to the next heading of any depth.
fn steps(heading: &str) -> Vec<Step> {
    let page = page();
    let mut lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let mut steps = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            let text = block.map(|line| format!("{line}\n")).collect();
            steps.push(Step::Block {
                info: info.to_owned(),
                text,
            });
        } else if line.starts_with('#') {
            break;
        } else if line.contains("Ctrl-C") {
            steps.push(Step::Interrupt);
        }
    }
    assert!(!steps.is_empty(), "nothing below {heading}");
    steps
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A program that stays up.
struct Staying {
    command: String,
    child: Child,
}

/// A reader, in a directory of their own.
struct Walk {
    directory: TempDir,
    http: u16,
    admin: u16,
    subscriber: u16,
    environment: Vec<(&'static str, String)>,
    staying: Vec<Staying>,
    outputs: Vec<PathBuf>,
}

impl Walk {
    /// One whose subscriber is at this port.
    fn to(subscriber: u16) -> Self {
        let directory = TempDir::new().expect("a directory");
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).expect("made");
        symlink(binary(), bin.join("sealpost")).expect("linked");
        Self {
            directory,
            http: free_port(),
            admin: free_port(),
            subscriber,
            environment: Vec::new(),
            staying: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What stands in the page, with the ports of this walk.
    fn here(&self, text: &str) -> String {
        text.replace("8080", &self.http.to_string())
            .replace("9090", &self.admin.to_string())
            .replace("9000", &self.subscriber.to_string())
    }

    /// A shell that does this, and writes what it says into a file of its own.
    fn shell(&mut self, script: &str) -> Command {
        let output = self.path(&format!("output-{}", self.outputs.len()));
        let file = fs::File::create(&output).expect("a file");
        self.outputs.push(output);
        let path = format!(
            "{}:{}:{}",
            self.path("bin").display(),
            python().parent().expect("a directory").display(),
            std::env::var("PATH").expect("a path")
        );
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.directory.path())
            .env("PATH", path)
            .env("SEALPOST_HTTP_ADDR", format!("127.0.0.1:{}", self.http))
            .env("SEALPOST_HTTPS_ADDR", "127.0.0.1:0")
            .env("SEALPOST_ADMIN_ADDR", format!("127.0.0.1:{}", self.admin))
            .env("SEALPOST_ADMIN", format!("http://127.0.0.1:{}", self.admin))
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .kill_on_drop(true);
        command
    }

    /// All that was printed until now.
    fn said(&self) -> String {
        let texts = self.outputs.iter().map(fs::read_to_string);
        texts.map(|text| text.expect("text")).collect()
    }

    fn last_said(&self) -> String {
        fs::read_to_string(self.outputs.last().expect("an output")).expect("text")
    }

    /// Does what a block says.
    async fn take(&mut self, step: &Step) {
        let Step::Block { info, text } = step else {
            return self.interrupt().await;
        };
        let text = self.here(text);
        match info.split_once(' ').unwrap_or((info, "")) {
            (_, "elsewhere") => {}
            ("sh", "stays") => self.start(&text).await,
            ("sh", "" | "afterwards") => self.run(&text).await,
            ("sh", until) => {
                self.repeat(&text, until.strip_prefix("until ").expect(until))
                    .await
            }
            ("text", _) => self.expect_lines(&text).await,
            (_, name) => fs::write(self.path(name), text).expect("written"),
        }
    }

    async fn run(&mut self, script: &str) {
        let status = tokio::time::timeout(PATIENCE, self.shell(script).status()).await;
        let status = status.expect(script).expect("it runs");
        assert!(status.success(), "{script}{}", self.last_said());
    }

    /// Starts what stays up; returns when it is ready, or says something.
    async fn start(&mut self, script: &str) {
        let child = self
            .shell(&format!("exec {script}"))
            .spawn()
            .expect("it starts");
        let command = script.to_owned();
        let ready = if command.starts_with("sealpost run") {
            "Ready"
        } else {
            "Listening"
        };
        self.staying.push(Staying { command, child });
        eventually(script, || self.last_said().contains(ready)).await;
    }

    /// Runs a command again and again until it says this.
    async fn repeat(&mut self, script: &str, until: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.run(script).await;
            if self.last_said().contains(until) {
                return;
            }
            assert!(Instant::now() < deadline, "{script}{}", self.said());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Each of these lines was printed by something, or is soon.
    async fn expect_lines(&self, text: &str) {
        for line in text.lines() {
            eventually(line, || self.said().contains(line)).await;
        }
    }

    /// What Ctrl-C does to the `sealpost run` that was started last.
    async fn interrupt(&mut self) {
        let running = |staying: &Staying| staying.command.starts_with("sealpost run");
        let last = self
            .staying
            .iter()
            .rposition(running)
            .expect("one that runs");
        let mut stopped = self.staying.remove(last);
        let id = stopped.child.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(id).expect("a process"), Signal::INT).expect("signalled");
        let ended = tokio::time::timeout(PATIENCE, stopped.child.wait()).await;
        assert!(
            ended.expect("it stops").expect("a status").success(),
            "{}",
            self.said()
        );
    }
}

/// The first tutorial in a language: what is common to all, around what the language has.
async fn five_minutes(heading: &str) -> Walk {
    let common = steps("## An event in five minutes");
    let mut walk = Walk::to(free_port());
    symlink(
        root().join("target/node/node_modules"),
        walk.path("node_modules"),
    )
    .expect("linked");
    for step in common.iter().filter(|step| step.is("yaml orders.yaml")) {
        walk.take(step).await;
    }
    for step in &steps(heading) {
        if step.is("sh") {
            for run in common.iter().filter(|step| step.is("sh stays")) {
                walk.take(run).await;
            }
        }
        walk.take(step).await;
    }
    for info in ["sh afterwards", "text afterwards"] {
        let step = common.iter().find(|step| step.is(info)).expect(info);
        walk.take(step).await;
    }
    walk
}

/// The version of the SDK is the one that is installed for the tests.
fn installs_as(heading: &str, setup: &str, sdk: &str) {
    let script = fs::read_to_string(root().join(setup)).expect(setup);
    assert!(script.contains(sdk), "{setup} does not install {sdk}");
    let once = steps(heading)
        .into_iter()
        .find(|step| step.is("sh elsewhere"));
    assert!(once.expect("how to install").holds(sdk), "{heading}: {sdk}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_minutes_with_python() {
    installs_as("### Python", "tests/python/setup", "cloudevents==2.2.0");
    five_minutes("### Python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_minutes_with_javascript() {
    let sdk = root().join("target/node/node_modules/cloudevents");
    assert!(sdk.exists(), "no SDK of JavaScript: run tests/node/setup");
    installs_as("### JavaScript", "tests/node/setup", "cloudevents@10.0.0");
    five_minutes("### JavaScript").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_yaml_of_a_cluster() {
    let mut walk = Walk::to(free_port());
    for step in &steps("## Your cluster's YAML, on a laptop") {
        walk.take(step).await;
    }
}

/// What no test runs says so: in the heading's first words, or as a command for a cluster.
#[test]
fn what_is_not_run_is_said() {
    let page = page();
    let kinds = ["### Go", "### Java"];
    for heading in kinds {
        let (_, below) = page.split_once(&format!("{heading}\n\n")).expect(heading);
        assert!(below.starts_with("No test runs this"), "{heading}");
    }
    let unrun = page.matches(" elsewhere\n").count();
    assert_eq!(unrun, 6, "blocks that no test runs");
}
