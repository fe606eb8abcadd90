//! The yardstick: nginx as a reverse proxy between the sender and the sink.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::Wire;
use crate::process::Process;
use crate::sink::{Sink, certificate};

/// A running nginx with one worker, ended when it is dropped.
pub(crate) struct Nginx {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// PEM of its own certificate, if it speaks TLS.
    pub(crate) ca: Option<String>,
    /// From the start of the process until it takes connections.
    pub(crate) ready: Duration,
    _directory: TempDir,
}

impl Nginx {
    pub(crate) async fn start(wire: Wire, sink: &Sink) -> Self {
        let directory = TempDir::new().expect("a directory");
        let address = free_address().await;
        let ca = (wire != Wire::Plain).then(|| write_certificates(directory.path(), sink));
        let configuration = directory.path().join("nginx.conf");
        std::fs::write(
            &configuration,
            configure(wire, address, sink, directory.path()),
        )
        .expect("written");
        let mut command = Process::pinned(Path::new("nginx"));
        command
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(configuration);
        let started = Instant::now();
        let process = Process::start(command);
        while TcpStream::connect(address).await.is_err() {
            let log =
                || std::fs::read_to_string(directory.path().join("error.log")).unwrap_or_default();
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "nginx did not start: {}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Self {
            process,
            address,
            ca,
            ready: started.elapsed(),
            _directory: directory,
        }
    }

    /// What `nginx -v` says.
    pub(crate) fn version() -> Option<String> {
        let output = Command::new("nginx").arg("-v").output().ok()?;
        Some(
            String::from_utf8(output.stderr)
                .ok()?
                .trim()
                .rsplit(' ')
                .next()?
                .to_owned(),
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its worker with it; killed, it could not.
        self.process.stop();
    }
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

/// Writes nginx's certificate, which is returned, its key, and the certificate of the sink.
fn write_certificates(directory: &Path, sink: &Sink) -> String {
    let (certificate, key) = certificate();
    std::fs::write(directory.join("server.crt"), certificate.pem()).expect("written");
    std::fs::write(directory.join("server.key"), key.serialize_pem()).expect("written");
    std::fs::write(
        directory.join("sink.crt"),
        sink.ca().expect("a sink with TLS"),
    )
    .expect("written");
    certificate.pem()
}

/// Connections stay open in both directions, bodies stay in memory, and a sink over TLS is
/// verified.
fn configure(wire: Wire, address: SocketAddr, sink: &Sink, directory: &Path) -> String {
    let directory = directory.display();
    let listen = match wire {
        Wire::Plain => "",
        Wire::TlsHttp1 => "ssl",
        Wire::TlsHttp2 => "ssl http2",
    };
    let tls = if wire == Wire::Plain {
        String::new()
    } else {
        format!(
            "ssl_certificate {directory}/server.crt;\n    ssl_certificate_key {directory}/server.key;\n    \
             ssl_protocols TLSv1.2 TLSv1.3;\n    proxy_ssl_trusted_certificate {directory}/sink.crt;\n    \
             proxy_ssl_protocols TLSv1.2 TLSv1.3;\n    proxy_ssl_verify on;\n    proxy_ssl_server_name on;\n    \
             proxy_ssl_name localhost;"
        )
    };
    let scheme = if wire == Wire::Plain { "http" } else { "https" };
    format!(
        "daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000000;
  client_max_body_size 16m;
  client_body_buffer_size 2m;
  upstream sink {{
    server 127.0.0.1:{};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} {listen};
    server_name localhost;
    {tls}
    location / {{
      proxy_pass {scheme}://sink;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
    }}
  }}
}}
",
        sink.port()
    )
}
