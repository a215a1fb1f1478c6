//! What the verbs that try a user's own app share (`chaos`, `bench`): options and the form of the
//! report, a strict HTTP client, what a correct answer is, an app that is started for the trial
//! alone, and the guard that clears everything away in whatever way the trial ends.

pub(crate) mod exchange;
pub(crate) mod guard;
pub(crate) mod interrupt;
pub(crate) mod kind;
pub(crate) mod options;
pub(crate) mod own_app;
pub(crate) mod report;
pub(crate) mod site;
pub(crate) mod stopped;
pub(crate) mod values;
mod ward;
