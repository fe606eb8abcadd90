//! Decides which channels and Brokers are served, and what their subscriptions inherit.

pub(crate) mod broker;
pub(crate) mod declare;
mod properties;
pub(crate) mod template;

use std::collections::BTreeSet;

use super::channel_candidate::{ChannelCandidate, SINK_FIELD, TEMPLATE_SINK_FIELD};
use super::flow::declare::flow_candidates;
use crate::control::read::manifest::messaging::{ChannelManifest, ChannelTemplate};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::config::defaults::ResolvedDefaults;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::{DestinationResolver, ServingState};
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::parent::ResolvedParents;
use crate::model::{BackendKind, ChannelKind, NamespacedName};
use properties::{WrittenProperties, resolve_flow_parent, resolve_parent};
use template::{
    TemplateDelivery, require_disk, require_rabbitmq, template_backend, template_delivery,
    template_of, warn_of_overridden_delivery,
};

/// Resolves channels and Brokers. One with problems keeps its form of `last`.
pub(crate) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
    last: Option<&ResolvedParents>,
) -> ResolvedParents {
    // All are declared before any is resolved, since their dead letter sinks may be each other.
    declare::declare_channels(collected, resolver, defaults);
    let mut candidates = all_candidates(collected, resolver, defaults);
    for candidate in &mut candidates {
        if candidate.report.has_errors() {
            candidate.parent = last.and_then(|last| last.get(&candidate.key)).cloned();
        }
        let state = if candidate.parent.is_some() {
            ServingState::Served
        } else {
            ServingState::Broken
        };
        resolver.serving_states.insert(candidate.key.clone(), state);
    }
    // Which dead letter sinks are served is known only now.
    remove_dangling_sinks(&mut candidates, resolver);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((candidate.key, candidate.parent?)))
        .collect()
}

/// Every channel, Broker and flow that may be served.
fn all_candidates<'i, 'd>(
    collected: &'i mut CollectedObjects<'d>,
    resolver: &mut DestinationResolver<'_>,
    defaults: &ResolvedDefaults,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let CollectedObjects {
        channels,
        in_memory_channels,
        rabbitmq_channels,
        disk_channels,
        brokers,
        sequences,
        parallels,
        ..
    } = collected;
    // A Channel counts before a physical channel of its name, those in memory before those on
    // RabbitMQ, and these before those on disk.
    let mut shadowing = BTreeSet::new();
    let mut candidates = channel_candidates(channels, &mut shadowing, resolver, |form| {
        let default = defaults.channel_template(&form.report.object().namespace);
        TemplateForm::of_channel(form, default)
    });
    let physical = channel_candidates(in_memory_channels, &mut shadowing, resolver, |_| {
        TemplateForm::without_delivery(BackendKind::Memory)
    });
    candidates.extend(physical);
    let physical = channel_candidates(rabbitmq_channels, &mut shadowing, resolver, |form| {
        let backend = require_rabbitmq("kind", form.resolver, form.report);
        TemplateForm::without_delivery(backend)
    });
    candidates.extend(physical);
    let physical = channel_candidates(disk_channels, &mut shadowing, resolver, |form| {
        let backend = require_disk("kind", form.resolver, form.report);
        TemplateForm::without_delivery(backend)
    });
    candidates.extend(physical);
    candidates.extend(broker::broker_candidates(brokers, resolver, defaults));
    candidates.extend(flow_candidates(
        sequences,
        |flow, report, resolver| resolve_flow_parent(flow, defaults, resolver, report),
        resolver,
    ));
    candidates.extend(flow_candidates(
        parallels,
        |flow, report, resolver| resolve_flow_parent(flow, defaults, resolver, report),
        resolver,
    ));
    candidates
}

/// A channel whose form is asked for.
struct AskedForm<'a, 'd, 'r> {
    channel: &'a ChannelManifest,
    report: &'a mut ObjectReport<'d>,
    resolver: &'a DestinationResolver<'r>,
}

/// What a channel is made of: its backend, and the delivery spec of its template.
struct TemplateForm {
    backend: BackendKind,
    delivery: Option<TemplateDelivery>,
}

impl TemplateForm {
    fn without_delivery(backend: BackendKind) -> Self {
        Self {
            backend,
            delivery: None,
        }
    }

    /// The form of a `Channel`, by its template or by the default one.
    fn of_channel(asked: AskedForm<'_, '_, '_>, default: Option<&ChannelTemplate>) -> Self {
        let AskedForm {
            channel,
            report,
            resolver,
        } = asked;
        let template = template_of(channel.template(), default);
        Self {
            backend: template_backend(template, "spec.channelTemplate", resolver, report),
            delivery: template_delivery(template),
        }
    }
}

/// Candidates of one kind, without those whose names are `shadowing`, to which theirs are added;
/// `form_of` gives the backend and the template's delivery spec, which wins (contract 5.2a).
fn channel_candidates<'i, 'd>(
    items: &'i mut CollectedItems<'d, ChannelManifest>,
    shadowing: &mut BTreeSet<NamespacedName>,
    resolver: &mut DestinationResolver<'_>,
    form_of: impl Fn(AskedForm<'_, 'd, '_>) -> TemplateForm,
) -> Vec<ChannelCandidate<'i, 'd>> {
    let mut candidates = Vec::new();
    let names: Vec<NamespacedName> = items.keys().cloned().collect();
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in items
        .iter_mut()
        .filter(|(name, _)| !shadowing.contains(*name))
    {
        let key = channel_key(ChannelKind::Channel, namespace.clone(), name.clone());
        if resolver.is_left_alone(&key) {
            continue;
        }
        let mut sink_field = SINK_FIELD;
        let parent = object.as_ref().and_then(|channel| {
            let own = channel
                .spec
                .as_ref()
                .and_then(|spec| spec.delivery.as_ref());
            let form = form_of(AskedForm {
                channel,
                report,
                resolver,
            });
            if let Some(TemplateDelivery { field, .. }) = &form.delivery {
                sink_field = TEMPLATE_SINK_FIELD;
                warn_of_overridden_delivery(own, field, resolver, report);
            }
            let of_template = form.delivery.as_ref().map(TemplateDelivery::written);
            let written = WrittenProperties {
                metadata: &channel.metadata,
                backend: form.backend,
                delivery: of_template.or_else(|| own.map(WrittenDelivery::own)),
            };
            resolve_parent(&written, resolver, report)
        });
        candidates.push(ChannelCandidate {
            key,
            report,
            parent,
            sink_field,
        });
    }
    shadowing.extend(names);
    candidates
}

/// Removes candidates whose dead letter sink is not served, until none refers to one.
fn remove_dangling_sinks(
    candidates: &mut [ChannelCandidate<'_, '_>],
    resolver: &mut DestinationResolver<'_>,
) {
    loop {
        let mut removed = false;
        for candidate in candidates.iter_mut() {
            let sink = candidate
                .parent
                .as_ref()
                .and_then(|parent| parent.dead_letter_sink.as_ref());
            if let Some(Err(message)) = sink
                .and_then(|sink| sink.route.local_channel())
                .map(|key| resolver.check_served(key))
            {
                candidate
                    .report
                    .unresolved_reference(candidate.sink_field, message);
                candidate.parent = None;
                resolver
                    .serving_states
                    .insert(candidate.key.clone(), ServingState::Broken);
                removed = true;
            }
        }
        if !removed {
            return;
        }
    }
}
