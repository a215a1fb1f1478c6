//! The durations that can be said on the command line: one definition of each flag, and which
//! time of a worker's life it sets. What is not said stays as it is.

use std::time::Duration;

use clap::Args;
use config::said::SaidTimes;

/// The times of a worker's life.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct TimeOptions {
    /// From exec to ready; longer is a failure. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) ready_timeout: Option<Duration>,
    /// How long the first new worker of a reload must live before it gets connections. Default: 1s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) min_uptime: Option<Duration>,
    /// How long a worker may take to listen before it is taken for one that never does. Default: 5s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) listen_wait: Option<Duration>,
    /// From the stop signal to SIGKILL. Default: 10s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) kill_timeout: Option<Duration>,
    /// How long a worker that gets no new connections may hold its old ones. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How long a connection must be quiet to count as idle. Default: 2s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) drain_idle: Option<Duration>,
    /// How long the clients of a dead slot wait for its next worker (balance sticky). Default: 5s.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) sticky_wait: Option<Duration>,
    /// Kill a worker that takes none of the connections that wait for it. Default: 0, never.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) hang_timeout: Option<Duration>,
    /// How long memory must only have grown before a leak is suspected; 0: never. Default: 10m.
    #[arg(long, value_name = "DURATION", value_parser = config::units::duration)]
    pub(crate) leak_window: Option<Duration>,
}

impl TimeOptions {
    pub(crate) fn said(&self) -> SaidTimes {
        SaidTimes {
            ready_timeout: self.ready_timeout,
            listen_wait: self.listen_wait,
            min_uptime: self.min_uptime,
            kill_timeout: self.kill_timeout,
            drain_timeout: self.drain_timeout,
            drain_idle: self.drain_idle,
            sticky_wait: self.sticky_wait,
            hang_timeout: self.hang_timeout,
            leak_window: self.leak_window,
        }
    }
}
