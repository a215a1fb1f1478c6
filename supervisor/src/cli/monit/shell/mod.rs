//! What joins the dashboard to the world: the terminal, the threads that ask primaries, read logs
//! and run commands, and the loop between them.

mod commands;
mod feeds;
mod input;
mod interrupts;
mod logs;
mod run;
mod screen;

pub(crate) use run::run;
