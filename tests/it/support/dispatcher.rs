//! A `sealpost run` of its own, in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{binary, eventually_some};

/// How to start one.
pub(crate) struct Builder {
    directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    admin: String,
    /// What stands before the program, to run it in other surroundings.
    before: Vec<String>,
}

/// A running dispatcher; ended when it is dropped.
pub(crate) struct Dispatcher {
    child: Child,
    directory: TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Builder {
    /// Passes an argument.
    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Binds the admin port to this address instead of loopback.
    pub(crate) fn admin(mut self, address: &str) -> Self {
        address.clone_into(&mut self.admin);
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets it open so many descriptors.
    pub(crate) fn descriptors(mut self, count: u32) -> Self {
        let limited = format!("ulimit -n {count}; exec \"$@\"");
        self.before = ["sh", "-c", &limited, "sh"].map(str::to_owned).to_vec();
        self
    }

    /// Lets its files grow to this many KiB; a write beyond fails, and does not end it.
    pub(crate) fn largest_file(mut self, kib: u32) -> Self {
        // Its log is written by another process.
        let limited =
            format!("exec 2> >(exec cat >&2); trap '' XFSZ; ulimit -f {kib}; exec \"$@\"");
        self.before = ["bash", "-c", &limited, "bash"].map(str::to_owned).to_vec();
        self
    }

    /// Gives it a standard output that nobody reads: a pipe, which is full after 64 KiB.
    pub(crate) fn unread_output(mut self) -> Self {
        let pipe = self.path("pipe");
        let piped = format!("mkfifo '{0}' && exec \"$@\" 1<>'{0}'", pipe.display());
        self.before = ["sh", "-c", &piped, "sh"].map(str::to_owned).to_vec();
        self
    }

    /// Runs it where names are asked of this server, which needs a file system of its own: see
    /// [`can_resolve`].
    pub(crate) fn resolver(mut self, address: &str) -> Self {
        let file = self.path("resolv.conf");
        fs::write(
            &file,
            format!("nameserver {address}\noptions timeout:30 attempts:2\n"),
        )
        .expect("written");
        let mounted = format!(
            "mount --bind '{}' /etc/resolv.conf && exec \"$@\"",
            file.display()
        );
        self.before = ["unshare", "-rm", "sh", "-c", &mounted, "sh"]
            .map(str::to_owned)
            .to_vec();
        self
    }

    /// Gives it a data directory on a file system of its own, which is mounted so: see
    /// [`can_mount`].
    pub(crate) fn data_on(mut self, mount: &str) -> Self {
        let directory = self.path("data");
        fs::create_dir(&directory).expect("made");
        let directory = directory.to_str().expect("text").to_owned();
        let mounted = format!("mount {mount} '{directory}' && exec \"$@\"");
        self.before = ["unshare", "-rm", "sh", "-c", &mounted, "sh"]
            .map(str::to_owned)
            .to_vec();
        self.arg("--data-dir").arg(directory)
    }

    /// Lets it read this from its standard input.
    pub(crate) fn stdin(self, content: &str) -> Self {
        self.file("stdin", content).arg("-f").arg("-")
    }

    /// Writes another file beside the manifests.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.directory.path().join(name), content).expect("written");
        self
    }

    /// Where a file beside the manifests is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Dispatcher {
        let dispatcher = self.launch().await;
        dispatcher.until_ready().await;
        dispatcher
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn launch(self) -> Dispatcher {
        let Self {
            directory,
            arguments,
            environment,
            admin,
            before,
        } = self;
        let at = |name: &str| directory.path().join(name);
        let output = |name: &str| Stdio::from(fs::File::create(at(name)).expect("a file"));
        let stdin = fs::File::open(at("stdin")).map_or_else(|_none| Stdio::null(), Stdio::from);
        let mut command = before
            .iter()
            .map(Into::into)
            .chain([binary().into_os_string()]);
        let child = Command::new(command.next().expect("a program"))
            .args(command)
            .args([
                "run",
                "--http-addr",
                "127.0.0.1:0",
                "--https-addr",
                "127.0.0.1:0",
                "--admin-addr",
                &admin,
            ])
            .arg("-f")
            .arg(at("manifests"))
            .arg("--state-dir")
            .arg(at("state"))
            .arg("--ports-file")
            .arg(at("ports.json"))
            .args(arguments)
            .envs(environment)
            .stdin(stdin)
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("sealpost starts");
        Dispatcher::listening(child, directory).await
    }
}

impl Dispatcher {
    /// A process that writes `ports.json` into its directory, and its log to `stderr` there; waits
    /// until it listens.
    pub(super) async fn listening(child: Child, directory: TempDir) -> Self {
        let ports = directory.path().join("ports.json");
        let ports: Value = eventually_some("sealpost starts", || {
            serde_json::from_slice(&fs::read(&ports).ok()?).ok()
        })
        .await;
        // One that takes no events has an admin port only.
        let written = |name: &str| ports.get(name).unwrap_or(&ports["admin"]);
        let address = |name: &str| {
            written(name)
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        let (http, https, admin) = (address("http"), address("https"), address("admin"));
        Self {
            child,
            directory,
            http,
            https,
            admin,
        }
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&self) {
        super::eventually("sealpost is ready", || self.log().contains("Ready")).await;
    }

    /// One that is to serve these manifests.
    pub(crate) fn of(yaml: &str) -> Builder {
        let directory = TempDir::new().expect("a directory");
        fs::create_dir(directory.path().join("manifests")).expect("made");
        fs::write(directory.path().join("manifests/m.yaml"), yaml).expect("written");
        Builder {
            directory,
            arguments: Vec::new(),
            environment: Vec::new(),
            admin: "127.0.0.1:0".to_owned(),
            before: Vec::new(),
        }
    }

    /// One that serves these manifests.
    pub(crate) async fn standalone(yaml: &str) -> Self {
        Self::of(yaml).start().await
    }

    /// URL of a path on the plain listener.
    pub(crate) fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// URL of a path on the TLS listener.
    pub(crate) fn https_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https.port())
    }

    /// The development CA.
    pub(crate) fn ca(&self) -> String {
        fs::read_to_string(self.path("state/ca.crt")).expect("a CA")
    }

    /// Where one of its files is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces its manifest, atomically; returns when it is in effect.
    pub(crate) async fn apply(&self, yaml: &str) {
        self.apply_to("m.yaml", yaml).await;
    }

    /// Replaces one of its manifests, atomically; returns when it is in effect.
    pub(crate) async fn apply_to(&self, name: &str, yaml: &str) {
        self.changing(|| replace(&self.path("manifests").join(name), yaml))
            .await;
    }

    /// Does something to its manifests; returns when that is in effect.
    pub(crate) async fn changing(&self, change: impl FnOnce()) {
        let applied = || self.logged(&["Configuration applied"]).len();
        let before = applied();
        change();
        super::eventually("the configuration is applied", || applied() > before).await;
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// What it has printed.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.path("stdout")).unwrap_or_default()
    }

    /// The lines of its log that contain all of `parts`.
    pub(crate) fn logged(&self, parts: &[&str]) -> Vec<String> {
        let log = self.log();
        log.lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
            .collect()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually_some("sealpost ends", || self.child.try_wait().expect("a child")).await
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Resident memory now and at its peak.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let field = |name: &str| {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .expect("a field");
            line.split_whitespace()
                .nth(1)
                .expect("a number")
                .parse()
                .expect("a number")
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Processor time used until now.
    pub(crate) fn cpu(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        // User and system time, in hundredths of a second.
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// One of its counters.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        self.counter_if_any(name).await.expect("a counter")
    }

    /// One of its counters; `None` as long as it is not known.
    async fn counter_if_any(&self, name: &str) -> Option<u64> {
        let text = self.admin_text("/metrics").await.1;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("sealpost_{name} ")))?;
        Some(value.parse().expect("a number"))
    }

    /// The series of a family whose labels contain all of `parts`, a line each.
    pub(crate) async fn series(&self, name: &str, parts: &[&str]) -> Vec<String> {
        let text = self.admin_text("/metrics").await.1;
        let of_family = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name));
        of_family
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
            .collect()
    }

    /// The value of the one series of that family and these labels; 0 if there is none.
    pub(crate) async fn series_value(&self, name: &str, parts: &[&str]) -> f64 {
        let found = self.series(name, parts).await;
        assert!(found.len() < 2, "{found:?}");
        found.first().map_or(0.0, |line| {
            let value = line.rsplit(' ').next().expect("a value");
            value.parse().expect("a number")
        })
    }

    /// Waits until a counter says this.
    pub(crate) async fn until_counter(&self, name: &str, wanted: u64) {
        let deadline = std::time::Instant::now() + super::SOON;
        loop {
            let value = self.counter_if_any(name).await;
            if value == Some(wanted) {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{name} stays {value:?}, not {wanted}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Waits until `/readyz` says that everything is served.
    pub(crate) async fn until_serving(&self) {
        self.until_readyz(200, "").await;
    }

    /// Waits until `/readyz` has this status, and says this.
    pub(crate) async fn until_readyz(&self, status: u16, part: &str) {
        let deadline = std::time::Instant::now() + super::SOON;
        loop {
            let (found, text) = self.admin_text("/readyz").await;
            if found == status && text.contains(part) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{found} {text}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Status and text of an admin path; status 0 if nobody answers.
    pub(crate) async fn admin_text(&self, path: &str) -> (u16, String) {
        match super::sender::plain()
            .get(format!("http://{}{path}", self.admin))
            .send()
            .await
        {
            Ok(response) => (
                response.status().as_u16(),
                response.text().await.unwrap_or_default(),
            ),
            Err(_) => (0, String::new()),
        }
    }

    /// An object of the admin API.
    pub(crate) async fn object(&self, kind: &str, name: &str) -> Value {
        let (_, text) = self.admin_text(&format!("/api/v1/{kind}")).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let items = list["items"].as_array().expect("a list");
        items
            .iter()
            .find(|item| item["metadata"]["name"] == name)
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// Waits until an object satisfies a condition.
    pub(crate) async fn until_object(
        &self,
        kind: &str,
        name: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = std::time::Instant::now() + super::SOON;
        loop {
            let object = self.object(kind, name).await;
            if condition(&object) {
                return object;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{kind} {name} stays {object}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of sealpost ---\n{}", self.log());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("ended");
            self.child.wait().expect("reaped");
        }
    }
}

/// Whether [`Builder::resolver`] works here.
pub(crate) fn can_resolve() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount --bind /dev/null /etc/resolv.conf"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Whether [`Builder::data_on`] works here.
pub(crate) fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs none /mnt"])
        .output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The `Ready` condition of an object.
pub(crate) fn ready(object: &Value) -> &Value {
    let conditions = object["status"]["conditions"]
        .as_array()
        .expect("conditions");
    conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .expect("a Ready condition")
}

/// Replaces a file, atomically.
pub(crate) fn replace(path: &Path, content: &str) {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, content).expect("written");
    fs::rename(&unfinished, path).expect("renamed");
}
