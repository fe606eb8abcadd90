//! The control plane: manifests become problems and one immutable routing table.
//!
//! It collects raw objects, resolves them purely, and hands the result over. It neither listens nor sends.

mod document;
mod manifest;
mod problem;
mod read;
mod resolve;
mod typo;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::model::TransportEncryption;
pub use problem::{ObjectName, Problem, Severity};
pub use read::{Manifests, read};
pub use resolve::{Resolution, ServerCertificate, resolve};
pub use watch::Watcher;

/// What the manifests do not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Namespace of `config-features`, trust bundles and TLS Secrets.
    pub system_namespace: String,
    /// Domain of cluster host names.
    pub cluster_domain: String,
    /// Namespace of objects that name none.
    pub default_namespace: String,
    /// Overrides `config-features`.
    pub transport_encryption: Option<TransportEncryption>,
    /// Hosts that are elsewhere than DNS says.
    pub resolve: Vec<ResolveOverride>,
    /// Base URLs of the listeners; without them, addresses are those that a cluster would show.
    pub urls: Option<Urls>,
    /// The CA that https addresses advertise, PEM.
    pub ca_certs: CaCerts,
}

/// Base URLs of the listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct Urls {
    /// Of the plain listener.
    pub http: Url,
    /// Of the TLS listener.
    pub https: Url,
}

/// Which CA https addresses advertise.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CaCerts {
    /// None is known, unless a Secret brings one.
    #[default]
    Unknown,
    /// The development CA, unless a Secret brings one.
    Development(String),
    /// That of the certificate given on the command line, if its CA was given; Secrets are not used.
    Given(Option<String>),
}

/// Where a host really is: `HOST[:PORT]=ADDR:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveOverride {
    host: String,
    port: Option<u16>,
    to: SocketAddr,
}

impl ResolveOverride {
    /// Where the URL's host really is, if this says so.
    #[must_use]
    pub fn applies_to(&self, url: &Url) -> Option<SocketAddr> {
        let host = url.host_str()?;
        let port = self.port.is_none() || self.port == url.port_or_known_default();
        (port && host.eq_ignore_ascii_case(&self.host)).then_some(self.to)
    }
}

impl FromStr for ResolveOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "write HOST[:PORT]=ADDR:PORT, such as sink.default.svc.cluster.local=127.0.0.1:9000";
        let (name, to) = text.split_once('=').ok_or(REMEDY)?;
        let to = to.replace("localhost", "127.0.0.1").parse().map_err(|_cause| REMEDY)?;
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_cause| REMEDY)?)),
            None => (name, None),
        };
        if host.is_empty() {
            return Err(REMEDY.to_owned());
        }
        Ok(Self { host: host.to_owned(), port, to })
    }
}

/// Every problem of the manifests at these paths, at `now` (seconds since the epoch): what `sealpost check` prints.
#[must_use]
pub fn check(paths: &[PathBuf], settings: &Settings, now: i64) -> Vec<Problem> {
    resolve(&read(paths, settings), None, settings, now).problems
}

#[cfg(test)]
mod tests;
