//! `file-watcher`: watches files for a primary that runs it, and reports which have changed. What
//! may be slow, such as a look through thousands of folders, happens here and not in the loop of
//! the primary.

mod events;
mod filter;
mod seen;
mod tree;

use std::io;
use std::time::Duration;

use notify::RecommendedWatcher;

use self::events::Events;
use self::seen::Seen;
use self::tree::Tree;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Stdout;
use crate::cli::primary_channel::PrimaryChannel;
use crate::runtime::{MESSAGE_BYTES, WatchOrder};
use crate::sys::channel::Received;
use crate::sys::clock;

/// How long changes are gathered before the tree takes them.
const GATHER: Duration = Duration::from_millis(20);
/// How often a path that does not exist is looked for.
const MISSING: Duration = Duration::from_secs(1);
/// How long the primary may take to make room for a report.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watch the files that are named on the socket on stdin.
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {}

/// Runs the verb until the primary ends.
pub(crate) fn run(_: &Args, _: &mut Stdout) -> Result<Exit, Failure> {
    let channel = PrimaryChannel::open()?;
    let order = order(&channel).map_err(|error| Failure::io("cannot read stdin", &error))?;
    match watch(&channel, order) {
        // The primary has ended, or does not want to know any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        ended => ended.map_err(|error| Failure::io("cannot watch the files", &error)),
    }
}

fn order(channel: &PrimaryChannel) -> io::Result<WatchOrder> {
    let mut space = vec![0; MESSAGE_BYTES];
    match channel.receive(&mut space)? {
        Received::Some(length, _) => Ok(serde_json::from_slice(&space[..length])?),
        Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        Received::End => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Watches until an error; `BrokenPipe` means that the primary reads no more.
fn watch(channel: &PrimaryChannel, order: WatchOrder) -> io::Result<Exit> {
    let since_ms = order.since_ms;
    let folder = order.folder.clone();
    let (events, watcher) = Events::new()?;
    let mut tree = Tree::new(watcher, order);
    let mut known_until = clock::unix_ms();
    let mut seen = Seen::new(folder);
    tree.begin(since_ms, &mut seen);
    report(channel, &tree, &mut seen, known_until)?;
    loop {
        let missing = tree.has_missing().then_some(MISSING);
        let before = (tree.folders(), tree.problem());
        match events.wait(missing, GATHER) {
            Some(changed) => {
                let looked = std::mem::replace(&mut known_until, clock::unix_ms());
                tree.take(changed, looked, &mut seen);
            }
            None => tree.look_for_missing(&mut seen),
        }
        if !seen.is_empty() || before != (tree.folders(), tree.problem()) {
            report(channel, &tree, &mut seen, known_until)?;
        }
    }
}

fn report(
    channel: &PrimaryChannel,
    tree: &Tree<RecommendedWatcher>,
    seen: &mut Seen,
    known_until_ms: u64,
) -> io::Result<()> {
    let report = seen.take(tree.folders(), tree.problem(), known_until_ms);
    channel.send(&report, PATIENCE)
}
