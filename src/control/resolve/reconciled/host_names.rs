//! The host names that a channel is known by.

use serde_json::Value;
use url::Url;

/// The largest number of host names that a channel is known by: the present one, and those that
/// senders may still hold.
const MAX_HOSTS: usize = 8;

/// The host names of the channel: those of its status as they stand there (contract 4.4, 4.5), and
/// earlier ones, which senders may hold while modes flip (contract 4.6). An address with a path
/// names the dispatcher, and no channel.
pub(super) fn host_names(document: &Value, known: &[String]) -> Vec<String> {
    let status = document.get("status");
    let others = status
        .and_then(|status| status.get("addresses")?.as_array())
        .into_iter()
        .flatten();
    let address = status.and_then(|status| status.get("address"));
    let written = others
        .chain(address)
        .filter_map(|address| host_of(address.get("url")?.as_str()?));
    let mut hosts = known.to_vec();
    for host in written {
        hosts.retain(|known| *known != host);
        hosts.push(host);
    }
    hosts.drain(..hosts.len().saturating_sub(MAX_HOSTS));
    hosts
}

fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.host_str()
        .filter(|_| url.path() == "/")
        .map(str::to_owned)
}
