//! Destinations: from `ref`, `uri` and CACerts to where events go (contract 5.2, TL-8, TL-9).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use url::Url;

use super::access::Rules;
use super::address::Addresses;
use super::reference::{self, Meant};
use super::service::{Reaches, Referent};
use super::trust::Trust;
use super::uri;
use crate::control::kind::Kind;
use crate::control::manifest::duck::{Destination, KReference};
use crate::control::report::Report;
use crate::control::settings::Objects;
use crate::control::{ObjectName, Settings};
use crate::correlation::KeyRing;
use crate::model::{Addressable, ChannelKey, ChannelKind, Endpoint, Role, Target, TransportEncryption, TrustBundle};

/// Why a channel or broker can or cannot be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It takes events.
    Served,
    /// It has problems of its own, and never had a good form.
    Broken,
    /// It is of a kind, or of a class, that is not served here.
    NotServed,
}

/// Resolves destinations against everything that is configured.
#[derive(Debug)]
pub(super) struct Resolver<'s> {
    pub(super) settings: &'s Settings,
    pub(super) mode: TransportEncryption,
    pub(super) addresses: Addresses<'s>,
    pub(super) services: Reaches,
    pub(super) trust: Trust,
    pub(super) rules: Rules,
    pub(super) places: HashMap<ChannelKey, Place>,
    /// The keys of correlation ids, and how long requests wait by default.
    pub(super) keys: Arc<KeyRing>,
    pub(super) reply_timeout: Duration,
    /// The channels that take the events of Sequences and Parallels.
    pub(super) flows: HashSet<ChannelKey>,
}

/// A destination as written, with the names of its fields.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) reference: Option<&'w KReference>,
    pub(super) uri: Option<&'w str>,
    pub(super) ca_certs: Option<&'w str>,
    pub(super) audience: Option<&'w str>,
    /// The destination itself, for what concerns all of it.
    pub(super) field: String,
    pub(super) uri_field: String,
    pub(super) ca_certs_field: String,
}

impl<'w> Wanted<'w> {
    /// A destination that stands at a field.
    pub(super) fn at(field: String, written: &'w Destination) -> Self {
        Self {
            reference: written.reference.as_ref(),
            uri: written.uri.as_deref(),
            // As Knative takes it, and as objects have it that were exported from a cluster.
            ca_certs: written.ca_certs.as_deref().filter(|text| !text.is_empty()),
            audience: written.audience.as_deref(),
            uri_field: format!("{field}.uri"),
            ca_certs_field: format!("{field}.CACerts"),
            field,
        }
    }

    /// A URI that stands in a field of its own, whose name begins with `prefix`, as those of its certificates do.
    pub(super) fn uri(uri: &'w str, prefix: String) -> Self {
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

/// A URL, and how it is reached.
pub(super) type Found = (Endpoint, Target);

/// CACerts by which nothing can be verified.
struct Unusable;

impl Resolver<'_> {
    /// Where a destination of an object leads; `None` if a problem was reported.
    pub(super) fn resolve(&mut self, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Option<Addressable> {
        let found = self.find(wanted, report);
        // The certificates are looked at in any case, so that all problems are reported at once.
        let own = self.own_trust(wanted, report);
        let found = found?;
        Some(self.addressable(wanted, found, own.ok()?, report))
    }

    /// Where a destination leads, or nowhere: what is sent there fails then, for the reason that was reported. The object
    /// is applied all the same, so that its events are dead letters, and not lost.
    pub(super) fn resolve_anyway(&mut self, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Addressable {
        let (found, why) = report.excusing(|report| self.find(wanted, report));
        let why = why.or_else(|| report.left_alone().map(str::to_owned)).unwrap_or_default();
        let nowhere = || (unresolved(wanted, report.object()), Target::Nowhere(why.into()));
        let found = found.unwrap_or_else(nowhere);
        let (own, _why) = report.excusing(|report| self.own_trust(wanted, report));
        let own = own.unwrap_or_else(|Unusable| wanted.ca_certs.map(|text| self.trust.despite_all(text)));
        let to = self.addressable(wanted, found, own, report);
        if to.trust.is_nobody() && self.settings.objects != Objects::Written {
            let complaint = wanted.ca_certs.and_then(Trust::complaint).unwrap_or_default();
            report.excusing(|report| report.error(&wanted.ca_certs_field, complaint));
        }
        to
    }

    fn find(&self, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Option<Found> {
        let found = match (wanted.reference, wanted.uri) {
            (Some(reference), _) => self.reference(reference, wanted, report),
            (None, Some(text)) => match uri::endpoint(text) {
                Ok(url) => {
                    let (url, target) = self.url(url, &wanted.uri_field, report);
                    self.check_host(&url, &target, &wanted.uri_field, report);
                    Some((url, target))
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
        let (url, target) = found?;
        if matches!(target, Target::Remote { .. }) && url.uri().is_none() {
            report.error(&wanted.uri_field, "is a URL that no request can carry: correct its host and path");
            return None;
        }
        Some((url, target))
    }

    /// What of its own a destination trusts, if it has CACerts.
    fn own_trust(
        &mut self,
        wanted: &Wanted<'_>,
        report: &mut Report<'_>,
    ) -> Result<Option<Arc<TrustBundle>>, Unusable> {
        let Some(text) = wanted.ca_certs else { return Ok(None) };
        match self.settings.objects {
            Objects::Written => {
                self.trust.with_ca_certs(text, &wanted.ca_certs_field, report).map(Some).ok_or(Unusable)
            }
            Objects::Reconciled(_) => Ok(Some(self.trust.as_reconciled(text))),
        }
    }

    fn addressable(
        &self,
        wanted: &Wanted<'_>,
        (url, target): Found,
        own: Option<Arc<TrustBundle>>,
        report: &mut Report<'_>,
    ) -> Addressable {
        let remote = matches!(target, Target::Remote { .. });
        let trust = match own {
            Some(own) if remote && url.scheme() == "https" => own,
            None if remote && url.scheme() == "https" => self.trust.common(),
            _ => self.trust.none(),
        };
        if remote && url.scheme() == "http" && wanted.ca_certs.is_some() && self.settings.objects == Objects::Written {
            let message = format!("is not used, since the destination {url} is reached without TLS");
            report.warning(&wanted.ca_certs_field, message);
        }
        // As controllers take it from the status of the object that is referred to.
        let referred = wanted.reference.and(target.local());
        let audience = wanted.audience.map(str::to_owned).or_else(|| self.rules.audience(referred?));
        Addressable { url, target, trust, audience }
    }

    /// The address of a channel or broker of this process, which must be served.
    pub(super) fn local(&self, key: &ChannelKey) -> Option<Addressable> {
        let url = self.addresses.url(key)?.into();
        let audience = self.rules.audience(key);
        Some(Addressable { url, target: Target::Local(key.clone()), trust: self.trust.none(), audience })
    }

    /// The address of a channel or broker in the cluster, for a role that serves neither.
    pub(super) fn elsewhere(&mut self, key: &ChannelKey, report: &mut Report<'_>) -> Option<Addressable> {
        let url = self.addresses.url(key)?;
        self.resolve(&Wanted::uri(Endpoint::from(url).text(), "metadata.name".to_owned()), report)
    }

    /// Why a channel or broker cannot be referred to; `Ok` if it can.
    pub(super) fn place(&self, key: &ChannelKey) -> Result<(), String> {
        told(self.places.get(key), key)
    }

    /// Whether it is a broker of another implementation's class.
    pub(super) fn is_left_alone(&self, key: &ChannelKey) -> bool {
        key.kind == ChannelKind::Broker && self.places.get(key) == Some(&Place::NotServed)
    }

    fn reference(&self, reference: &KReference, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Option<Found> {
        let field = format!("{}.ref", wanted.field);
        let meant = reference::meant(reference, &field, report)?;
        let Some(name) = reference.name.clone().filter(|name| !name.is_empty()) else {
            report.error(&format!("{field}.name"), "is missing: name the object");
            return None;
        };
        let namespace = reference.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| report.object().namespace.clone());
        let kind = match meant {
            Meant::Ours(kind) => kind,
            Meant::Other { group, kind } => {
                return self.other(&Referent { group, kind, namespace, name }, wanted, report);
            }
        };
        match kind {
            Kind::Service => self.service(&Referent::service(namespace, name), wanted, report),
            Kind::RequestReply => self.own(super::request_reply::key_of(&(namespace, name)), wanted, report),
            Kind::Broker => self.own(ChannelKey { kind: ChannelKind::Broker, namespace, name }, wanted, report),
            Kind::Channel | Kind::InMemoryChannel | Kind::RabbitmqChannel => {
                self.own(ChannelKey { kind: ChannelKind::Channel, namespace, name }, wanted, report)
            }
            Kind::Sequence | Kind::Parallel => self.flow(kind, (namespace, name), wanted, report),
            Kind::Trigger
            | Kind::EventPolicy
            | Kind::Subscription
            | Kind::PingSource
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::Pod
            | Kind::EndpointSlice => {
                let rule = "takes no events: refer to a Service, a channel or a Broker, or give a uri";
                report.error(&format!("{field}.kind"), format!("{} {rule}", kind.as_str()));
                None
            }
        }
    }

    pub(super) fn own(&self, key: ChannelKey, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Option<Found> {
        if self.settings.role != Role::Channel {
            return Some(self.url(self.addresses.url(&key)?.into(), &format!("{}.ref", wanted.field), report));
        }
        if let Err(message) = self.place(&key) {
            let field = format!("{}.ref", wanted.field);
            match self.is_left_alone(&key) {
                true => report.leave_alone(&field, format!("{message}: what is sent to it fails here")),
                false => report.unresolved(&field, message),
            }
            return None;
        }
        if wanted.uri.is_some() {
            report.warning(&wanted.uri_field, format!("has no meaning beside a reference to {key}: it is ignored"));
        }
        Some((self.addresses.url(&key)?.into(), Target::Local(key)))
    }

    /// How a URL is reached: as an override says, inside this process, or by its host name.
    pub(super) fn url(&self, url: Endpoint, field: &str, report: &mut Report<'_>) -> Found {
        let overriding = self.settings.resolve.iter().find(|overriding| overriding.matches(&url));
        if let Some(overriding) = overriding {
            return (url, Target::Remote { connect: Some(overriding.to) });
        }
        match self.addresses.key_of(&url) {
            Some(_) if self.settings.role != Role::Channel || self.settings.objects != Objects::Written => {
                (url, Target::Remote { connect: None })
            }
            Some(key) if self.place(&key).is_ok() => (url, Target::Local(key)),
            Some(key) => {
                report.warning(field, format!("is the address of {key}, which is not served here"));
                (url, Target::Remote { connect: None })
            }
            None => (url, Target::Remote { connect: None }),
        }
    }
}

/// Why what stands at this place cannot be referred to; `Ok` if it can.
pub(super) fn told(place: Option<&Place>, called: &dyn fmt::Display) -> Result<(), String> {
    match place {
        Some(Place::Served) => Ok(()),
        Some(Place::Broken) => Err(format!("{called} has problems of its own: solve them first")),
        Some(Place::NotServed) => Err(format!("{called} is not served here")),
        None => Err(format!("there is no {called}: create it, or correct the reference")),
    }
}

/// What a destination is called that leads nowhere: what was written, without what it may hold of secrets, else what it
/// refers to.
fn unresolved(wanted: &Wanted<'_>, object: &ObjectName) -> Endpoint {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut url = UNRESOLVED.clone();
    if let Some(reference) = wanted.reference {
        let namespace = text(&reference.namespace).unwrap_or_else(|| object.namespace.clone());
        let named = [text(&reference.kind), Some(namespace), text(&reference.name)];
        url.set_path(&named.map(Option::unwrap_or_default).join("/"));
        return url.into();
    }
    let text = wanted.uri.map(uri::without_user).unwrap_or_default();
    match Url::parse(&text) {
        Ok(url) => Endpoint::written(url, &text),
        Err(_error) if text.is_empty() => url.into(),
        Err(_error) => Endpoint::written(url, &text),
    }
}

static UNRESOLVED: LazyLock<Url> = LazyLock::new(|| Url::parse("unresolved:/").expect("it is a URL"));
