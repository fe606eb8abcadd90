//! The packages: what deploy/package/build makes of the binary under test, installed in a root
//! directory of its own, and an event through it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::running::Running;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{ANY_PORTS, binary, eventually_some};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn done(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The packages of this machine's architecture, made once for each run of the tests, however many
/// processes it has, in the place of those of the run before.
fn packages() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        let run = std::env::var("NEXTEST_RUN_ID")
            .unwrap_or_else(|_one_process| format!("process {}", std::process::id()));
        fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).expect("made");
        let lock = fs::File::create(made.with_extension("lock")).expect("a file");
        lock.lock().expect("a lock");
        if fs::read_to_string(made.join("run")).is_ok_and(|of| of == run) {
            return made.join("out");
        }
        if made.exists() {
            fs::remove_dir_all(&made).expect("removed");
        }
        fs::create_dir(&made).expect("made");
        make_packages(&made);
        fs::write(made.join("run"), run).expect("written");
        made.join("out")
    })
}

/// Makes them in a directory. The binary is stripped as one of release is, so that no time goes
/// into packing what debuggers want.
fn make_packages(made: &Path) {
    let stripped = made.join("sealpost");
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&stripped);
    done(strip.arg(binary()));
    let mut build = Command::new(root().join("deploy/package/build"));
    build
        .arg(architecture())
        .env("SEALPOST_PACKAGE_BINARY", &stripped)
        .env("SEALPOST_PACKAGE_DIRECTORY", made.join("out"))
        .env("SEALPOST_PACKAGE_LEVEL", "0");
    done(&mut build);
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

fn debian_package() -> PathBuf {
    packages().join(format!(
        "sealpost_{}_{}.deb",
        env!("CARGO_PKG_VERSION"),
        architecture()
    ))
}

/// Whether this machine makes packages: dpkg-deb and readelf.
fn can_pack() -> bool {
    let can = ["dpkg-deb", "readelf", "strip"]
        .iter()
        .all(|program| Command::new(program).arg("--version").output().is_ok());
    if !can {
        eprintln!("no dpkg-deb or binutils here: no package is made");
    }
    can
}

/// What the image's script lays out, with the package in it: libraries, and what `dpkg --install`
/// did. Its scripts run outside, as for a root of another architecture.
fn installed(directory: &Path) -> PathBuf {
    let fresh = directory.join("root");
    done(
        Command::new(root().join("deploy/image/root"))
            .arg(binary())
            .arg(&fresh),
    );
    fs::remove_file(fresh.join("sealpost")).expect("the image's own place");
    for place in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(fresh.join(place)).expect("made");
    }
    fs::write(fresh.join("var/lib/dpkg/status"), "").expect("written");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", fresh.display()))
        .args(["--log=/dev/null", "--force-depends", "--force-not-root"])
        .args(["--force-script-chrootless", "--force-bad-path", "--install"])
        .arg(debian_package())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    done(&mut dpkg);
    fresh
}

/// Everything has its place, and nothing else is there.
#[test]
fn the_package_holds_what_it_should() {
    if !can_pack() {
        return;
    }
    let listed = done(
        Command::new("dpkg-deb")
            .arg("--contents")
            .arg(debian_package()),
    );
    let listed = String::from_utf8(listed.stdout).expect("text");
    let files: BTreeSet<&str> = listed
        .lines()
        .inspect(|line| assert!(line.contains(" root/root "), "{line}"))
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| line.rsplit_once(" .").map(|(_, path)| path))
        .collect();
    let pages = |path: &str| path.starts_with("/usr/share/man/man1/sealpost");
    let papers = |path: &str| path.starts_with("/usr/share/doc/sealpost/");
    let rest: BTreeSet<&str> = files
        .iter()
        .copied()
        .filter(|path| !pages(path) && !papers(path))
        .collect();
    let expected = [
        "/usr/bin/sealpost",
        "/usr/lib/systemd/system/sealpost.service",
        "/etc/default/sealpost",
        "/usr/share/bash-completion/completions/sealpost",
        "/usr/share/fish/vendor_completions.d/sealpost.fish",
        "/usr/share/zsh/vendor-completions/_sealpost",
    ];
    assert_eq!(rest, BTreeSet::from(expected));
    assert!(listed.contains(" ./etc/sealpost/manifests/\n"));
    assert!(files.contains("/usr/share/man/man1/sealpost-filter-test.1.gz"));
    for paper in ["copyright", "README.md", "changelog.gz"] {
        let path = format!("/usr/share/doc/sealpost/{paper}");
        assert!(files.contains(path.as_str()), "{path}");
    }
    let field = |name: &str| {
        let mut dpkg = Command::new("dpkg-deb");
        let asked = done(dpkg.arg("--field").arg(debian_package()).arg(name));
        String::from_utf8(asked.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Architecture"), architecture());
    assert!(
        field("Depends").starts_with("libc6 (>= 2."),
        "{}",
        field("Depends")
    );
}

/// The sums are of what lies beside them; the tarball has the same program.
#[test]
fn sums_and_tarball_are_of_the_same() {
    if !can_pack() {
        return;
    }
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(packages())
        .output();
    let sums = String::from_utf8(sums.expect("sha256sum").stdout).expect("text");
    assert!(sums.matches(": OK").count() >= 2, "{sums}");
    assert_eq!(sums.matches(": OK").count(), sums.lines().count(), "{sums}");
    let of = |ending: &str| {
        let entries = fs::read_dir(packages()).expect("a directory");
        let mut names = entries.map(|entry| entry.expect("an entry").path());
        names
            .find(|path| path.to_string_lossy().ends_with(ending))
            .expect(ending)
    };
    let directory = tempfile::TempDir::new().expect("a directory");
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(of(".tar.gz"));
    done(
        tar.args(["--strip-components=1", "--directory"])
            .arg(directory.path()),
    );
    let program = directory.path().join("usr/bin/sealpost");
    let version = done(Command::new(program).arg("--version"));
    assert_eq!(
        String::from_utf8(version.stdout).expect("text").trim(),
        concat!("sealpost ", env!("CARGO_PKG_VERSION"))
    );
}

/// The unit is one, and leaves little to what breaks in; how little, systemd reckons.
#[test]
fn the_unit_is_hardened() {
    let unit = root().join("deploy/package/systemd/sealpost.service");
    let text = fs::read_to_string(&unit).expect("a unit");
    assert!(text.contains("\nExecStart=/usr/bin/sealpost run -f /etc/sealpost/manifests\n"));
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    let Ok(output) = analyze.arg(&unit).output() else {
        eprintln!("no systemd-analyze here: the unit is only read");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    if !can_pack() {
        return;
    }
    let directory = tempfile::TempDir::new().expect("a directory");
    let fresh = installed(directory.path());
    let mut verify = Command::new("systemd-analyze");
    verify.arg(format!("--root={}", fresh.display()));
    let verified = verify
        .args(["verify", "--man=no", "sealpost.service"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let about_us = said
        .lines()
        .filter(|line| line.contains("sealpost.service"));
    let about_us: Vec<&str> = about_us
        // Targets of systemd's own are not in this root.
        .filter(|line| !line.contains("not found") && !line.contains("Failed to add dependency"))
        .collect();
    assert_eq!(about_us, Vec::<&str>::new(), "{said}");
}

/// From the package to an event: installed by dpkg in a root directory that holds nothing else but
/// the libraries, started as the unit starts it, as nobody, from a root that cannot be written.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_delivers() {
    let mut unshare = Command::new("unshare");
    let able = unshare.args(["--user", "--map-root-user", "--mount", "true"]);
    if !can_pack() || !able.output().is_ok_and(|output| output.status.success()) {
        eprintln!("no namespaces here: what is installed is not run");
        return;
    }
    let directory = tempfile::TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
    let (fresh, state) = (installed(directory.path()), directory.path().join("state"));
    fs::create_dir(&state).expect("made");
    let subscriber = Subscriber::ok().await;
    let yaml = crate::support::channel(&[(
        "s",
        format!("subscriber: {{uri: '{}'}}\n", subscriber.url()),
    )]);
    fs::write(fresh.join("etc/sealpost/manifests/m.yaml"), yaml).expect("written");
    fs::write(fresh.join("etc/hosts"), "127.0.0.1 localhost\n").expect("written");
    let log = fs::File::create(directory.path().join("log")).expect("a file");
    let mut run = Command::new(root().join("tests/image/run"));
    run.arg(&fresh).arg(&state);
    run.args(["/usr/bin/sealpost", "run", "-f", "/etc/sealpost/manifests"])
        .args(ANY_PORTS)
        .args(["--ports-file", "/state/ports.json"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SEALPOST_STATE_DIR", "/state/ca")
        .env("SEALPOST_ADMIN_SOCKET", "/state/admin.sock");
    let _running = Running(
        run.stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare"),
    );
    let ports = || serde_json::from_slice::<Value>(&fs::read(state.join("ports.json")).ok()?).ok();
    let ports: Value = eventually_some("it listens", ports).await;
    let log = || fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    eventually_some("it is ready", || log().contains("\"Ready\"").then_some(())).await;
    let address = ports["http"].as_str().expect("an address");
    let url = format!("http://{address}/default/c");
    assert_eq!(send(&plain(), url, "from-a-package").await, 202);
    assert_eq!(subscriber.until(1).await[0].id(), "from-a-package");
}
