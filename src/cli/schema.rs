//! The flags of `sealpost schema`.

use clap::Args;

/// The options of `sealpost schema`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints the fields that `check` and `run` know, as JSON Schema (draft-07). Editors check manifests by it while they\nare written.\n\nExamples:\n  sealpost schema\n  sealpost schema Trigger > trigger.schema.json\n  sealpost schema config-features"
)]
pub struct SchemaOptions {
    /// A kind, such as Trigger, or one of Knative's ConfigMaps, such as config-features [default:
    /// lists them]
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
}
