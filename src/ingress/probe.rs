//! Probes at the event ports: those of the kubelet, whatever the mode and the path, and Knative's
//! network probe (contract 1.8, 1.9).

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;

use super::response::empty_response;
use crate::model::UriScheme;
use crate::supervisor::Readiness;

/// Start of the User-Agent of the kubelet's probes, which get a response whatever the mode and the
/// path.
const KUBELET: &str = "kube-probe/";
/// Header fields of Knative's network probe: its mark, and the hash that it expects in the
/// response.
const NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
const NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");

/// Response to a probe; `None` if the request is none.
pub(super) fn respond_to_probe<B>(
    request: &Request<B>,
    scheme: UriScheme,
    readiness: &Readiness,
) -> Option<Response<Full<Bytes>>> {
    let header = |name: HeaderName| request.headers().get(name)?.to_str().ok();
    let is_kubelet = header(USER_AGENT).is_some_and(|agent| agent.starts_with(KUBELET));
    let is_network = header(NETWORK_PROBE) == Some("probe");
    if !is_kubelet && !is_network {
        return None;
    }
    let status = if readiness.is_stopping() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if !is_network {
        kubelet_status(scheme, readiness)
    } else if header(NETWORK_HASH).is_some_and(|hash| !hash.is_empty()) {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut response = empty_response(status);
    let hash = request.headers().get(NETWORK_HASH);
    if let Some(hash) = hash.filter(|_| status == StatusCode::OK) {
        response.headers_mut().insert(NETWORK_HASH, hash.clone());
    }
    Some(response)
}

/// Status for the kubelet. It may restart the process because of it, so it depends on the process
/// alone and on no backend; `/readyz` of the admin port depends on those.
fn kubelet_status(scheme: UriScheme, readiness: &Readiness) -> StatusCode {
    match scheme {
        UriScheme::Https => StatusCode::OK,
        UriScheme::Http if readiness.is_starting() => StatusCode::SERVICE_UNAVAILABLE,
        UriScheme::Http => StatusCode::NO_CONTENT,
    }
}
