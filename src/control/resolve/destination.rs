//! Resolves destinations: from `ref`, `uri` and CACerts to a URL and a route (contract 5.2, TL-8,
//! TL-9).

pub(super) mod address;
mod local;
pub(super) mod other_kinds;
pub(super) mod reference;
pub(super) mod replacement;
pub(super) mod service;
pub(super) mod service_location;
mod service_reference;
pub(super) mod uri;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use url::Url;

use crate::control::read::manifest::duck::{DestinationManifest, KReference};
use crate::control::read::problem::ObjectName;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::trust::DestinationTrust;
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::senders::authorization::SenderRules;
use crate::control::settings::ControlSettings;
use crate::correlation::KeyRing;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, DestinationRoute, DestinationUrl, NamespacedName,
    TransportEncryption, TrustBundle,
};
use address::ChannelAddresses;
use service_location::ServiceLocations;

/// The reason why a channel or Broker can or cannot be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingState {
    /// The object takes events.
    Served,
    /// The object has problems of its own, and never had a good form.
    Broken,
    /// The object is of a kind, or of a class, that is not served here.
    NotServed,
}

/// Resolves destinations against everything that is configured.
#[derive(Debug)]
pub(super) struct DestinationResolver<'s> {
    pub(super) settings: &'s ControlSettings,
    /// The mode in effect, which decides the scheme of addresses.
    pub(super) mode: TransportEncryption,
    pub(super) addresses: ChannelAddresses<'s>,
    pub(super) service_locations: ServiceLocations,
    pub(super) trust: DestinationTrust,
    pub(super) sender_rules: SenderRules,
    /// The state of each channel, Broker and RequestReply that is declared.
    pub(super) serving_states: HashMap<ChannelKey, ServingState>,
    /// The keys of correlation ids.
    pub(super) key_ring: Arc<KeyRing>,
    /// The time that requests to RequestReplies wait by default.
    pub(super) reply_timeout: Duration,
    /// The channels that take the events of Sequences and Parallels.
    pub(super) flows: HashSet<ChannelKey>,
}

/// A destination as it is written, with the names of its fields.
#[derive(Clone, Debug)]
pub(super) struct WrittenDestination<'w> {
    pub(super) reference: Option<&'w KReference>,
    pub(super) uri: Option<&'w str>,
    pub(super) ca_certs: Option<&'w str>,
    pub(super) audience: Option<&'w str>,
    /// The field of the destination itself, for problems that concern all of it.
    pub(super) field: String,
    /// The field of the URI, for its problems.
    pub(super) uri_field: String,
    /// The field of the CACerts, for their problems.
    pub(super) ca_certs_field: String,
}

impl<'w> WrittenDestination<'w> {
    /// A destination that stands at a field.
    pub(super) fn at_field(field: String, written: &'w DestinationManifest) -> Self {
        Self {
            reference: written.reference.as_ref(),
            uri: written.uri.as_deref(),
            // Knative ignores an empty text, too, and objects that were exported from a cluster
            // have one.
            ca_certs: written.ca_certs.as_deref().filter(|text| !text.is_empty()),
            audience: written.audience.as_deref(),
            uri_field: format!("{field}.uri"),
            ca_certs_field: format!("{field}.CACerts"),
            field,
        }
    }

    /// A URI that stands in a field of its own, whose name begins with `prefix`, as does that of
    /// its certificates.
    pub(super) fn from_uri(uri: &'w str, prefix: String) -> Self {
        Self {
            reference: None,
            uri: Some(uri),
            ca_certs: None,
            audience: None,
            uri_field: format!("{prefix}Uri"),
            ca_certs_field: format!("{prefix}CACerts"),
            field: prefix,
        }
    }
}

/// A URL, and the route by which it is reached.
pub(super) struct ResolvedUrl {
    pub(super) url: DestinationUrl,
    pub(super) route: DestinationRoute,
}

/// The error for CACerts that nothing can be verified with, which are reported.
struct UnusableCaCerts;

impl DestinationResolver<'_> {
    /// Resolves a destination of an object; `None` if a problem was reported.
    pub(super) fn resolve(
        &mut self,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        let found = self.find_url(wanted, report);
        // The certificates are checked in any case, so that all problems are reported at once.
        let own = self.ca_certs_trust(wanted, report);
        let found = found?;
        Some(self.build_addressable(wanted, found, own.ok()?, report))
    }

    /// Resolves a destination, or makes it unresolved: every event that is sent there fails, for
    /// the reason that was reported. The object is applied all the same, so that its events are
    /// dead-lettered, and not lost.
    pub(super) fn resolve_or_unresolved(
        &mut self,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Addressable {
        let (found, why) = report.with_tolerated_errors(|report| self.find_url(wanted, report));
        let why = why
            .or_else(|| report.not_served_reason().map(str::to_owned))
            .unwrap_or_default();
        let nowhere = || ResolvedUrl {
            url: unresolved_url(wanted, report.object()),
            route: DestinationRoute::Unresolved(why.into()),
        };
        let found = found.unwrap_or_else(nowhere);
        let (own, _why) =
            report.with_tolerated_errors(|report| self.ca_certs_trust(wanted, report));
        let own = own.unwrap_or_else(|UnusableCaCerts| {
            wanted
                .ca_certs
                .map(|text| self.trust.with_unusable_ca_certs(text))
        });
        let to = self.build_addressable(wanted, found, own, report);
        if to.trust.trusts_nobody() && !self.settings.task.reads_written_objects() {
            let complaint = wanted
                .ca_certs
                .and_then(DestinationTrust::unreadable_reason)
                .unwrap_or_default();
            report.with_tolerated_errors(|report| report.error(&wanted.ca_certs_field, complaint));
        }
        to
    }

    fn find_url(
        &self,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        let found = match (wanted.reference, wanted.uri) {
            (Some(reference), _) => self.resolve_reference(reference, wanted, report),
            (None, Some(text)) => match self.parse_url(text) {
                Ok(url) => {
                    let found = self.resolve_url(url, &wanted.uri_field, report);
                    self.check_host(&found, &wanted.uri_field, report);
                    Some(found)
                }
                Err(message) => {
                    report.error(&wanted.uri_field, message);
                    None
                }
            },
            (None, None) => {
                report.error(&wanted.field, "names no destination: give a ref or a uri");
                None
            }
        };
        let found = found?;
        if matches!(found.route, DestinationRoute::Remote { .. }) && found.url.uri().is_none() {
            report.error(
                &wanted.uri_field,
                "is a URL that no request can carry: correct its host and path",
            );
            return None;
        }
        Some(found)
    }

    /// Reads a URL as a user has written it, or as the status of an object of a cluster has it.
    fn parse_url(&self, text: &str) -> Result<DestinationUrl, String> {
        if self.settings.task.serves_manifests() {
            uri::parse_destination_url(text)
        } else {
            uri::parse_reconciled_url(text)
        }
    }

    /// The trust of a destination's own CACerts; `None` if it has none.
    fn ca_certs_trust(
        &mut self,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Result<Option<Arc<TrustBundle>>, UnusableCaCerts> {
        let Some(text) = wanted.ca_certs else {
            return Ok(None);
        };
        if !self.settings.task.reads_written_objects() {
            return Ok(Some(self.trust.with_unchecked_ca_certs(text)));
        }
        self.trust
            .with_ca_certs(text, &wanted.ca_certs_field, report)
            .map(Some)
            .ok_or(UnusableCaCerts)
    }

    fn build_addressable(
        &self,
        wanted: &WrittenDestination<'_>,
        found: ResolvedUrl,
        own: Option<Arc<TrustBundle>>,
        report: &mut ObjectReport<'_>,
    ) -> Addressable {
        let ResolvedUrl { url, route } = found;
        let remote = matches!(route, DestinationRoute::Remote { .. });
        let trust = match own {
            Some(own) if remote && url.scheme() == "https" => own,
            None if remote && url.scheme() == "https" => self.trust.common(),
            _ => self.trust.none(),
        };
        if remote
            && url.scheme() == "http"
            && wanted.ca_certs.is_some()
            && self.settings.task.reads_written_objects()
        {
            let message =
                format!("is not used, since the destination {url} is reached without TLS");
            report.warning(&wanted.ca_certs_field, message);
        }
        // Controllers take the audience from the status of the object that is referred to, too.
        let referred = wanted.reference.and(route.local_channel());
        let audience = wanted
            .audience
            .map(str::to_owned)
            .or_else(|| self.sender_rules.audience(referred?));
        Addressable {
            url,
            route,
            trust,
            audience,
        }
    }

    /// The address of a channel or Broker of this process, which must be served.
    pub(super) fn local_addressable(&self, key: &ChannelKey) -> Option<Addressable> {
        let url = self.addresses.preferred_url(key)?.into();
        let audience = self.sender_rules.audience(key);
        Some(Addressable {
            url,
            route: DestinationRoute::Local(key.clone()),
            trust: self.trust.none(),
            audience,
        })
    }

    /// The address of a channel or Broker in the cluster, for a role that serves neither.
    pub(super) fn cluster_addressable(
        &mut self,
        key: &ChannelKey,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        let url = self.addresses.preferred_url(key)?;
        let url = DestinationUrl::from(url);
        let name = "metadata.name".to_owned();
        self.resolve(
            &WrittenDestination {
                uri_field: name.clone(),
                ..WrittenDestination::from_uri(url.as_written(), name)
            },
            report,
        )
    }

    /// Says why a channel or Broker cannot be referred to; `Ok` if it can.
    pub(super) fn check_served(&self, key: &ChannelKey) -> Result<(), String> {
        check_serving_state(self.serving_states.get(key), key)
    }

    /// True if the key names a Broker or channel that another implementation serves.
    pub(super) fn is_left_alone(&self, key: &ChannelKey) -> bool {
        self.serving_states.get(key) == Some(&ServingState::NotServed)
    }
}

/// Says why an object in this state cannot be referred to; `Ok` if it can.
pub(super) fn check_serving_state(
    place: Option<&ServingState>,
    called: &dyn fmt::Display,
) -> Result<(), String> {
    match place {
        Some(ServingState::Served) => Ok(()),
        Some(ServingState::Broken) => Err(format!(
            "{called} has problems of its own: solve them first"
        )),
        Some(ServingState::NotServed) => Err(format!("{called} is not served here")),
        None => Err(format!(
            "there is no {called}: create it, or correct the reference"
        )),
    }
}

/// The key of the RequestReply of this name.
pub(crate) fn request_reply_key(name: &NamespacedName) -> ChannelKey {
    channel_key(
        ChannelKind::RequestReply,
        name.namespace.clone(),
        name.name.clone(),
    )
}

/// The URL of a destination that is unresolved: the URI as it was written, without its credentials,
/// else the object that it refers to.
fn unresolved_url(wanted: &WrittenDestination<'_>, object: &ObjectName) -> DestinationUrl {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut url = UNRESOLVED.clone();
    if let Some(reference) = wanted.reference {
        let namespace = text(&reference.namespace).unwrap_or_else(|| object.namespace.clone());
        let named = [
            text(&reference.kind),
            Some(namespace),
            text(&reference.name),
        ];
        url.set_path(&named.map(Option::unwrap_or_default).join("/"));
        return url.into();
    }
    let text = wanted.uri.map(uri::without_user_info).unwrap_or_default();
    match Url::parse(&text) {
        Ok(url) => DestinationUrl::from_written(url, &text),
        Err(_error) if text.is_empty() => url.into(),
        Err(_error) => DestinationUrl::from_written(url, &text),
    }
}

static UNRESOLVED: LazyLock<Url> =
    LazyLock::new(|| Url::parse("unresolved:/").expect("it is a URL"));
