//! The body of a request as handlers see it. Its connection learns whether it was read to its end,
//! since an unread rest decides how the connection is closed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use super::connection_activity::ConnectionActivity;

/// The body of a request, which tells its connection when it was read.
#[derive(Debug)]
pub struct RequestBody {
    body: hyper::body::Incoming,
    /// The connection, told at the end of the body; `None` for an empty body, and over HTTP/2,
    /// where a connection is not for one request alone.
    activity: Option<Arc<ConnectionActivity>>,
}

impl RequestBody {
    /// Wraps the body of a request of this version on that connection.
    pub(super) fn new(
        body: hyper::body::Incoming,
        version: Version,
        activity: &Arc<ConnectionActivity>,
    ) -> Self {
        let matters = version < Version::HTTP_2 && !body.is_end_stream();
        if matters {
            activity.set_body_unread();
        } else {
            activity.set_body_read();
        }
        Self {
            body,
            activity: matters.then(|| Arc::clone(activity)),
        }
    }

    fn set_read(&mut self) {
        if let Some(activity) = self.activity.take() {
            activity.set_body_read();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.set_read();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
