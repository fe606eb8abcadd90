//! `sealpost exec` and `sealpost env`: real commands, whose events go where Knative's SinkBinding
//! would send them.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::subscriber::Subscriber;
use crate::support::{binary, eventually, features};

const BROKER: &str =
    "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n---\n";

/// A Trigger of `b` that sends everything there.
fn trigger(url: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec: {{broker: b, subscriber: {{uri: \
         '{url}'}}}}\n---\n"
    )
}

/// `sealpost` with these arguments, where nothing of a sink is known yet.
fn sealpost(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
        .env("K_SINK", "http://of.before")
        .env("K_CA_CERTS", "of before")
        .env("K_CE_OVERRIDES", "of before");
    command.env_remove("KUBERNETES_SERVICE_HOST");
    command
}

async fn run(arguments: &[&str]) -> Output {
    sealpost(arguments).output().await.expect("it runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// The flags by which `exec` finds a dispatcher.
fn of(dispatcher: &Dispatcher) -> Vec<String> {
    let path = |name: &str| dispatcher.path(name).to_str().expect("a path").to_owned();
    let pairs = [
        ("-f", "manifests"),
        ("--ports-file", "ports.json"),
        ("--state-dir", "state"),
    ];
    pairs
        .into_iter()
        .flat_map(|(flag, name)| [flag.to_owned(), path(name)])
        .collect()
}

/// `exec` of a shell script with this sink, beside a dispatcher.
async fn script(dispatcher: &Dispatcher, sink: &str, more: &[&str], script: &str) -> Output {
    let found = of(dispatcher);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    run(&[
        &["exec", "--sink", sink][..],
        &found,
        more,
        &["--", "sh", "-c", script],
    ]
    .concat())
    .await
}

/// What a script prints of its environment: what is not set is told from what is empty.
const SHOW: &str =
    "printf '%s|%s|%s' \"${K_SINK-unset}\" \"${K_CA_CERTS-unset}\" \"${K_CE_OVERRIDES-unset}\"";

/// An event of a command arrives, over TLS that is verified by what the command was given, in every
/// mode.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_command_arrive() {
    for (mode, scheme) in [
        ("disabled", "http"),
        ("permissive", "https"),
        ("strict", "https"),
    ] {
        let sink = Subscriber::ok().await;
        let yaml = format!("{BROKER}{}{}", trigger(&sink.url()), features(mode));
        let dispatcher = Dispatcher::standalone(&yaml).await;
        let send = format!(
            "printf '%s' \"${{K_CA_CERTS-}}\" > '{0}' && set -- ${{K_CA_CERTS+--ca '{0}'}} && '{1}' send \"$K_SINK\" \"$@\" --id \
             {mode}",
            dispatcher.path("ca.pem").display(),
            binary().display()
        );
        let output = script(&dispatcher, "broker:b", &[], &send).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(sink.until(1).await[0].id(), mode);
        let shown = script(
            &dispatcher,
            "broker:b:default",
            &["--ce-override", "tenant=a b", "--ce-override", "x="],
            SHOW,
        )
        .await;
        let address = if scheme == "http" {
            dispatcher.http
        } else {
            dispatcher.https
        };
        let ca = if scheme == "http" {
            "unset".to_owned()
        } else {
            dispatcher.ca()
        };
        let overrides = "{\"extensions\":{\"tenant\":\"a b\",\"x\":\"\"}}";
        assert_eq!(
            text(&shown.stdout),
            format!("{scheme}://{address}/default/b|{ca}|{overrides}")
        );
    }
}

/// A Service of either kind, in a directory of manifests.
fn service(api_version: &str, name: &str, more: &str) -> String {
    format!("apiVersion: {api_version}\nkind: Service\nmetadata:\n  name: {name}\n{more}---\n")
}

/// Manifests with a channel, Services and a Pod, for `exec` without a running dispatcher.
struct SinkManifests {
    directory: TempDir,
}

impl SinkManifests {
    fn new() -> Self {
        let endpoint = "  annotations: {sealpost.dev/endpoint: 'http://127.0.0.1:9/in'}\n";
        let yaml = [
            "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c, namespace: orders}\n---\n",
            &service("v1", "plain", endpoint),
            &service("serving.knative.dev/v1", "knative", endpoint),
            &service("v1", "elsewhere", ""),
            &service("v1", "display", "spec: {selector: {app: d}}\n"),
            "apiVersion: v1\nkind: Pod\nmetadata: {name: d, labels: {app: d}}\nspec: {containers: [{image: x/event_display}]}\n",
        ]
        .concat();
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("m.yaml"), yaml).expect("written");
        Self { directory }
    }

    /// Runs a command that shows its variables, with this sink.
    async fn show(&self, sink: &str) -> Output {
        let path = self.directory.path().join("m.yaml");
        let flags = [
            "exec",
            "--sink",
            sink,
            "-f",
            path.to_str().expect("a path"),
            "--resolve",
            "elsewhere.default.svc.cluster.local=127.0.0.1:7",
            "--http-addr",
            "0.0.0.0:8081",
        ];
        run(&[&flags[..], &["--", "sh", "-c", SHOW]].concat()).await
    }
}

/// Every sink that `kn` knows, and Services of Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn sinks_of_every_kind_are_found() {
    let manifests = SinkManifests::new();
    for (sink, url) in [
        ("channel:c:orders", "http://localhost:8081/orders/c"),
        ("svc:plain", "http://127.0.0.1:9/in"),
        ("ksvc:knative:default", "http://127.0.0.1:9/in"),
        ("knative", "http://127.0.0.1:9/in"),
        ("svc:elsewhere", "http://127.0.0.1:7/"),
        (
            "http://Sink.Example:80/a?b=c",
            "http://Sink.Example:80/a?b=c",
        ),
        (
            "http://c-kn-channel.orders.svc.cluster.local",
            "http://localhost:8081/orders/c",
        ),
    ] {
        let output = manifests.show(sink).await;
        assert_eq!(text(&output.stdout), format!("{url}|unset|"), "{output:?}");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), ""),
            "{sink}"
        );
    }
    // What only a cluster knows is a warning, and the command runs.
    let output = run(&[
        "exec",
        "-s",
        "http://a.default.svc.cluster.local/x",
        "--",
        "sh",
        "-c",
        SHOW,
    ])
    .await;
    assert_eq!(
        text(&output.stdout),
        "http://a.default.svc.cluster.local/x|unset|"
    );
    assert!(text(&output.stderr).contains(
        "warning: leads to a.default.svc.cluster.local, a name that only a cluster knows"
    ));
}

/// What is no sink, or leads nowhere, is told with its remedy, and nothing runs.
#[tokio::test(flavor = "multi_thread")]
async fn sinks_that_are_not_found_are_told() {
    let manifests = SinkManifests::new();
    for (sink, code, words) in [
        (
            "broker:nobody",
            1,
            "there is no broker default/nobody: create it",
        ),
        ("channel:c", 1, "there is no channel default/c: create it"),
        (
            "svc:nobody",
            1,
            "there is no Service default/nobody: add its manifest, or say where it is by --resolve",
        ),
        ("svc:display", 1, "run `sealpost display` and give its URL"),
        (
            "http://user:secret@sink",
            1,
            "contains a user name or password",
        ),
        ("pod:x", 2, "is no kind of sink: write a URL"),
        ("broker:", 2, "names nothing: write a URL"),
        ("https://", 2, "begins with http:// or https://"),
    ] {
        let output = manifests.show(sink).await;
        let said = text(&output.stderr);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(code), ""),
            "{sink}: {said}"
        );
        assert!(
            said.contains(words) && !said.contains("secret@"),
            "{sink}: {said}"
        );
    }
    let output = run(&["exec", "-s", "broker:b", "--", "true"]).await;
    assert!(
        text(&output.stderr).contains("give the manifests of `sealpost run` by -f PATH"),
        "{output:?}"
    );
}

/// An https sink of ours without a CA to verify it with is told before anything runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_not_there_yet_is_told() {
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str| {
        directory
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    fs::write(at("m.yaml"), format!("{BROKER}{}", features("strict"))).expect("written");
    let (manifest, state) = (at("m.yaml"), at("state"));
    let flags = [
        "exec",
        "-s",
        "broker:b",
        "-f",
        &manifest,
        "--state-dir",
        &state,
        "--",
        "sh",
        "-c",
        SHOW,
    ];
    let output = run(&flags).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(
        text(&output.stderr).contains("has no ca.crt: start `sealpost run` first"),
        "{output:?}"
    );
    assert!(!Path::new(&state).exists(), "nothing is made");
    fs::create_dir(&state).expect("made");
    fs::write(Path::new(&state).join("ca.crt"), "the CA").expect("written");
    let output = run(&flags).await;
    assert_eq!(
        text(&output.stdout),
        "https://127.0.0.1:8443/default/b|the CA|"
    );
    // The same listener by another of its names; others are not verified with it.
    for (url, ca) in [
        ("https://localhost:8443/default/b", "the CA"),
        ("https://localhost:9443/", "unset"),
    ] {
        let output = run(&[
            "exec",
            "-s",
            url,
            "--state-dir",
            &state,
            "--",
            "sh",
            "-c",
            SHOW,
        ])
        .await;
        assert_eq!(text(&output.stdout), format!("{url}|{ca}|"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_that_of_the_command() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "no program").expect("written");
    let file = file.to_str().expect("a path");
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["no-such-command-anywhere"], 127),
        (&["/nowhere/at/all"], 127),
        (&[file], 126),
        (&["/"], 126),
    ] {
        let output = run(&[&["exec", "--sink", "http://sink", "--"], command].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        let is_told = text(&output.stderr).contains(&format!("sealpost: {}: ", command[0]));
        assert_eq!(is_told, [126, 127].contains(&code), "{output:?}");
    }
    for arguments in [
        &["exec", "--sink", "http://x"][..],
        &["exec", "--", "true"],
        &["exec", "-s", "http://x", "true"],
    ] {
        assert_eq!(run(arguments).await.status.code(), Some(2), "{arguments:?}");
    }
    // Arguments and standard input are the command's own.
    let mut command = sealpost(&[
        "exec",
        "-s",
        "http://x",
        "--",
        "sh",
        "-c",
        "cat; printf ' %s' \"$@\"",
        "sh",
        "--sink",
        "a b",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input");
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"typed")
        .await
        .expect("written");
    drop(stdin);
    assert_eq!(
        text(&child.wait_with_output().await.expect("it ends").stdout),
        "typed --sink a b"
    );
}

/// Each signal that can be passed on reaches the command, which decides what becomes of it.
#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on() {
    let directory = TempDir::new().expect("a directory");
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let ready = directory.path().join(name);
        let script = format!(
            "trap 'exit 7' {name}; touch '{}'; while :; do sleep 0.05; done",
            ready.display()
        );
        // In a session of its own, which no terminal speaks to; it says which process it is.
        let pid = directory.path().join(format!("{name}.pid"));
        let mut command = Command::new("setsid");
        command
            .args([
                "--wait",
                "sh",
                "-c",
                "echo $$ > \"$1\"; shift; exec \"$@\"",
                "sh",
            ])
            .arg(&pid)
            .arg(binary());
        command
            .args(["exec", "-s", "http://x", "--", "sh", "-c", &script])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("it starts");
        eventually("the command runs", || ready.exists()).await;
        let pid: i32 = fs::read_to_string(&pid)
            .expect("a number")
            .trim()
            .parse()
            .expect("a number");
        kill_process(Pid::from_raw(pid).expect("a process"), signal).expect("signalled");
        assert_eq!(
            child.wait().await.expect("it ends").code(),
            Some(7),
            "{name}"
        );
    }
}

/// `env` prints what `exec` gives, and a shell that reads it has that and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_reads_what_env_prints() {
    let dispatcher = Dispatcher::standalone(&format!("{BROKER}{}", features("strict"))).await;
    let found = of(&dispatcher);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let printed = run(&[
        &["env", "--sink", "broker:b", "--ce-override", "a=it's $HOME"][..],
        &found,
    ]
    .concat())
    .await;
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let script = format!("eval \"$1\"; {SHOW}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script, "sh", text(&printed.stdout)])
        .env("K_CA_CERTS", "of before");
    let shown = shell.output().await.expect("a shell");
    let url = format!("https://{}/default/b", dispatcher.https);
    let expected = format!(
        "{url}|{}|{{\"extensions\":{{\"a\":\"it's $HOME\"}}}}",
        dispatcher.ca()
    );
    assert_eq!(text(&shown.stdout), expected, "{shown:?}");
    let printed = run(&["env", "--sink", "http://sink"]).await;
    assert_eq!(
        text(&printed.stdout),
        "export K_SINK='http://sink'\nunset K_CA_CERTS\nexport K_CE_OVERRIDES=''\n"
    );
    let printed = run(&[&["env", "--sink", "broker:nobody"][..], &found].concat()).await;
    assert_eq!(
        (printed.status.code(), text(&printed.stdout)),
        (Some(1), "")
    );
}
