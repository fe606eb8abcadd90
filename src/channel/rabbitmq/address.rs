//! Addresses of RabbitMQ: one or several URIs, whose hosts may have several addresses each. They
//! are tried in a random order, so that many processes spread over the nodes of a cluster, each to
//! the end of its handshake, since a node that hangs still accepts connections.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};

use super::connect_attempt::{ConnectAttempt, HandshakeSocket, remember_socket};
use super::credentials::RabbitmqCredentials;

/// Longest time from the start of a connection to one address to the end of its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2500);
/// Longest time for resolving the name of one host.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(2500);
/// Largest number of addresses of one host that are tried.
const ADDRESSES: usize = 16;
/// Seconds without a sign of life after which RabbitMQ gives up a connection; a hung node is
/// noticed earlier, by the requests that `connection.rs` sends on each connection.
const HEARTBEAT: u16 = 10;
/// Hint for a URI that ends with a slash: it names a virtual host that hardly anybody means.
const EMPTY_VHOST: &str = "; the URI ends with a slash, which names the virtual host with the empty name: leave \
     the slash out, or write /%2f for the default one";

/// URIs, credentials and CA of RabbitMQ. Neither `Debug` nor anything else shows a password.
#[derive(Clone)]
pub(crate) struct RabbitmqAddress {
    /// As they were given, with the credentials that stand in them.
    uris: Vec<AMQPUri>,
    credentials: RabbitmqCredentials,
    ca_pem: Option<String>,
}

impl std::fmt::Debug for RabbitmqAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.uris.iter().map(node_name).collect();
        f.write_str(&names.join(","))
    }
}

/// Host, port and virtual host of a URI, for logs and errors.
fn node_name(uri: &AMQPUri) -> String {
    let (host, port) = (&uri.authority.host, uri.authority.port);
    match uri.vhost.as_str() {
        "" => format!("{host}:{port} (virtual host with the empty name)"),
        vhost => format!("{host}:{port} (virtual host {vhost})"),
    }
}

/// A connection, and the node that it leads to.
pub(super) struct ReachedNode {
    pub(super) connection: Connection,
    /// Host, port and virtual host of the node, as its URI names them.
    pub(super) node: String,
    /// IP address and port that the connection leads to.
    pub(super) address: SocketAddr,
}

/// One address of the host of one URI.
struct NodeCandidate {
    uri: AMQPUri,
    address: SocketAddr,
}

impl RabbitmqAddress {
    /// Reads `amqp://` or `amqps://` URIs, separated by commas. A user name or password that is
    /// given replaces that of the URIs. RabbitMQ's certificate is verified with the CA, if one is
    /// given.
    ///
    /// # Errors
    /// If a URI is wrong, without repeating it, since it may hold a password; or if the file of the
    /// CA, or of a user name or password, cannot be read.
    pub(crate) fn new(
        uris: &str,
        credentials: RabbitmqCredentials,
        ca: Option<&Path>,
    ) -> anyhow::Result<Self> {
        credentials.read_at_start().map_err(anyhow::Error::msg)?;
        let pem = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| anyhow::anyhow!("--rabbitmq-ca {}: {error}", path.display()))
        };
        Ok(Self {
            uris: parse_uris(uris)?,
            credentials,
            ca_pem: ca.map(pem).transpose()?,
        })
    }

    /// Connects to one of the nodes; to the one at `occupied` only if no other can be reached.
    ///
    /// # Errors
    /// If no node could be reached, in words that name each node and show no password; or if a
    /// user name or password cannot be read.
    pub(super) fn connect<'a>(
        &'a self,
        purpose: &'a str,
        occupied: Option<SocketAddr>,
    ) -> BoxFuture<'a, Result<ReachedNode, String>> {
        self.connect_to_any(purpose, occupied).boxed()
    }

    async fn connect_to_any(
        &self,
        purpose: &str,
        occupied: Option<SocketAddr>,
    ) -> Result<ReachedNode, String> {
        let credentials = self.credentials.read().await?;
        let mut reasons = Vec::new();
        let mut candidates = self.resolve_candidates(&mut reasons).await;
        candidates.sort_by_key(|candidate| Some(candidate.address) == occupied);
        for mut candidate in candidates {
            credentials.replace_in(&mut candidate.uri);
            let (node, address) = (node_name(&candidate.uri), candidate.address);
            match self.connect_to(&candidate, purpose).await {
                Ok(connection) => {
                    return Ok(ReachedNode {
                        connection,
                        node,
                        address,
                    });
                }
                Err(reason) => reasons.push(format!("{node} at {}: {reason}", candidate.address)),
            }
        }
        Err(reasons.join("; "))
    }

    /// Resolves the hosts of all URIs, and gives their addresses in a random order. What cannot be
    /// resolved is added to `reasons`.
    async fn resolve_candidates(&self, reasons: &mut Vec<String>) -> Vec<NodeCandidate> {
        let mut candidates = Vec::new();
        for uri in &self.uris {
            match resolve_host(uri).await {
                Ok(addresses) => {
                    candidates.extend(addresses.into_iter().map(|address| NodeCandidate {
                        uri: uri.clone(),
                        address,
                    }))
                }
                Err(error) => {
                    reasons.push(format!("{}: no address of the host{error}", node_name(uri)))
                }
            }
        }
        fastrand::shuffle(&mut candidates);
        candidates
    }

    async fn connect_to(
        &self,
        candidate: &NodeCandidate,
        purpose: &str,
    ) -> Result<Connection, String> {
        // A second handle of the socket lets an attempt be ended that lapin would go on with.
        let attempt = ConnectAttempt::default();
        let open = self.open_connection(candidate, purpose, &attempt.socket);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, open).await {
            Ok(Ok(connection)) => {
                attempt.keep_socket();
                Ok(connection)
            }
            Ok(Err(error)) if candidate.uri.vhost.is_empty() => {
                Err(format!("{error}{EMPTY_VHOST}"))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no handshake within {HANDSHAKE_TIMEOUT:?}")),
        }
    }

    /// Connects to one address, and remembers the socket of the attempt.
    async fn open_connection(
        &self,
        candidate: &NodeCandidate,
        purpose: &str,
        socket: &Arc<Mutex<HandshakeSocket>>,
    ) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("sealpost {purpose}").into());
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: self.ca_pem.clone(),
        };
        let (address, socket) = (candidate.address, Arc::clone(socket));
        let runtime = lapin::runtime::default_runtime()?;
        Connection::connector(
            candidate.uri.clone(),
            runtime,
            async move |uri, runtime| {
                let opened = async {
                    let stream = AsyncTcpStream::connect(&runtime, address).await?;
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        remember_socket(&socket, plain.get_ref())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => {
                            stream.into_tls(&uri.authority.host, tls.as_ref()).await
                        }
                    }
                };
                // Limited here, too: lapin goes on with an attempt that is given up.
                let limited = tokio::time::timeout(HANDSHAKE_TIMEOUT, opened).await;
                let opened = limited.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
                opened.map_err(|error| ErrorKind::IOError(Arc::new(error)).into())
            },
            properties,
        )
        .await
    }
}

/// Resolves the host of a URI.
///
/// # Errors
/// Fails with the words that follow those that there is no address.
async fn resolve_host(uri: &AMQPUri) -> Result<Vec<SocketAddr>, String> {
    let host = (uri.authority.host.clone(), uri.authority.port);
    match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(host)).await {
        Ok(Ok(addresses)) => Ok(addresses.take(ADDRESSES).collect()),
        Ok(Err(error)) => Err(format!(": {error}")),
        Err(_elapsed) => Err(format!(" within {LOOKUP_TIMEOUT:?}")),
    }
}

fn parse_uris(uris: &str) -> anyhow::Result<Vec<AMQPUri>> {
    let texts: Vec<&str> = uris
        .split(',')
        .map(str::trim)
        .filter(|uri| !uri.is_empty())
        .collect();
    anyhow::ensure!(
        !texts.is_empty(),
        "--rabbitmq-uri: it is empty, give amqp://host:port or amqps://host:port"
    );
    let count = texts.len();
    let uris = texts.into_iter().enumerate().map(|(index, text)| {
        let which = if count > 1 {
            format!(" (URI {} of {count})", index + 1)
        } else {
            String::new()
        };
        parse_uri(text).map_err(|error| anyhow::anyhow!("--rabbitmq-uri{which}: {error}"))
    });
    uris.collect()
}

fn parse_uri(text: &str) -> Result<AMQPUri, String> {
    let refused = |error: String| {
        let shown = !error.contains(text) && !error.contains("Invalid URL");
        let reason = if shown {
            error
        } else {
            "it is not of the form amqp://user:password@host:port/vhost".to_owned()
        };
        format!("{reason} (several are separated by commas; a comma in a password is written %2C)")
    };
    let mut uri: AMQPUri = text.parse().map_err(refused)?;
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::super::credentials::CredentialSource;
    use super::*;

    fn read(uris: &str) -> anyhow::Result<RabbitmqAddress> {
        let credentials = RabbitmqCredentials {
            username: None,
            password: Some(CredentialSource::Text("s3cret".to_owned())),
        };
        RabbitmqAddress::new(uris, credentials, None)
    }

    #[test]
    fn several_uris_are_separated_by_commas() {
        for (text, names) in [
            ("amqp://a", "a:5672 (virtual host /)"),
            (
                "amqp://u:p@a:1/%2f, amqps://b/v",
                "a:1 (virtual host /),b:5671 (virtual host v)",
            ),
            (
                "amqp://a:1,amqp://b:2,",
                "a:1 (virtual host /),b:2 (virtual host /)",
            ),
            ("amqp://a:1/", "a:1 (virtual host with the empty name)"),
        ] {
            assert_eq!(format!("{:?}", read(text).expect(text)), names, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        for (text, said) in [
            ("", "it is empty"),
            (" , ", "it is empty"),
            ("http://u:hidden@a", "--rabbitmq-uri: "),
            ("amqp://a,nonsense:hidden", "(URI 2 of 2)"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(
                error.contains(said) && !error.contains("hidden") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
