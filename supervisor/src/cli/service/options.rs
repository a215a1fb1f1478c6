//! The options of `startup` and `unstartup`.

use clap::Args;

/// Which apps, and the systemd of which user.
#[derive(Debug, Args)]
pub(crate) struct StartupOptions {
    /// Running apps, or configuration files with one app each. Default: every running app.
    #[arg(value_name = "NAME|FILE")]
    pub(crate) apps: Vec<String>,
    /// In your own session's systemd (systemctl --user). Default unless you are root.
    #[arg(long)]
    pub(crate) user: bool,
    /// Start them now as well (startup), stop them now (unstartup).
    #[arg(long)]
    pub(crate) now: bool,
}

impl StartupOptions {
    /// Whether the service belongs to the systemd of the user, rather than that of the system.
    pub(crate) fn of_user(&self) -> bool {
        self.user || !nix::unistd::geteuid().is_root()
    }
}
