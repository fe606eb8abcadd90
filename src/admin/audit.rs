//! Tells the audit log of requests that change something or read the data of events.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Response, Uri};
use http_body_util::{BodyExt, Full};

use super::admin_action::AdminAction;
use super::authorizer::AdminListener;
use crate::server::RequestContext;
use crate::telemetry::audit::{AuditedPeer, AuditedRequest};

/// What the audit log is told of one request; nothing of requests that only read.
pub(super) struct AdminAudit(Option<AuditedRequest>);

impl AdminAudit {
    /// Begins with what a request is about to do, and who asks.
    pub(super) fn begin(
        action: AdminAction,
        uri: &Uri,
        listener: AdminListener,
        context: &RequestContext,
    ) -> Self {
        let is_audited = matches!(action, AdminAction::Change | AdminAction::ReadData);
        Self(is_audited.then(|| {
            let peer = match listener {
                AdminListener::Socket => AuditedPeer::Socket(context.peer_user),
                AdminListener::Loopback | AdminListener::Network => AuditedPeer::Port(context.peer),
            };
            AuditedRequest::new(uri.path(), uri.query().unwrap_or_default(), peer)
        }))
    }

    /// Records that the request is not allowed, and gives its answer.
    pub(super) fn refused(self, answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        self.record(answer, AuditedRequest::record_refused)
    }

    /// Records what came of the request, and gives its answer.
    pub(super) fn answered(self, answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        self.record(answer, AuditedRequest::record_answered)
    }

    fn record(
        self,
        answer: Response<Full<Bytes>>,
        record: impl FnOnce(AuditedRequest, u16, &str),
    ) -> Response<Full<Bytes>> {
        let Some(request) = self.0 else {
            return answer;
        };
        let (answer, text) = with_text(answer);
        record(request, answer.status().as_u16(), &text);
        answer
    }
}

/// Gives an answer with its text. The body is one piece, and there at once.
fn with_text(answer: Response<Full<Bytes>>) -> (Response<Full<Bytes>>, String) {
    let (parts, mut body) = answer.into_parts();
    let frame = body.frame().now_or_never().flatten();
    let data = frame
        .and_then(Result::ok)
        .and_then(|it| it.into_data().ok());
    let data = data.unwrap_or_default();
    let text = String::from_utf8_lossy(&data).into_owned();
    (Response::from_parts(parts, Full::new(data)), text)
}
