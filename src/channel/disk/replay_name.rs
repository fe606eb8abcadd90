//! Names of the queues of replays: they hold all that a replay needs to go on in the next process.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// What the name of each queue of a replay begins with. Names of subscriptions begin with their kind.
const PREFIX: &str = "replay:";

/// Name of the queue of a replay: `replay:ID:QUEUE?SETTINGS`, where `QUEUE` is the name of the
/// subscription's own queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplayName {
    pub(super) id: String,
    /// Name of the subscription's own queue.
    pub(super) of: String,
    pub(super) settings: ReplaySettings,
}

/// Settings of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReplaySettings {
    /// Most events in a second.
    pub(super) rate: NonZeroU32,
    /// CESQL expression that events must pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<String>,
    /// Sequence with which the replay began.
    pub(super) first: u64,
}

impl ReplayName {
    /// Reads the name of a queue; `None` if it is not that of a replay.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (id, rest) = name.strip_prefix(PREFIX)?.split_once(':')?;
        let (of, settings) = rest.split_once('?')?;
        Some(Self {
            id: id.to_owned(),
            of: of.to_owned(),
            settings: serde_json::from_str(settings).ok()?,
        })
    }

    /// The name as it is written.
    pub(super) fn text(&self) -> String {
        let settings = serde_json::to_string(&self.settings).unwrap_or_default();
        format!("{PREFIX}{}:{}?{settings}", self.id, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = |filter: Option<&str>| ReplayName {
            id: "20261130T112233Z-1f".to_owned(),
            of: "trigger:ns:name".to_owned(),
            settings: ReplaySettings {
                rate: NonZeroU32::MIN,
                filter: filter.map(str::to_owned),
                first: 7,
            },
        };
        for name in [name(None), name(Some("source = 'a:b?\"c\"'"))] {
            assert_eq!(ReplayName::parse(&name.text()), Some(name));
        }
        for other in ["trigger:ns:replay", "replay:x", "replay:x:y?{}"] {
            assert_eq!(ReplayName::parse(other), None);
        }
    }
}
