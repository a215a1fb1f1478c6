//! What can be said of Node programs.

use clap::Args;

#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct NodeOptions {
    /// Do not speak Node's cluster protocol with Node programs.
    #[arg(long)]
    pub(crate) no_node: bool,
    /// Do not measure the event loop and the heap of Node programs.
    #[arg(long)]
    pub(crate) no_node_metrics: bool,
}
