//! What a Sequence or Parallel is made of: channels and the Subscriptions between them, with the names and in the shape that
//! upstream gives them (`pkg/reconciler/sequence` and `pkg/reconciler/parallel` of knative/eventing).

use crate::control::kind::Kind;
use crate::control::manifest::duck::{DeliverySpec, Destination, Metadata};
use crate::control::manifest::flows::{Branch, Parallel, Sequence, Step};
use crate::control::manifest::messaging::ChannelTemplate;

/// What a Sequence or Parallel is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Names of its channels; the first one takes its events.
    pub(crate) channels: Vec<String>,
    /// Its Subscriptions.
    pub(crate) legs: Vec<Leg>,
    /// A destination that nothing is sent to, since all that could be goes elsewhere.
    pub(crate) unused: Option<Way>,
}

/// A Subscription of one of the channels.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    /// Its name.
    pub(crate) name: String,
    /// Which channel it is of.
    pub(crate) channel: usize,
    pub(crate) subscriber: Way,
    pub(crate) reply: Option<Way>,
    /// A delivery spec, and where it stands.
    pub(crate) delivery: Option<(String, DeliverySpec)>,
}

/// Where events go.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// To a destination that stands at this field.
    To(String, Box<Destination>),
    /// Into another one of the channels.
    Into(usize),
}

/// A kind that channels and Subscriptions are made of.
pub(crate) trait Written {
    /// Which.
    const KIND: Kind;

    /// What is made of the one of this name.
    fn plan(&self, name: &str) -> Plan;

    /// Where what has to be there is missing, and the remedy.
    fn missing(&self) -> Vec<(String, &'static str)>;

    /// `metadata`.
    fn metadata(&self) -> &Metadata;

    /// What its channels are made of.
    fn template(&self) -> Option<&ChannelTemplate>;
}

/// The name of the channel that takes the events of a Sequence or Parallel; `None` for other kinds.
pub(crate) fn entrance(kind: Kind, name: &str) -> Option<String> {
    match kind {
        Kind::Sequence => Some(format!("{name}-kn-sequence-0")),
        Kind::Parallel => Some(format!("{name}-kn-parallel")),
        _ => None,
    }
}

/// Where the reply stands of branches without one.
const COMMON_REPLY: &str = "spec.reply";

impl Written for Sequence {
    const KIND: Kind = Kind::Sequence;

    /// A channel for each step: its Subscription sends what the step answers with to the next one, the last to the reply.
    fn plan(&self, name: &str) -> Plan {
        let spec = self.spec.clone().unwrap_or_default();
        let steps = spec.steps.unwrap_or_default();
        let count = steps.len();
        let leg = |(index, step): (usize, Option<Step>)| {
            let (place, step) = (format!("spec.steps[{index}]"), step.unwrap_or_default());
            let last = || spec.reply.clone().map(|reply| Way::To("spec.reply".to_owned(), Box::new(reply)));
            Leg {
                name: format!("{name}-kn-sequence-{index}"),
                channel: index,
                delivery: step.delivery.map(|delivery| (format!("{place}.delivery"), delivery)),
                subscriber: Way::To(place, Box::new(step.destination)),
                reply: if index + 1 < count { Some(Way::Into(index + 1)) } else { last() },
            }
        };
        // Of one without steps, which is an error, there is still the name of its address.
        let channels = (0..count.max(1)).map(|index| format!("{name}-kn-sequence-{index}")).collect();
        Plan { channels, legs: steps.into_iter().enumerate().map(leg).collect(), unused: None }
    }

    fn missing(&self) -> Vec<(String, &'static str)> {
        let steps = self.spec.as_ref().and_then(|spec| spec.steps.as_ref());
        match steps.is_none_or(Vec::is_empty) {
            true => vec![("spec.steps".to_owned(), "is missing: give at least one step, with a ref or a uri")],
            false => Vec::new(),
        }
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn template(&self) -> Option<&ChannelTemplate> {
        self.spec.as_ref()?.channel_template.as_ref()
    }
}

impl Written for Parallel {
    const KIND: Kind = Kind::Parallel;

    /// A channel that takes the events, and one for each branch: a first Subscription sends what the filter answers with into
    /// the branch's channel, or everything if there is none, a second one what is there to its subscriber.
    fn plan(&self, name: &str) -> Plan {
        let spec = self.spec.clone().unwrap_or_default();
        let branches = spec.branches.unwrap_or_default();
        let mut channels = vec![format!("{name}-kn-parallel")];
        let mut legs = Vec::with_capacity(2 * branches.len());
        for (index, branch) in branches.into_iter().enumerate() {
            let (place, branch) = (format!("spec.branches[{index}]"), branch.unwrap_or_default());
            let own = channels.len();
            channels.push(format!("{name}-kn-parallel-{index}"));
            let Branch { filter, subscriber, reply, delivery } = branch;
            let (guard, passed) = match filter {
                Some(filter) => (Way::To(format!("{place}.filter"), Box::new(filter)), Some(Way::Into(own))),
                None => (Way::Into(own), None),
            };
            legs.push(Leg {
                name: format!("{name}-kn-parallel-filter-{index}"),
                channel: 0,
                subscriber: guard,
                reply: passed,
                delivery: None,
            });
            let common = || Some(Way::To(COMMON_REPLY.to_owned(), Box::new(spec.reply.clone()?)));
            legs.push(Leg {
                name: format!("{name}-kn-parallel-{index}"),
                channel: own,
                subscriber: Way::To(format!("{place}.subscriber"), Box::new(subscriber.unwrap_or_default())),
                reply: reply.map(|reply| Way::To(format!("{place}.reply"), Box::new(reply))).or_else(common),
                delivery: delivery.map(|delivery| (format!("{place}.delivery"), delivery)),
            });
        }
        let is_used = |leg: &Leg| matches!(&leg.reply, Some(Way::To(field, _)) if field == COMMON_REPLY);
        let unused = spec.reply.clone().filter(|_| !legs.is_empty() && !legs.iter().any(is_used));
        Plan { channels, legs, unused: unused.map(|reply| Way::To(COMMON_REPLY.to_owned(), Box::new(reply))) }
    }

    fn missing(&self) -> Vec<(String, &'static str)> {
        let branches = self.spec.as_ref().and_then(|spec| spec.branches.as_deref()).unwrap_or_default();
        if branches.is_empty() {
            return vec![("spec.branches".to_owned(), "is missing: give at least one branch, with a subscriber")];
        }
        let has_none = |branch: &Option<Branch>| branch.as_ref().is_none_or(|branch| branch.subscriber.is_none());
        let without = branches.iter().enumerate().filter(|(_, branch)| has_none(branch));
        let missing = "is missing: say who gets the events of this branch";
        without.map(|(index, _)| (format!("spec.branches[{index}].subscriber"), missing)).collect()
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn template(&self) -> Option<&ChannelTemplate> {
        self.spec.as_ref()?.channel_template.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Each leg as channel, Subscription, subscriber and reply.
    fn legs(plan: &Plan) -> Vec<[String; 4]> {
        let way = |way: &Way| match way {
            Way::To(field, _) => field.clone(),
            Way::Into(channel) => plan.channels[*channel].clone(),
        };
        let leg = |leg: &Leg| {
            let reply = leg.reply.as_ref().map(way).unwrap_or_default();
            [plan.channels[leg.channel].clone(), leg.name.clone(), way(&leg.subscriber), reply]
        };
        plan.legs.iter().map(leg).collect()
    }

    fn read<T: serde::de::DeserializeOwned>(spec: &Value) -> T {
        serde_json::from_value(json!({ "spec": spec })).expect("a spec")
    }

    #[test]
    fn of_sequences() {
        let sequence: Sequence = read(&json!({
            "steps": [{"uri": "http://a"}, {"uri": "http://b", "delivery": {"retry": 1}}, null], "reply": {"uri": "http://r"},
        }));
        let plan = sequence.plan("s");
        assert_eq!(plan.channels, ["s-kn-sequence-0", "s-kn-sequence-1", "s-kn-sequence-2"]);
        assert_eq!(
            legs(&plan),
            [
                ["s-kn-sequence-0", "s-kn-sequence-0", "spec.steps[0]", "s-kn-sequence-1"],
                ["s-kn-sequence-1", "s-kn-sequence-1", "spec.steps[1]", "s-kn-sequence-2"],
                ["s-kn-sequence-2", "s-kn-sequence-2", "spec.steps[2]", "spec.reply"],
            ]
        );
        assert_eq!(plan.legs[1].delivery.as_ref().map(|(field, _)| field.as_str()), Some("spec.steps[1].delivery"));
        assert!(plan.legs[0].delivery.is_none());
        assert_eq!(entrance(Kind::Sequence, "s").as_deref(), Some("s-kn-sequence-0"));
        for nothing in [json!({}), json!({"steps": []}), json!({"steps": null})] {
            let nothing: Sequence = read(&nothing);
            assert_eq!(nothing.plan("s").channels, ["s-kn-sequence-0"]);
            assert_eq!(nothing.missing().len(), 1);
        }
    }

    #[test]
    fn of_parallels() {
        let parallel: Parallel = read(&json!({
            "branches": [
                {"filter": {"uri": "http://f"}, "subscriber": {"uri": "http://a"}, "reply": {"uri": "http://own"}},
                {"subscriber": {"uri": "http://b"}, "delivery": {"retry": 2}},
                null,
            ],
            "reply": {"uri": "http://r"},
        }));
        let plan = parallel.plan("p");
        assert_eq!(plan.channels, ["p-kn-parallel", "p-kn-parallel-0", "p-kn-parallel-1", "p-kn-parallel-2"]);
        assert_eq!(
            legs(&plan)[..4],
            [
                ["p-kn-parallel", "p-kn-parallel-filter-0", "spec.branches[0].filter", "p-kn-parallel-0"],
                ["p-kn-parallel-0", "p-kn-parallel-0", "spec.branches[0].subscriber", "spec.branches[0].reply"],
                ["p-kn-parallel", "p-kn-parallel-filter-1", "p-kn-parallel-1", ""],
                ["p-kn-parallel-1", "p-kn-parallel-1", "spec.branches[1].subscriber", "spec.reply"],
            ]
        );
        assert!(plan.legs[3].delivery.is_some() && plan.legs[2].delivery.is_none());
        assert_eq!(entrance(Kind::Parallel, "p").as_deref(), Some("p-kn-parallel"));
        assert_eq!(parallel.missing()[0].0, "spec.branches[2].subscriber");
        assert_eq!(read::<Parallel>(&json!({})).missing()[0].0, "spec.branches");
    }
}
