//! The words of flags for values that other modules know, each with its explanation in the help.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::control::{DeliveryMerge, ServedChannelKind, UnknownFields};
use crate::model::{BackendKind, DeliveryFormat};

impl ValueEnum for BackendKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Memory, Self::Rabbitmq, Self::Disk]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Memory => PossibleValue::new("inmemory").help("In memory"),
            Self::Rabbitmq => PossibleValue::new("rabbitmq").help("On RabbitMQ"),
            Self::Disk => PossibleValue::new("disk").help("On a disk of this process"),
        })
    }
}

impl ValueEnum for ServedChannelKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::InMemory, Self::Rabbitmq, Self::Disk]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::InMemory => PossibleValue::new("InMemoryChannel")
                .help("Knative's, in memory, on RabbitMQ or on disk"),
            Self::Rabbitmq => PossibleValue::new("RabbitmqChannel").help("Our own, on RabbitMQ"),
            Self::Disk => PossibleValue::new("DiskChannel").help("Our own, on disk"),
        })
    }
}

impl ValueEnum for UnknownFields {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Error, Self::Warn]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Error => PossibleValue::new("error").help("The object is not served"),
            Self::Warn => PossibleValue::new("warn")
                .help("They are ignored, but not in filters, policies and flags"),
        })
    }
}

impl ValueEnum for DeliveryMerge {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Replace, Self::Fields]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Replace => {
                PossibleValue::new("replace").help("The child's replaces the parent's")
            }
            Self::Fields => PossibleValue::new("fields").help("Field by field"),
        })
    }
}

impl ValueEnum for DeliveryFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Binary, Self::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Binary => PossibleValue::new("binary").help("Attributes in headers"),
            Self::Json => PossibleValue::new("structured").help("One JSON document"),
        })
    }
}
