//! A real `kube-apiserver` with its `etcd`, where `KUBEBUILDER_ASSETS` says that there are such
//! programs.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::KeyPair;
use serde_json::Value;
use tempfile::TempDir;

use super::journal::Entry;
use super::tokens::ISSUER;
use crate::support::pki::Identity;

/// Everything is written down: what was asked, with what, and how it was answered.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Request}]\n";

/// A program, killed when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().expect("ended");
        self.0.wait().expect("reaped");
    }
}

/// The two programs; the API server goes first.
pub(crate) struct Real {
    pub(crate) address: SocketAddr,
    _apiserver: Program,
    _etcd: Program,
    directory: TempDir,
}

/// Where the programs are, if they are to be used.
pub(crate) fn assets() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from)
}

/// An address that nobody listens at, as far as one can know.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

impl Real {
    /// Starts both. The API server listens at this address, and is reached at this URL by those who
    /// verify tokens.
    pub(crate) fn start(
        assets: &Path,
        address: SocketAddr,
        url: &str,
        identity: &Identity,
        admin: &str,
    ) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (client, peer) = (free_address(), free_address());
        let etcd = program(&assets.join("etcd"), directory.path(), |at| {
            vec![
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                "--unsafe-no-fsync=true".to_owned(),
            ]
        });
        let key = KeyPair::generate().expect("a key");
        let write =
            |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("server.crt", &identity.chain_pem);
        write("server.key", &identity.key_pem);
        write("accounts.key", &key.serialize_pem());
        write("accounts.pub", &key.public_key_pem());
        write(
            "tokens.csv",
            &format!("{admin},{},1,\"system:masters\"\n", super::access::ADMIN),
        );
        write("policy.yaml", AUDIT);
        let apiserver = program(&assets.join("kube-apiserver"), directory.path(), |at| {
            vec![
                format!("--etcd-servers=http://{client}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={}", address.port()),
                format!("--cert-dir={}", at("certificates")),
                format!("--tls-cert-file={}", at("server.crt")),
                format!("--tls-private-key-file={}", at("server.key")),
                format!("--token-auth-file={}", at("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                // Nobody makes the accounts that this plugin asks for.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
                format!("--service-account-issuer={ISSUER}"),
                format!("--service-account-jwks-uri={url}/openid/v1/jwks"),
                format!("--service-account-key-file={}", at("accounts.pub")),
                format!("--service-account-signing-key-file={}", at("accounts.key")),
                format!("--audit-policy-file={}", at("policy.yaml")),
                format!("--audit-log-path={}", at("audit.log")),
            ]
        });
        Self {
            address,
            _apiserver: apiserver,
            _etcd: etcd,
            directory,
        }
    }

    /// What its audit log holds. A watch is written down when it starts, all else when it is
    /// answered.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let log = fs::read_to_string(self.directory.path().join("audit.log")).unwrap_or_default();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let wanted =
            |event: &Value| (event["verb"] == "watch") == (event["stage"] == "ResponseStarted");
        events.filter(wanted).map(|event| entry(&event)).collect()
    }

    /// What its programs have said.
    pub(crate) fn output(&self) -> String {
        let read =
            |name: &str| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        format!(
            "--- etcd ---\n{}\n--- kube-apiserver ---\n{}",
            read("etcd.log"),
            read("kube-apiserver.log")
        )
    }
}

fn program(
    path: &Path,
    directory: &Path,
    arguments: impl Fn(&dyn Fn(&str) -> String) -> Vec<String>,
) -> Program {
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let log = fs::File::create(directory.join(format!("{name}.log"))).expect("a file");
    let at = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(path);
    command
        .args(arguments(&at))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Program(
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    )
}

fn entry(event: &Value) -> Entry {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let path = text(&event["requestURI"])
        .split('?')
        .next()
        .unwrap_or_default()
        .to_owned();
    Entry {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        group: text(&object["apiGroup"]),
        resource: if object.is_null() {
            path
        } else {
            text(&object["resource"])
        },
        subresource: text(&object["subresource"]),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        body: event["requestObject"].clone(),
        code: event["responseStatus"]["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok())
            .unwrap_or(0),
    }
}
