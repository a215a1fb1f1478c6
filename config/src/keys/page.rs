//! The tables of keys in the documentation, between markers in a page.

use std::fmt::Write as _;

use super::shared::LIMIT_KEYS;
use super::{Change, Key, SECTIONS, all, of_pool};
use crate::pm2::options::{Answer, OPTIONS};

const BEGIN: &str = "<!-- keys: ";
const END: &str = "<!-- keys end -->";

/// The page with every table made anew. What stands between the markers is replaced.
pub(super) fn fill(page: &str) -> String {
    let mut parts = page.split(BEGIN);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("a marker has an end");
        let (_, rest) = rest.split_once(END).expect("each table has an end");
        let _ = write!(filled, "{BEGIN}{name} -->\n\n{}\n{END}{rest}", table(name));
    }
    filled
}

fn table(name: &str) -> String {
    match name {
        "flags" => of_flags(),
        "pool" => of_pools(),
        "limits" => of_limits(),
        "pm2" => of_pm2(),
        name => {
            let mut sections = SECTIONS.iter();
            let section = sections.find(|section| section.name == name);
            of_section(section.expect("a section has this name").keys)
        }
    }
}

fn of_section(keys: &[Key]) -> String {
    let head = "| key | type | default | flag | a change takes | meaning |";
    rows(
        head,
        keys.iter().map(|key| {
            let default = match key.default() {
                Some(value) => format!("`{value}`"),
                None => key.absent.to_owned(),
            };
            let flag = key.flag_name().map(|name| match key.flag.and_then(|flag| flag.short) {
                Some(short) => format!("`-{short}`, `--{name}`"),
                None => format!("`--{name}`"),
            });
            let change = match key.change {
                Change::Start => "`delete`, `start`",
                Change::Reload => "`reload`",
                Change::Scale => "`apply`, `reload`",
                Change::Config => "`reload --config`",
                Change::Nothing => "nothing",
            };
            let unit = key.unit.map(|unit| format!(" ({unit})")).unwrap_or_default();
            let type_name = format!("{}{unit}", key.kind.type_name());
            let (flag, doc) = (flag.unwrap_or_default(), key.doc.to_owned());
            vec![format!("`{}`", key.name), type_name, default, flag, change.to_owned(), doc]
        }),
    )
}

fn of_flags() -> String {
    let head = "| flag | default | meaning |";
    let flags = all().filter_map(|key| {
        let flag = key.flag?;
        let short = flag.short.map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let default = key.default().filter(|_| flag.value.is_some());
        let default = default.map(|value| format!("`{}`", value.to_string().trim_matches('"')));
        let name = format!("{short}`--{}{value}`", key.flag_name()?);
        let help = flag.help.unwrap_or(key.help).to_owned();
        Some(vec![name, default.unwrap_or_default(), help])
    });
    rows(head, flags)
}

fn of_pools() -> String {
    rows(
        "| key of a pool | default | meaning |",
        of_pool().filter_map(|key| {
            let pool = key.pool?;
            Some(vec![format!("`{}`", key.name), pool.absent.to_owned(), pool.doc.to_owned()])
        }),
    )
}

fn of_limits() -> String {
    rows(
        "| key of `shared.limits` | type | meaning |",
        LIMIT_KEYS.iter().map(|key| {
            let type_name = format!("{} ({})", key.type_name, key.unit);
            vec![format!("`{}`", key.name), type_name, key.doc.to_owned()]
        }),
    )
}

fn of_pm2() -> String {
    rows(
        "| option | here | meaning |",
        OPTIONS.iter().map(|option| {
            let names = [&option.name].into_iter().chain(option.aliases);
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            let answer = match option.answer {
                Answer::Mapped => "kept",
                Answer::NeedsNothing => "nothing needed",
                Answer::LeftOut => "left out, with a note",
                Answer::Refused => "refused",
            };
            vec![names.join(", "), answer.to_owned(), option.doc.to_owned()]
        }),
    )
}

fn rows(head: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = format!("{head}\n{}|\n", "|---".repeat(head.matches('|').count() - 1));
    for row in rows {
        let _ = writeln!(table, "| {} |", row.join(" | "));
    }
    table.replace("|  |", "| |")
}
