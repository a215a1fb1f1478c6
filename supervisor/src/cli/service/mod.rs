//! Apps as systemd services: where their files are, what is in them, and `systemctl`.

mod definition;
mod installation;
mod options;
mod places;
mod reach;
mod systemctl;

pub(crate) use definition::{Service, read_spec};
pub(crate) use options::StartupOptions;
pub(crate) use places::{installed, is_installed, remove_file, spec_file, unit_folder};
pub(crate) use systemctl::systemctl;
