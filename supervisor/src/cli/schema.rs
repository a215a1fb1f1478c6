//! `schema`: the JSON Schema of configuration files.

use config::keys::schema;

use super::exit::Exit;
use super::output::Out;

pub(super) fn run(out: &mut Out) -> Exit {
    out.bytes(schema::text().as_bytes());
    Exit::Done
}
