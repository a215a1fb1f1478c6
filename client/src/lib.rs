//! Looks at apps of the supervisor and steers them, over their control sockets.
//!
//! A program of the user that started the apps may use it, and programs of other users as far as
//! `operators` and `observers` allow. It need not be a worker. `docs/api.md` of the supervisor
//! describes the requests, replies and notices, and how they may change: a client of one build
//! talks with primaries of earlier and later builds. A word of a later build is an `Unknown` or
//! keeps its text, and is no error; so enums and structs may grow in any release.
//!
//! Every call blocks. Each sends one request over a connection of its own, so several threads can
//! use one [`App`] at once.
//!
//! ```no_run
//! use std::time::Duration;
//! use supervisor_client::{Ask, Control, Error};
//!
//! fn main() -> Result<(), Error> {
//!     let control = Control::new();
//!     let app = control.start(&["node", "server.js"], "web", &["-i", "max"])?;
//!     for app in control.apps() {
//!         let status = app.status()?;
//!         println!("{}: {} of {} workers are ready", app.name(), status.ready, status.wanted);
//!     }
//!     // All workers are replaced without loss, or everything stays as it was.
//!     let mut tell = |notice: &supervisor_client::Notice| println!("{}", notice.message);
//!     match app.reload(Ask::new().on_notice(&mut tell)) {
//!         Ok(done) => println!("{}", done.message),
//!         Err(error) if error.kind() == "rolled-back" => {
//!             eprintln!("{error}\n{}", error.last_lines().join("\n"));
//!         }
//!         Err(error) => return Err(error),
//!     }
//!     // What happens from now on.
//!     for notice in app.notices(Some(Duration::from_secs(60)))? {
//!         let notice = notice?;
//!         println!("{:?}: {}", notice.event, notice.message);
//!     }
//!     Ok(())
//! }
//! ```

mod app;
mod ask;
mod control;
mod conversation;
mod error;

pub use app::{App, Done, Notices};
pub use ask::Ask;
pub use control::Control;
pub use error::Error;

// All that requests, replies and notices are made of.
pub use config::change::{SpecChange, Written};
pub use config::spec::{self, AppSpec, Balance};
pub use ipc::bus::MetricKind;
pub use ipc::control::{
    AppStatus, BalanceStatus, Contract, FailureKind, ListenerStatus, Method, Notice, NoticeKind,
    PoolStatus, Reply, Request, RolloutCommand, RolloutStatus, ShareStatus, Status, WatchStatus,
    WorkerState, WorkerStatus,
};
pub use ipc::talk::{Answered, BusRequest, Metric};
pub use ipc::worker_status::{Health, HealthVerdict};
