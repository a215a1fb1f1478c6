//! Unit files that run an app under systemd, as in systemd.service(5).
//!
//! The texts are in `systemd/units/`; this module fills in the placeholders. It writes no file and
//! runs nothing.

/// The unit of one app, with placeholders.
const APP: &str = include_str!("../units/app.service");
/// The template unit for apps in `/etc/supervisor`.
const TEMPLATE: &str = include_str!("../units/supervisor@.service");
/// The hardening of system services.
const HARDENING: &str = include_str!("../units/hardening.conf");
/// What `startup --private` adds to it.
const PRIVATE: &str = "ProtectHome=yes\nPrivateTmp=yes\n";

/// One app as a service.
#[derive(Debug, Clone)]
pub struct Unit<'a> {
    /// The app's name.
    pub name: &'a str,
    /// The command that starts it in the foreground: an absolute path and arguments.
    pub start: &'a [String],
    /// The command that reloads it.
    pub reload: &'a [String],
    /// Environment variables for the unit.
    pub environment: &'a [(String, String)],
    /// The longest time that stopping the app takes, in seconds.
    pub stop_seconds: u64,
    /// Whether it runs in a user's own session manager, which cannot harden it.
    pub of_user: bool,
    /// Whether a system service hides the homes of users, and has temporary files of its own.
    pub private: bool,
}

impl Unit<'_> {
    /// The name of the unit's file.
    pub fn file_name(app: &str) -> String {
        format!("supervisor-{app}.service")
    }

    /// The text of the unit's file.
    pub fn text(&self) -> String {
        let environment: Vec<String> = self
            .environment
            .iter()
            .map(|(key, value)| format!("Environment={}", quoted(&format!("{key}={value}"), false)))
            .collect();
        let (hardening, target) = match self.of_user {
            true => ("NoNewPrivileges=yes\n", "default.target"),
            false => (HARDENING, "multi-user.target"),
        };
        let private = if self.private && !self.of_user { PRIVATE } else { "" };
        APP.replace("@NAME@", self.name)
            .replace("@START@", &line(self.start))
            .replace("@RELOAD@", &line(self.reload))
            .replace(
                "@ENVIRONMENT@\n",
                &environment.iter().map(|e| format!("{e}\n")).collect::<String>(),
            )
            .replace("@STOP_SECONDS@", &self.stop_seconds.to_string())
            .replace("@HARDENING@\n", &format!("{hardening}{private}"))
            .replace("@TARGET@", target)
    }
}

/// The text of `supervisor@.service`, for the program at this absolute path.
pub fn template(program: &str) -> String {
    TEMPLATE.replace("/usr/bin/supervisor", program).replace("@HARDENING@\n", HARDENING)
}

/// A command line.
fn line(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quoted(argument, true)).collect();
    quoted.join(" ")
}

/// Quotes one word as systemd.syntax(7) and "COMMAND LINES" of systemd.service(5) require.
/// `command`: the word stands in a command line, where systemd also expands variables.
fn quoted(word: &str, command: bool) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match c {
            '%' => text.push_str("%%"),
            '$' if command => text.push_str("$$"),
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && text.chars().all(plain) { text } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_unit_is_filled_in() {
        let start = words(&["/opt/my tools/supervisor", "start", "--foreground", "/srv/100%.toml"]);
        let environment = [("PATH".to_owned(), "/bin:/opt/my \"tools\"".to_owned())];
        let reload = words(&["/usr/bin/supervisor", "reload", "web"]);
        let unit = Unit {
            name: "web",
            start: &start,
            reload: &reload,
            environment: &environment,
            stop_seconds: 25,
            of_user: false,
            private: true,
        };
        let text = unit.text();
        for expected in [
            "\nExecStart=\"/opt/my tools/supervisor\" start --foreground /srv/100%%.toml\n",
            "\nExecReload=/usr/bin/supervisor reload web\n",
            "\nEnvironment=\"PATH=/bin:/opt/my \\\"tools\\\"\"\n",
            "\nTimeoutStopSec=25\n",
            "\nCapabilityBoundingSet=",
            "\nProtectHome=yes\nPrivateTmp=yes\n",
            "\nWantedBy=multi-user.target\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        let open = Unit { private: false, ..unit.clone() }.text();
        assert!(!open.contains("ProtectHome") && !open.contains("PrivateTmp"), "{open}");
        let of_user = Unit { of_user: true, ..unit }.text();
        assert!(!of_user.contains("ProtectHome"), "{of_user}");
        assert!(of_user.contains("\nWantedBy=default.target\n") && !of_user.contains("Capability"));
    }

    #[test]
    fn nothing_is_left_blank() {
        let unit = Unit {
            name: "x",
            start: &words(&["/s"]),
            reload: &words(&["/r"]),
            environment: &[],
            stop_seconds: 1,
            of_user: false,
            private: false,
        };
        for text in [unit.text(), template("/usr/local/bin/supervisor")] {
            let blank = text.split('@').skip(1).step_by(2).find(|word| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            });
            assert_eq!(blank, None, "{text}");
        }
        assert!(template("/usr/local/bin/supervisor").contains("ExecStart=/usr/local/bin/sup"));
    }

    #[test]
    fn words_survive_systemd() {
        assert_eq!(quoted("a b", true), "\"a b\"");
        assert_eq!(quoted("", true), "\"\"");
        assert_eq!(quoted("$HOME;%i", true), "\"$$HOME;%%i\"");
        assert_eq!(quoted("K=$HOME", false), "\"K=$HOME\"");
        assert_eq!(quoted("a\\b\"c\nd", true), "\"a\\\\b\\\"c\\nd\"");
    }
}
