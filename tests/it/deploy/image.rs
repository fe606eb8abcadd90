//! The image: what the Dockerfile says, and that what it puts together runs as a cluster would run
//! it. There is no engine for containers here: user and mount namespaces take its place.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::running::Running;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{ANY_PORTS, binary, eventually_some};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions of the Dockerfile, each on one line, without comments.
fn instructions() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/Dockerfile")).expect("a Dockerfile");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<&str>>().join("\n").replace("\\\n", " ");
    joined
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

fn arguments<'a>(all: &'a [String], name: &str) -> Vec<&'a str> {
    all.iter()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map(str::trim)
        .collect()
}

/// Of the last stage, which is the image.
fn last_stage(all: &[String]) -> &[String] {
    let at = all
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .expect("a stage");
    &all[at..]
}

/// Contract 1.3, 1.4: a numeric user that is not root, and an entrypoint that needs no arguments
/// and no shell.
#[test]
fn the_image_has_a_number_for_a_user_and_no_shell() {
    let all = instructions();
    let stage = last_stage(&all);
    let user = arguments(stage, "USER");
    assert_eq!(user.len(), 1);
    let ids: Vec<u32> = user[0]
        .split(':')
        .map(|id| id.parse().expect("a number"))
        .collect();
    assert!(ids.len() == 2 && ids.iter().all(|id| *id != 0), "{user:?}");
    let entrypoint: Vec<String> =
        serde_json::from_str(arguments(stage, "ENTRYPOINT")[0]).expect("the exec form");
    assert_eq!(entrypoint, ["/sealpost"]);
    assert!(arguments(stage, "CMD").is_empty() && arguments(stage, "RUN").is_empty());
}

/// A base image by a whole version, which can be overridden by one with a digest; `scratch` is no
/// image.
#[test]
fn no_tag_floats() {
    let file = fs::read_to_string(root().join("deploy/Dockerfile")).expect("a Dockerfile");
    assert!(
        !file.contains("syntax="),
        "the frontend would be an image with a tag"
    );
    let all = instructions();
    let named: BTreeSet<&str> = arguments(&all, "FROM")
        .iter()
        .filter_map(|from| from.split(' ').find(|word| !word.starts_with("--")))
        .collect();
    assert_eq!(named, BTreeSet::from(["$RUST_IMAGE", "scratch"]));
    assert_eq!(arguments(last_stage(&all), "FROM"), ["scratch"]);
    let arguments = arguments(&all, "ARG");
    let image = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("RUST_IMAGE="))
        .expect("a base image");
    let (name, tag) = image.split_once(':').expect("a tag");
    assert_eq!(name, "rust");
    let (version, variant) = tag.split_once('-').expect("a version and a variant");
    let numbers: Vec<u32> = version
        .split('.')
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert_eq!(numbers.len(), 3, "{version}");
    assert!(!variant.is_empty());
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let required = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("a version");
    let required: Vec<u32> = required
        .trim_matches('"')
        .split('.')
        .map(|number| number.parse().expect("a number"))
        .collect();
    assert!(numbers >= required, "{version} is older than rust-version");
    assert!(arguments.contains(&"TARGETARCH"));
}

#[test]
fn the_build_is_locked_and_of_release() {
    let runs = instructions()
        .into_iter()
        .filter(|line| line.starts_with("RUN "))
        .collect::<Vec<String>>()
        .join("\n");
    let steps: Vec<&str> = runs
        .split(';')
        .map(str::trim)
        .filter(|step| step.contains("deploy/image/") || step.contains("deploy/package/"))
        .collect();
    assert_eq!(
        steps,
        [
            "binary=\"$(deploy/image/build \"$(cat /arch)-unknown-linux-gnu\")\"",
            "deploy/image/root \"$binary\" /image",
            "deploy/package/bill \"$(cat /arch)-unknown-linux-gnu\" /image/usr/share/doc/sealpost/sealpost.cdx.json",
        ],
        "the image is what these scripts make"
    );
    let script = fs::read_to_string(root().join("deploy/image/build")).expect("a script");
    let script = script.replace("\\\n", " ");
    let cargo: Vec<&str> = script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(|line| line.contains("cargo build") || line.contains("cargo bench"))
        .collect();
    assert_eq!(cargo.len(), 3, "{cargo:?}");
    assert!(
        cargo.iter().all(|line| line.contains("--locked")),
        "{cargo:?}"
    );
    assert!(cargo[0].contains("cargo build --release "), "{}", cargo[0]);
}

/// Training is chosen; whoever does not choose it has the image in a third of the time.
#[test]
fn nothing_is_trained_by_default() {
    assert!(arguments(&instructions(), "ARG").contains(&"TRAINED=no"));
    let version = Command::new("rustc").arg("-vV").output().expect("rustc");
    let version = String::from_utf8(version.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("a triple");
    let (out, calls, _) = built(host, "no");
    assert_eq!(out, format!("target/{host}/release/sealpost\n"));
    assert_eq!(calls.len(), 1, "{calls:?}");
}

/// Where it is from, what it is, what is in it.
#[test]
fn labels_tell_where_the_image_is_from() {
    let all = instructions();
    let labels = arguments(last_stage(&all), "LABEL").join(" ");
    for label in [
        "org.opencontainers.image.version=$VERSION",
        "org.opencontainers.image.revision=$REVISION",
        "org.opencontainers.image.created=$CREATED",
        "org.opencontainers.image.source=$SOURCE",
        "org.opencontainers.image.licenses=Apache-2.0",
        "dev.sealpost.sbom=/usr/share/doc/sealpost/sealpost.cdx.json",
    ] {
        assert!(labels.contains(label), "{label} in {labels}");
    }
    let version = concat!("VERSION=", env!("CARGO_PKG_VERSION"));
    assert!(arguments(&all, "ARG").contains(&version));
}

/// For an architecture that cannot run here, the script says so and builds without training.
#[test]
fn another_architecture_is_not_trained() {
    let triple = "riscv64gc-unknown-linux-gnu";
    let (out, calls, err) = built(triple, "yes");
    assert_eq!(out, format!("target/{triple}/release/sealpost\n"));
    let build = format!("cargo build --release --locked --quiet --bin sealpost --target {triple}");
    assert_eq!(calls, [build], "{err}");
    assert!(err.contains("nothing is trained"), "{err}");
}

/// What the script prints, how it calls cargo, and what it says. Nothing is built: this `cargo` only
/// says how it was called.
fn built(triple: &str, trained: &str) -> (String, Vec<String>, String) {
    let directory = TempDir::new().expect("a directory");
    let cargo = directory.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"cargo $*\" >&2\n").expect("written");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("set");
    let path = std::env::var("PATH").expect("a path");
    let mut script = Command::new(root().join("deploy/image/build"));
    script
        .arg(triple)
        .env("TRAINED", trained)
        .env("PATH", format!("{}:{path}", directory.path().display()));
    let output = script.output().expect("bash");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    let calls = err.lines().filter(|line| line.starts_with("cargo "));
    (out, calls.map(str::to_owned).collect(), err)
}

/// What cargo finds to build there.
fn targets(directory: &Path) -> Vec<String> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args([
        "metadata",
        "--locked",
        "--offline",
        "--no-deps",
        "--format-version",
        "1",
    ]);
    let output = metadata
        .current_dir(directory)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let targets = metadata["packages"][0]["targets"]
        .as_array()
        .expect("targets");
    let target = |target: &Value| {
        Some(format!(
            "{} {}",
            target["kind"][0].as_str()?,
            target["name"].as_str()?
        ))
    };
    targets.iter().filter_map(target).collect()
}

/// What the engine is given is enough for cargo, and holds no leftovers.
#[test]
fn the_context_is_enough() {
    let ignore = fs::read_to_string(root().join(".dockerignore")).expect("a file");
    let lines: Vec<&str> = ignore
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(lines[0], "*", "everything is left out, but");
    let context = TempDir::new().expect("a directory");
    for line in &lines[1..] {
        let name = line.strip_prefix('!').expect("an exception");
        // Sources of crates are there for a build without the internet only.
        if name == "vendor" && !root().join(name).exists() {
            continue;
        }
        let to = context.path().join(name);
        fs::create_dir_all(to.parent().expect("a directory")).expect("made");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(root().join(name))
            .arg(&to)
            .status()
            .expect("cp runs");
        assert!(copied.success(), "{name}");
    }
    let there = targets(context.path());
    assert!(there.iter().any(|target| target == "bin sealpost"));
    let tests = |target: &String| target.starts_with("test ");
    let here: Vec<String> = targets(root())
        .into_iter()
        .filter(|target| !tests(target))
        .collect();
    assert_eq!(
        there, here,
        "cargo refuses a manifest whose targets are not there"
    );
    for needed in ["deploy/image/root", "deploy/package/bill", "LICENSE"] {
        assert!(context.path().join(needed).exists(), "{needed}");
    }
}

/// What the Dockerfile's script makes of the binary of these tests.
struct Image {
    directory: TempDir,
}

impl Image {
    fn build() -> Self {
        let directory = TempDir::new().expect("a directory");
        // As the engine makes it: everybody may look in.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let image = Self { directory };
        fs::create_dir(image.state()).expect("made");
        let mut script = Command::new(root().join("deploy/image/root"));
        let output = script
            .arg(binary())
            .arg(image.files())
            .output()
            .expect("bash and readelf");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        image
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The one place that can be written to, `/state` inside.
    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut run = Command::new(root().join("tests/image/run"));
        run.arg(self.files())
            .arg(self.state())
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run
    }

    fn output(&self, command: &[&str]) -> Output {
        self.command(command)
            .stdin(Stdio::null())
            .output()
            .expect("unshare")
    }
}

/// Whether this machine lets us make namespaces; containers often may not.
fn namespaces() -> bool {
    let mut unshare = Command::new("unshare");
    let able = unshare
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("no namespaces here: the image is not run");
    }
    able
}

fn files(directory: &Path, below: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files(&entry.path(), &name, found);
        } else {
            found.insert(name);
        }
    }
}

/// The binary, the libraries it names, certificates, and records: nothing that could be run but the
/// binary and the loader.
#[test]
fn the_image_holds_nothing_else() {
    let image = Image::build();
    let mut found = BTreeSet::new();
    files(&image.files(), "", &mut found);
    let loader = if cfg!(target_arch = "aarch64") {
        "/lib/ld-linux-aarch64.so.1"
    } else {
        "/lib64/ld-linux-x86-64.so.2"
    };
    let records = |name: &String| {
        name.starts_with("/usr/share/doc/") || name.starts_with("/var/lib/dpkg/status.d/")
    };
    let (records, rest): (BTreeSet<String>, BTreeSet<String>) =
        found.into_iter().partition(records);
    let libraries = [
        "/lib/libc.so.6",
        "/lib/libgcc_s.so.1",
        "/lib/libm.so.6",
        loader,
    ];
    let others = [
        "/sealpost",
        "/etc/nsswitch.conf",
        "/etc/ssl/certs/ca-certificates.crt",
    ];
    assert_eq!(
        rest,
        libraries
            .into_iter()
            .chain(others)
            .map(str::to_owned)
            .collect()
    );
    assert!(records.contains("/usr/share/doc/sealpost/copyright"));
}

/// A number for a user, a root that cannot be written, no shell.
#[test]
fn the_image_starts() {
    if !namespaces() {
        return;
    }
    let image = Image::build();
    let version = image.output(&["/sealpost", "--version"]);
    assert_eq!(
        String::from_utf8_lossy(&version.stdout),
        concat!("sealpost ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let shell = image.output(&["/bin/sh", "-c", "true"]);
    assert!(!shell.status.success(), "there is a shell");
    let run = image.output(&[&["/sealpost", "run", "-f", "-"][..], &ANY_PORTS].concat());
    let complaint = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        complaint.contains("Read-only file system"),
        "the development CA is not written: {complaint}"
    );
}

/// An event comes in and goes out, to a host whose name is looked up; the roots of the system are
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn the_image_delivers() {
    if !namespaces() {
        return;
    }
    let image = Image::build();
    // The kubelet writes this file.
    fs::write(
        image.files().join("etc/hosts"),
        "127.0.0.1 subscriber.example\n",
    )
    .expect("written");
    let subscriber = Subscriber::ok().await;
    let yaml = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c}}\nspec:\n  subscribers:\n  \
         - {{name: s, uid: u, subscriberUri: 'http://subscriber.example:{}/'}}\n",
        subscriber.address().port()
    );
    fs::write(image.state().join("m.yaml"), yaml).expect("written");
    let mut arguments = vec![
        "/sealpost",
        "run",
        "-f",
        "/state/m.yaml",
        "--ports-file",
        "/state/ports.json",
    ];
    arguments.extend(ANY_PORTS);
    arguments.extend(["--state-dir", "/state/ca"]);
    let log = fs::File::create(image.directory.path().join("log")).expect("a file");
    let running = Running(
        image
            .command(&arguments)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare"),
    );
    let ports =
        || serde_json::from_slice::<Value>(&fs::read(image.state().join("ports.json")).ok()?).ok();
    let ports: Value = eventually_some("the image listens", ports).await;
    let log = || fs::read_to_string(image.directory.path().join("log")).unwrap_or_default();
    eventually_some("the image is ready", || {
        log().contains("\"Ready\"").then_some(())
    })
    .await;
    // The process has become the image's: no identity of ours, no capability.
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).expect("it runs");
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("a line")
        .trim();
    assert_eq!(capabilities.trim_start_matches('0'), "", "{status}");
    let url = format!(
        "http://{}/default/c",
        ports["http"].as_str().expect("an address")
    );
    assert_eq!(send(&plain(), url, "i").await, 202);
    assert_eq!(subscriber.until(1).await[0].id(), "i");
    assert!(!log().contains("trusts no root"), "{}", log());
}
