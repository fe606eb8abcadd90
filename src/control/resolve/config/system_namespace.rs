//! The namespace of Knative's own ConfigMaps and Secrets.

use crate::control::read::document::ManifestDocument;
use crate::control::read::spelling::suggest_word;
use crate::control::settings::ControlSettings;

/// What is wrong with the namespace of an object that counts in the system namespace only; `None`
/// if it is there, or somewhere else on purpose.
pub(crate) fn astray(
    document: &ManifestDocument,
    settings: &ControlSettings,
) -> Option<&'static str> {
    match document.text(&["metadata", "namespace"]) {
        None if settings.default_namespace != settings.system_namespace => Some("is missing"),
        Some(namespace)
            if suggest_word(namespace, [settings.system_namespace.as_str()]).is_some() =>
        {
            Some("is misspelt")
        }
        _ => None,
    }
}
