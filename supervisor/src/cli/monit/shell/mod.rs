//! What joins the dashboard to the world: the terminal, and the loop that gives the model what the
//! threads of `watch` report.

mod input;
mod interrupts;
mod run;
mod screen;

pub(crate) use run::run;
