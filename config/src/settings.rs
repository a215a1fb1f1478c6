//! What an app is set to, key by key, without anything that may be a secret.

use serde_json::Value;

use crate::keys;
use crate::spec::AppSpec;

/// One key and the value in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The word for the keys that belong together, such as `restart` or `recycle`.
    pub section: &'static str,
    /// The key, as a file names it.
    pub key: &'static str,
    /// The value, as a file would have it.
    pub value: Value,
    /// Whether it is the value that holds where nothing is set.
    pub is_default: bool,
}

/// Every key that has a value, in the order of the table of keys. Keys whose values may be secrets
/// are left out.
pub fn of(spec: &AppSpec) -> Vec<Setting> {
    let blank = AppSpec::blank();
    let of_section = |section: &'static keys::Section| {
        let keys = section.keys.iter();
        keys.filter(|key| key.stands_for.is_none() && key.redact.is_none()).filter_map(|key| {
            Some(Setting {
                section: section.name,
                key: key.name,
                value: key.kind.shown(spec)?,
                is_default: !key.kind.differs(&blank, spec),
            })
        })
    };
    keys::SECTIONS.iter().flat_map(of_section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_effect_without_secrets() {
        let mut spec = AppSpec::new("web", vec!["serve".into()], "/srv".into());
        spec.env.insert("TOKEN".into(), "hunter2".into());
        spec.shared = Some("{\"password\":\"hunter2\"}".into());
        spec.restart.max_restarts = 3;
        let settings = of(&spec);
        assert!(!format!("{settings:?}").contains("hunter2"));
        let find = |key| settings.iter().find(|setting| setting.key == key);
        let expected =
            Setting { section: "restart", key: "max_restarts", value: 3.into(), is_default: false };
        assert_eq!(find("max_restarts"), Some(&expected));
        let drain = find("drain_timeout").unwrap();
        assert_eq!((&drain.value, drain.is_default), (&"30s".into(), true));
        assert_eq!((find("env"), find("shared"), find("cron_restart")), (None, None, None));
    }
}
