//! The file that `init` writes: every key with its default or an example, commented out.

use std::fmt::Write as _;

use super::{Key, SECTIONS};

/// The schema beside the file, which its first line names for editors.
pub const SCHEMA_FILE: &str = "supervisor.schema.json";

/// Keys that are not commented out.
const SET: [&str; 2] = ["command", "instances"];

/// The column where the explanations start.
const COLUMN: usize = 34;

const HEAD: &str = "\
#:schema ./supervisor.schema.json
# supervisor.toml: what \"supervisor start\" runs. \"supervisor check\" finds mistakes in it.
# A line that is commented out shows the default, or an example. Relative paths start at this
# folder.

[app.web]
";

const END: &str = "
# [app.web.profile.production]    # start --profile production: these keys go over the app's
# instances = \"max\"

# [defaults]                      # what every app has where it says nothing itself
# env_file = \".env\"

# [app.api]                       # as many apps as you like
# command = \"./api\"

# [app.api.pool.hash]             # another group of workers, with a program of its own
# command = \"./hasher\"
";

/// The whole file.
pub fn text() -> String {
    let mut text = HEAD.to_owned();
    for (index, section) in SECTIONS.iter().enumerate() {
        if index > 0 {
            let _ = writeln!(text, "\n# {}", section.title);
        }
        section.keys.iter().for_each(|key| line(&mut text, key));
    }
    text + END
}

fn line(text: &mut String, key: &Key) {
    let default = || key.default().filter(|_| key.stands_for.is_none());
    let example = key.example.map(str::to_owned);
    let Some(value) = example.or_else(|| default().map(|value| value.to_string())) else { return };
    let mark = if SET.contains(&key.name) { "" } else { "# " };
    let pair = format!("{mark}{} = {value}", key.name);
    let _ = writeln!(text, "{pair:COLUMN$}# {}", key.help);
    let words: Vec<&str> = key.choices().into_iter().map(|(word, _)| word).collect();
    if !words.is_empty() {
        let _ = writeln!(text, "{:COLUMN$}# {}", "#", words.join(", "));
    }
}
