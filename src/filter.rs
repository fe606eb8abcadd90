//! Which events a Trigger wants. Pure: no I/O, no state, total on every event.

use crate::event::{Event, Kind};

/// A filter, compiled once when the configuration is resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lets every event pass.
    #[default]
    All,
    /// `filter.attributes`: every pair must match (data-plane.md TF-3).
    Attributes(Vec<(String, String)>),
}

impl Filter {
    /// Whether the event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        match self {
            Self::All => true,
            Self::Attributes(pairs) => pairs.iter().all(|(name, wanted)| attribute_matches(event, name, wanted)),
        }
    }
}

/// TF-3: `""` wants the attribute to be there and not empty; else the strings must be equal, and an integer or a
/// boolean of a structured event equals no string.
fn attribute_matches(event: &Event, name: &str, wanted: &str) -> bool {
    let typed = event.find(name).is_some_and(|attribute| attribute.kind() != Kind::String);
    match event.get(name) {
        None => false,
        Some(text) if wanted.is_empty() => !text.is_empty(),
        Some(text) => !typed && text == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TF-3.
    #[test]
    fn attributes() {
        let mut event = Event::new("1", "/s", "t");
        event.set("ext", "v");
        for (pairs, passes) in [
            (&[][..], true),
            (&[("type", "t")], true),
            (&[("type", "T")], false),
            (&[("type", "t"), ("source", "/s")], true),
            (&[("type", "t"), ("source", "/x")], false),
            (&[("ext", "")], true),
            (&[("missing", "")], false),
            (&[("missing", "x")], false),
            (&[("specversion", "1.0")], true),
        ] {
            let filter = Filter::Attributes(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
            assert_eq!(filter.matches(&event), passes, "{pairs:?}");
        }
    }
}
