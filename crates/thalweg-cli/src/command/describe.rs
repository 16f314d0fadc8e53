//! `thalweg describe`: the graph of a configuration.

use thalweg::pipeline::graph::PipelineGraph;

use super::{Failed, load};
use crate::cli::DescribeArguments;

pub(crate) fn describe(arguments: &DescribeArguments) -> Result<(), Failed> {
    let config = load(&arguments.config).map_err(Failed::because)?;
    let graph = PipelineGraph::from_config(&config);
    if arguments.json {
        println!("{:#}", graph.to_json());
    } else {
        println!("{}", graph.describe());
    }
    Ok(())
}
