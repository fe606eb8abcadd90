//! Names that several objects have, and which of these objects is served.
//!
//! What had the name before keeps it, wherever it stands: otherwise a newcomer in an earlier file,
//! or further up in the same one, would take the place of what is served. Where there was none
//! before, the first one has it.

mod displaced;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::CollectedObjects;
use crate::control::read::document::{ManifestDocument, ManifestSet};
use crate::control::read::kind::group_of;
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::problem::Problem;
use crate::control::settings::ControlSettings;
use crate::model::{Inventory, RoutingTable};
use displaced::Displaced;

/// What was served before the last change, and who had which name.
pub(crate) struct LastServed<'l> {
    pub(crate) claims: &'l Claims,
    pub(crate) table: &'l RoutingTable,
    pub(crate) inventory: &'l Inventory,
    pub(crate) problems: &'l [Problem],
}

/// Group, kind, namespace and name.
type Identity<'d> = [&'d str; 4];

/// Who has the names that several claim, and where everything stood, for whoever asks that after
/// the next change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    manifests: ManifestSet,
    held: BTreeMap<[String; 4], Held>,
    /// What is served on, though its document is another object by now.
    displaced: Vec<Displaced>,
}

/// Who has a name.
#[derive(Clone, Debug)]
struct Held {
    /// Without its place, since that is where another one stands by now if it is not among those
    /// who claim the name.
    document: ManifestDocument,
    file: Option<Arc<str>>,
    is_there: bool,
}

impl Held {
    fn of(document: &ManifestDocument) -> Self {
        let file = document
            .origin
            .as_ref()
            .map(|origin| Arc::clone(&origin.file));
        Self {
            document: ManifestDocument {
                value: Arc::clone(&document.value),
                origin: None,
            },
            file,
            is_there: true,
        }
    }

    fn is_of(&self, document: &ManifestDocument) -> bool {
        self.file.as_deref() == document.file()
    }

    fn is(&self, value: &Arc<Value>) -> bool {
        Arc::ptr_eq(&self.document.value, value) || self.document.value == *value
    }

    /// The place of the one that is this, though it may have been moved, or is the only one where
    /// this was.
    fn place(&self, claimants: &[(usize, &ManifestDocument)]) -> Option<usize> {
        let mut same = claimants
            .iter()
            .filter(|(_, document)| self.is(&document.value));
        let mut beside = claimants
            .iter()
            .filter(|(_, document)| self.is_of(document));
        let moved = same.clone().next();
        let (place, _) = same
            .find(|(_, document)| self.is_of(document))
            .or(moved)
            .or_else(|| {
                let only = beside.next();
                only.filter(|_| beside.next().is_none())
            })?;
        Some(*place)
    }
}

impl Claims {
    /// Who has the names that several of these documents claim. `last` is what was served before the
    /// last change.
    pub(crate) fn of(
        manifests: &ManifestSet,
        last: Option<&LastServed<'_>>,
        settings: &ControlSettings,
    ) -> Self {
        if !settings.task.reads_written_objects() {
            return Self::default();
        }
        let displaced = last
            .map(|last| displaced::find(manifests, last, settings))
            .unwrap_or_default();
        let last = last.map(|last| last.claims);
        let mut claimed: HashMap<Identity<'_>, Vec<(usize, &ManifestDocument)>> = HashMap::new();
        for (place, document) in manifests.documents().enumerate() {
            if let Some(identity) = identity(document, &settings.default_namespace) {
                claimed.entry(identity).or_default().push((place, document));
            }
        }
        claimed.retain(|_, claimants| claimants.len() > 1);
        let before = last
            .filter(|_| !claimed.is_empty())
            .map(|last| last.holders(&claimed, settings));
        let mut before = before.unwrap_or_default();
        let held = claimed.into_iter().filter_map(|(identity, claimants)| {
            let (_, first) = claimants.first()?;
            let held = match before.remove(&identity) {
                None => Held::of(first),
                Some(before) => match before.place(&claimants) {
                    Some(place) => Held::of(claimants.iter().find(|(at, _)| *at == place)?.1),
                    None => Held {
                        is_there: false,
                        ..before
                    },
                },
            };
            Some((identity.map(str::to_owned), held))
        });
        Self {
            held: held.collect(),
            manifests: manifests.clone(),
            displaced,
        }
    }

    /// Who had these names.
    fn holders<'i>(
        &'i self,
        names: &HashMap<Identity<'i>, Vec<(usize, &ManifestDocument)>>,
        settings: &'i ControlSettings,
    ) -> HashMap<Identity<'i>, Held> {
        let mut held = HashMap::new();
        for document in self.manifests.documents() {
            let known = identity(document, &settings.default_namespace)
                .and_then(|identity| names.get_key_value(&identity));
            if let Some((identity, _)) = known {
                held.entry(*identity).or_insert_with(|| Held::of(document));
            }
        }
        for identity in names.keys() {
            if let Some(known) = self.held.get(&identity.map(str::to_owned)) {
                held.insert(*identity, known.clone());
            }
        }
        held
    }

    /// The documents in such an order that those come first that have the names that several claim,
    /// and with what is displaced instead of what displaces it.
    pub(crate) fn in_order<'d>(
        &'d self,
        mut documents: Vec<&'d ManifestDocument>,
        settings: &ControlSettings,
    ) -> Vec<&'d ManifestDocument> {
        if self.held.is_empty() && self.displaced.is_empty() {
            return documents;
        }
        documents.retain(|document| {
            !self
                .displaced
                .iter()
                .any(|displaced| displaced.is_displaced_by(document))
        });
        let mut found = HashSet::new();
        let is_newcomer = |document: &&ManifestDocument| {
            let identity = identity(document, &settings.default_namespace)
                .map(|identity| identity.map(str::to_owned));
            let Some((identity, held)) =
                identity.and_then(|identity| self.held.get_key_value(&identity))
            else {
                return false;
            };
            !(held.is(&document.value) && held.is_of(document) && found.insert(identity))
        };
        let (newcomers, known): (Vec<_>, Vec<_>) = documents.into_iter().partition(is_newcomer);
        let absent = self
            .held
            .values()
            .filter(|held| !held.is_there)
            .map(|held| &held.document);
        let displaced = self.displaced.iter().map(|displaced| &displaced.document);
        displaced
            .chain(absent)
            .chain(known)
            .chain(newcomers)
            .collect()
    }

    /// Reports each of these documents that has displaced what is served on.
    pub(crate) fn report_displacing<'d>(
        &self,
        documents: impl Iterator<Item = &'d ManifestDocument>,
        collected: &mut CollectedObjects<'d>,
        settings: &ControlSettings,
    ) {
        for document in documents.filter(|_| !self.displaced.is_empty()) {
            let by = self
                .displaced
                .iter()
                .find(|displaced| displaced.is_displaced_by(document));
            if let Some(displaced) = by {
                // Nobody knows which object it is meant to be, so that it may close something, too.
                collected.unidentified.push(document);
                collected
                    .problems
                    .extend(displaced.problems(document, settings));
            }
        }
    }
}

/// Which object a document is; `None` if that is not known.
fn identity<'d>(
    document: &'d ManifestDocument,
    default_namespace: &'d str,
) -> Option<Identity<'d>> {
    let [kind, namespace, name] = document.identity();
    let (api_version, kind) = (document.text(&["apiVersion"])?, kind?);
    let group = match ResourceKind::recognize(api_version, kind) {
        RecognizedKind::Known(_) | RecognizedKind::Foreign => group_of(api_version),
        RecognizedKind::Mistaken { .. } => return None,
    };
    Some([group, kind, namespace.unwrap_or(default_namespace), name?])
}
