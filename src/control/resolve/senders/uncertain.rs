//! Namespaces in which an object that is not understood may be an EventPolicy.

use crate::control::read::document::ManifestDocument;
use crate::control::read::header::object_name;
use crate::control::read::kind::ResourceKind;
use crate::control::read::problem::ObjectName;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;

/// A namespace whose policies are not all known, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UncertainPolicies {
    Namespace(String),
    AllNamespaces,
}

impl UncertainPolicies {
    /// True if a policy for an object of this namespace may be among them.
    pub(super) fn concern(&self, namespace: &str) -> bool {
        match self {
            Self::Namespace(uncertain) => uncertain == namespace,
            Self::AllNamespaces => true,
        }
    }
}

/// The namespaces in which policies may be missing. What has the name of a policy is that one with
/// a mistake, whose last good form is in force.
pub(super) fn find_uncertain_policies(
    collected: &CollectedObjects<'_>,
    settings: &ControlSettings,
) -> Vec<UncertainPolicies> {
    let is_in_force = |document: &&ManifestDocument| {
        let ObjectName {
            namespace, name, ..
        } = object_name(document, &settings.default_namespace);
        let known = collected
            .event_policies
            .get(&NamespacedName { namespace, name });
        known.is_some_and(|known| !std::ptr::eq(known.report.document(), *document))
    };
    let word = ResourceKind::EventPolicy.as_str();
    let unread = collected
        .is_in_unparsed_text(word)
        .then_some(UncertainPolicies::AllNamespaces);
    collected
        .unidentified_with_word(word)
        .into_iter()
        .filter(|document| !is_in_force(document))
        .map(uncertain_scope)
        .chain(unread)
        .collect()
}

/// The scope of a document that may be an EventPolicy.
fn uncertain_scope(document: &ManifestDocument) -> UncertainPolicies {
    let namespace = document.text(&["metadata", "namespace"]);
    namespace.map_or(UncertainPolicies::AllNamespaces, |namespace| {
        UncertainPolicies::Namespace(namespace.to_owned())
    })
}
