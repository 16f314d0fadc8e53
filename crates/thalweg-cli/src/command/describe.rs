//! `thalweg describe`: the graph of a configuration.

use thalweg::pipeline::graph::PipelineGraph;

use super::{Failed, load, tell};
use crate::cli::{DescribeArguments, GraphFormat};

pub(crate) fn describe(arguments: &DescribeArguments) -> Result<(), Failed> {
    let config = load(&arguments.config).map_err(Failed::because)?;
    let graph = PipelineGraph::from_config(&config);
    let format = if arguments.json {
        GraphFormat::Json
    } else {
        arguments.format
    };
    let text = match format {
        GraphFormat::Text => graph.describe().to_string(),
        GraphFormat::Json => format!("{:#}", graph.to_json()),
        GraphFormat::Dot => graph.to_dot(),
        GraphFormat::Mermaid => graph.to_mermaid(),
        GraphFormat::Svg => graph.to_svg(),
    };
    tell(text.trim_end())
}
