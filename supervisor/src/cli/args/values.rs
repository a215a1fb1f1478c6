//! Words of the command line that the `config` package reads, as clap wants them.

use config::spec::Instances;

/// `4`, `max`, `-1`, `50%`.
pub(crate) fn instances(text: &str) -> Result<Instances, String> {
    text.parse::<Instances>().map_err(|error| error.to_string())
}

/// Any JSON value.
pub(crate) fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("is not JSON: {error} (a text needs quotes: '\"text\"')"))
}
