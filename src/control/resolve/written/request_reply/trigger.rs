//! The Trigger of a RequestReply, as upstream's controller names and writes it.

use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::eventing::RequestReplyManifest;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::CollectedItems;
use crate::correlation::SECRET;
use crate::model::{
    ChannelKey, NamespacedName, REPLY_INDEX, REPLY_REPLICAS, RequestReply, Subscription,
    SubscriptionKey, SubscriptionKind,
};

/// Upstream's label of the Triggers that it generates.
const LABEL: &str = "eventing.knative.dev/RequestReply.name";
/// The longest name that upstream's `kmeta.ChildName` makes.
const LONGEST_NAME: usize = 63;

/// The expression of the Trigger's filter, as upstream writes it.
pub(super) fn verification_expression(attribute: &str, request_reply: &NamespacedName) -> String {
    let NamespacedName { namespace, name } = request_reply;
    format!(
        "KN_VERIFY_CORRELATION_ID({attribute}, \"{name}\", \"{namespace}\", \"{SECRET}\", \
         {REPLY_INDEX}, {REPLY_REPLICAS})"
    )
}

/// The RequestReply that upstream generated a Trigger for; `None` if it generated none.
pub(super) fn labelled_request_reply<'d>(report: &ObjectReport<'d>) -> Option<&'d str> {
    report.document().text(&["metadata", "labels", LABEL])
}

/// True if upstream generated this Trigger for one of these RequestReplies, each of which has a
/// Trigger of its own here; a note says so.
pub(crate) fn replaces_upstream_trigger(
    report: &mut ObjectReport<'_>,
    request_replies: &CollectedItems<'_, RequestReplyManifest>,
) -> bool {
    let Some(name) = labelled_request_reply(report) else {
        return false;
    };
    if !request_replies.contains_key(&NamespacedName::new(&report.object().namespace, name)) {
        return false;
    }
    let message = format!(
        "was made for the RequestReply {name}, which has one of its own here: it is left alone"
    );
    report.note(&format!("metadata.labels.{LABEL}"), message);
    true
}

/// The Trigger of a RequestReply, as upstream's controller would write it.
pub(crate) fn trigger_object(request_reply: &RequestReply, made: &Subscription) -> Value {
    let ChannelKey {
        namespace, name, ..
    } = &request_reply.key;
    let cesql = verification_expression(
        &request_reply.reply_attribute,
        &NamespacedName::new(namespace, name),
    );
    let subscriber = made
        .subscriber
        .as_ref()
        .map_or("", |subscriber| subscriber.url.as_written());
    json!({
        "apiVersion": ResourceKind::Trigger.api_version(),
        "kind": ResourceKind::Trigger.as_str(),
        "metadata": { "name": made.key.name, "namespace": namespace, "labels": { LABEL: name } },
        "spec": {
            "broker": request_reply.broker.name,
            "filters": [{ "cesql": cesql }],
            "subscriber": { "uri": subscriber },
        },
    })
}

/// The key of the Trigger of a RequestReply.
pub(crate) fn trigger_key(request_reply: &NamespacedName) -> SubscriptionKey {
    let name = child_name(
        &request_reply.name,
        &format!("{REPLY_INDEX}-{REPLY_REPLICAS}"),
    );
    SubscriptionKey {
        kind: SubscriptionKind::Trigger,
        namespace: request_reply.namespace.clone(),
        name,
    }
}

/// The name of a generated object as upstream makes it (`kmeta.ChildName`), for suffixes that leave
/// room for a hash.
fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST_NAME {
        return format!("{parent}{suffix}");
    }
    let hash = Md5::digest(parent.as_bytes());
    let head = LONGEST_NAME.saturating_sub(2 * hash.len() + suffix.len());
    format!("{}{hash:x}{suffix}", parent.get(..head).unwrap_or(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second name is what Go's `kmeta.ChildName` makes.
    #[test]
    fn children_are_named_as_upstream_names_them() {
        assert_eq!(child_name("rr", "0-1"), "rr0-1");
        let long = "a".repeat(70);
        let name = child_name(&long, "0-1");
        assert_eq!(name.len(), LONGEST_NAME);
        assert_eq!(
            name,
            format!("{}{:x}0-1", "a".repeat(28), Md5::digest(long.as_bytes()))
        );
    }
}
