//! `thalweg schema`: the grammar of configurations as JSON-Schema.

use thalweg::pipeline::config::{Strictness, json_schema};

use super::{Failed, tell};
use crate::cli::SchemaArguments;

pub(crate) fn schema(arguments: &SchemaArguments) -> Result<(), Failed> {
    let strictness = if arguments.strict {
        Strictness::Strict
    } else {
        Strictness::Usable
    };
    let schema = json_schema(&thalweg::registry(), strictness);
    tell(format_args!("{schema:#}"))
}
