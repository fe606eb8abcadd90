//! The listeners: they are bound before anything is served, and their addresses are published.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use url::Url;

use crate::cli::{ListenAddresses, RunOptions};
use crate::control::ListenerUrls;

/// The listeners of http, https and the admin port, bound but not served yet.
pub(super) struct BoundListeners {
    pub(super) http: TcpListener,
    pub(super) https: TcpListener,
    pub(super) admin: TcpListener,
}

impl BoundListeners {
    pub(super) async fn bind(options: &RunOptions) -> anyhow::Result<Self> {
        let ListenAddresses { http, https, admin } =
            options.listen_addresses().map_err(anyhow::Error::msg)?;
        Ok(Self {
            http: bind("--http-addr", &http).await?,
            https: bind("--https-addr", &https).await?,
            admin: bind("--admin-addr", &admin).await?,
        })
    }

    /// Returns the base URLs for the addresses of channels and brokers.
    pub(super) fn urls(&self) -> anyhow::Result<ListenerUrls> {
        Ok(ListenerUrls {
            http: base_url("http", self.http.local_addr()?)?,
            https: base_url("https", self.https.local_addr()?)?,
        })
    }

    /// Publishes the addresses of the listeners: in the log, and in a file, which is there whole or
    /// not at all (contract IF-1).
    pub(super) fn publish_ports(&self, ports_file: Option<&Path>) -> anyhow::Result<()> {
        let (http, https, admin) = (
            self.http.local_addr()?,
            self.https.local_addr()?,
            self.admin.local_addr()?,
        );
        tracing::info!(%http, %https, %admin, "Listening");
        write_ports_file(
            ports_file,
            &serde_json::json!({ "http": http, "https": https, "admin": admin }),
        )
    }
}

/// Binds the admin port of a process that takes no events, and publishes its address.
pub(super) async fn bind_admin(options: &RunOptions) -> anyhow::Result<TcpListener> {
    let ListenAddresses { admin, .. } = options.listen_addresses().map_err(anyhow::Error::msg)?;
    let listener = bind("--admin-addr", &admin).await?;
    let admin = listener.local_addr()?;
    tracing::info!(%admin, "Listening");
    write_ports_file(
        options.ports_file.as_deref(),
        &serde_json::json!({ "admin": admin }),
    )?;
    Ok(listener)
}

fn write_ports_file(ports_file: Option<&Path>, ports: &serde_json::Value) -> anyhow::Result<()> {
    let Some(path) = ports_file else {
        return Ok(());
    };
    let unfinished = path.with_extension("unfinished");
    let failed = || format!("--ports-file {}", path.display());
    std::fs::write(&unfinished, ports.to_string()).with_context(failed)?;
    std::fs::rename(&unfinished, path).with_context(failed)
}

async fn bind(flag: &str, address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => {
                format!(
                    ": something else listens there, perhaps another sealpost or, on 9090, \
                     Prometheus: choose another one with {flag}"
                )
            }
            ErrorKind::PermissionDenied => {
                format!(": ports below 1024 are not for everybody: choose another one with {flag}")
            }
            ErrorKind::AddrNotAvailable => {
                format!(": this machine does not have that address: choose another one with {flag}")
            }
            _ => String::new(),
        };
        anyhow!("{flag} {address}: {error}{remedy}")
    })
}

/// Returns the base URL of a listener; one that listens on every address is reached as localhost.
fn base_url(scheme: &str, address: SocketAddr) -> anyhow::Result<Url> {
    let text = if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    };
    Ok(Url::parse(&text)?)
}
