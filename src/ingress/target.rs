//! The target of a request: the channel, Broker or RequestReply that has its host and path.

use std::sync::Arc;

use http::Request;
use http::header::HOST;

use super::response::IngressResponse;
use crate::budget::MemoryBudget;
use crate::model::{AddressLookup, Channel, RequestReply, SenderAuthorization};
use crate::observation::ObservedObject;
use crate::router::{ServedTable, observed_request_reply};

/// Target of a request, by its host and path.
pub(super) enum IngressTarget<'s> {
    /// A channel or Broker, at this index of the table.
    Channel(usize, &'s Channel),
    RequestReply(&'s RequestReply),
}

impl<'s> IngressTarget<'s> {
    /// Looks the target of a request up in the table.
    ///
    /// # Errors
    /// If no target has this address, or more than one has.
    pub(super) fn find<B>(
        serving: &'s ServedTable,
        request: &Request<B>,
    ) -> Result<Self, IngressResponse> {
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let host = authority.or_else(|| request.headers().get(HOST)?.to_str().ok());
        match serving.table.look_up(host, request.uri().path()) {
            AddressLookup::Channel(index, channel) => Ok(Self::Channel(index, channel)),
            AddressLookup::RequestReply(request_reply) => Ok(Self::RequestReply(request_reply)),
            AddressLookup::NotFound => Err(IngressResponse::NotFound),
            AddressLookup::BadPath => Err(IngressResponse::BadPath),
            AddressLookup::Ambiguous => Err(IngressResponse::Ambiguous),
        }
    }

    /// The target as records of events name it.
    pub(super) fn observed(&self, serving: &ServedTable) -> Option<Arc<ObservedObject>> {
        match self {
            Self::Channel(index, _) => serving.observed_channel(*index).cloned(),
            Self::RequestReply(request_reply) => Some(observed_request_reply(request_reply)),
        }
    }

    /// True if the target takes no batches.
    pub(super) fn refuses_batches(&self) -> bool {
        matches!(self, Self::RequestReply(_))
    }

    /// Budget of the namespace that takes the events; `None` if namespaces have no limits.
    pub(super) fn budget(&self, serving: &'s ServedTable) -> Option<&'s Arc<MemoryBudget>> {
        let index = match self {
            Self::Channel(index, _) => *index,
            Self::RequestReply(request_reply) => serving.table.channel(&request_reply.broker)?.0,
        };
        serving.budget(index)
    }

    /// Authorization that the target asks of senders.
    pub(super) fn access(&self) -> Option<&'s SenderAuthorization> {
        match self {
            Self::Channel(_, channel) => channel.authorization.as_ref(),
            Self::RequestReply(request_reply) => request_reply.authorization.as_ref(),
        }
    }
}
