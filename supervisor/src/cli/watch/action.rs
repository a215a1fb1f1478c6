//! What the user may have done to an app: the command that does it, and what is asked before.

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Reload,
    Restart {
        hard: bool,
    },
    Scale {
        up: bool,
        pool: Option<String>,
    },
    Start,
    Stop {
        fast: bool,
    },
    Delete {
        fast: bool,
    },
    /// `slot`: the worker that is marked; `all`: send it to all workers nevertheless.
    Signal {
        name: String,
        slot: Option<u16>,
        all: bool,
    },
}

/// What is done to which app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) app: String,
    pub(crate) kind: Kind,
}

impl Action {
    /// A reload.
    #[cfg(test)]
    pub(crate) fn reload(app: &str) -> Self {
        Self { app: app.to_owned(), kind: Kind::Reload }
    }

    /// The arguments of the command that does it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut words = match &self.kind {
            Kind::Reload => vec!["reload", &self.app],
            Kind::Restart { .. } => vec!["restart", &self.app],
            Kind::Start => vec!["start", &self.app],
            Kind::Stop { .. } => vec!["stop", &self.app],
            Kind::Delete { .. } => vec!["delete", &self.app],
            Kind::Signal { name, .. } => vec!["signal", &self.app, name],
            Kind::Scale { up, pool } => {
                let target = match pool {
                    Some(pool) => format!("{}:{pool}", self.app),
                    None => self.app.clone(),
                };
                let by = if *up { "+1" } else { "-1" };
                return vec!["scale".to_owned(), target, by.to_owned()];
            }
        };
        match &self.kind {
            Kind::Restart { hard: true } => words.push("--hard"),
            Kind::Stop { fast: true } | Kind::Delete { fast: true } => words.push("--fast"),
            _ => {}
        }
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if let Kind::Signal { slot: Some(slot), all: false, .. } = &self.kind {
            words.extend(["--slot".to_owned(), slot.to_string()]);
        }
        words
    }

    /// The command as a person would type it.
    pub(crate) fn command(&self) -> String {
        format!("supervisor {}", self.arguments().join(" "))
    }

    /// What happens then, in one sentence.
    pub(crate) fn consequence(&self) -> &'static str {
        match &self.kind {
            Kind::Reload | Kind::Restart { hard: false } => {
                "Workers are replaced one by one; no connection is lost."
            }
            Kind::Restart { hard: true } => "All workers stop, then start: connections are lost.",
            Kind::Scale { up: true, .. } => "One more worker starts.",
            Kind::Scale { up: false, .. } => "One worker drains and stops.",
            Kind::Start => "The workers start.",
            Kind::Stop { fast: false } => "Workers finish their connections and stop.",
            Kind::Stop { fast: true } => "All workers stop at once: connections are lost.",
            Kind::Delete { fast: false } => "Workers finish and stop; the app is forgotten.",
            Kind::Delete { fast: true } => "All workers stop at once; the app is forgotten.",
            Kind::Signal { .. } => "Each of these workers gets the signal.",
        }
    }

    /// A key that changes how it is done, and what that key does now.
    pub(crate) fn option(&self) -> Option<(char, &'static str)> {
        match &self.kind {
            Kind::Restart { hard: false } => Some(('h', "hard: stop all first")),
            Kind::Restart { hard: true } => Some(('h', "rolling: one by one")),
            Kind::Stop { fast: false } | Kind::Delete { fast: false } => {
                Some(('f', "fast: do not drain"))
            }
            Kind::Stop { fast: true } | Kind::Delete { fast: true } => Some(('f', "drain first")),
            Kind::Signal { slot: Some(_), all: false, .. } => Some(('a', "all workers")),
            Kind::Signal { slot: Some(_), all: true, .. } => Some(('a', "only the marked one")),
            Kind::Reload | Kind::Scale { .. } | Kind::Start | Kind::Signal { .. } => None,
        }
    }

    /// Does what the key of [`Action::option`] does.
    pub(crate) fn toggle(&mut self) {
        match &mut self.kind {
            Kind::Restart { hard: on }
            | Kind::Stop { fast: on }
            | Kind::Delete { fast: on }
            | Kind::Signal { all: on, .. } => *on = !*on,
            Kind::Reload | Kind::Scale { .. } | Kind::Start => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn action(kind: Kind) -> Action {
        Action { app: "web".into(), kind }
    }

    #[test]
    fn commands() {
        let pool = Some("jobs".to_owned());
        let signal = |all| Kind::Signal { name: "HUP".into(), slot: Some(3), all };
        for (kind, expected) in [
            (Kind::Reload, "supervisor reload web"),
            (Kind::Restart { hard: false }, "supervisor restart web"),
            (Kind::Restart { hard: true }, "supervisor restart web --hard"),
            (Kind::Scale { up: true, pool: None }, "supervisor scale web +1"),
            (Kind::Scale { up: false, pool }, "supervisor scale web:jobs -1"),
            (Kind::Start, "supervisor start web"),
            (Kind::Stop { fast: true }, "supervisor stop web --fast"),
            (Kind::Delete { fast: false }, "supervisor delete web"),
            (signal(false), "supervisor signal web HUP --slot 3"),
            (signal(true), "supervisor signal web HUP"),
        ] {
            let action = action(kind);
            assert_eq!(action.command(), expected);
            let mut argv = vec!["supervisor".to_owned()];
            argv.extend(action.arguments());
            argv.push("--json".to_owned());
            crate::cli::verbs::Cli::try_parse_from(argv).expect("a command of this program");
        }
    }

    #[test]
    fn options_toggle() {
        let mut stop = action(Kind::Stop { fast: false });
        let (key, before) = stop.option().unwrap();
        stop.toggle();
        assert_eq!(stop.kind, Kind::Stop { fast: true });
        assert_ne!(stop.option().unwrap(), (key, before));
        assert_eq!(action(Kind::Reload).option(), None);
    }
}
