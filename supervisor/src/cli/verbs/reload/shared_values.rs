//! `reload --config`: sends the `shared` values of the file, as they are now, to the workers on the
//! bus. No worker is replaced.
//!
//! It refuses a file in which anything else has changed: that needs a reload.

use config::cpus::Cpus;
use config::keys::{self, Change};
use config::spec::AppSpec;
use ipc::control::Request;
use ipc::talk::BusRequest;

use crate::cli::args::WaitOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::replace::{as_started, keep_scale, split_files_and_names};
use crate::cli::session::Session;
use crate::cli::specs::read_file_for;
use crate::cli::targets::{Outcome, Targets, ask, running_spec};

/// Sends the values to the workers of the apps, or of the apps in the files, that `given` names.
pub(super) fn send(
    given: &[String],
    wait: &WaitOptions,
    session: &mut Session,
) -> Result<Exit, Failure> {
    let (specs, mut names) = split_files_and_names(given, None, session)?;
    names.extend(specs.iter().map(|spec| spec.name.clone()));
    let targets = Targets::resolve(session, &names)?;
    targets.each(session, wait.json, |session, name| {
        let spec = specs.iter().find(|spec| spec.name == name);
        send_to_app(wait, session, name, spec)
    })
}

/// `from_file` is the app in a file that the user named. Without it, the file is the one that the
/// app came from.
fn send_to_app(
    wait: &WaitOptions,
    session: &Session,
    name: &str,
    from_file: Option<&AppSpec>,
) -> Result<Outcome, Failure> {
    let running = running_spec(&session.home, name)?;
    let Some(source) = &running.source else {
        return Err(Failure::usage(format!(
            "{name} came from no file, so it has no values to share: start it from a \
             configuration file"
        )));
    };
    let found = match from_file {
        Some(spec) => Some(as_started(spec.clone(), &running)?),
        None => {
            let specs = read_file_for(&session.home, source, running.profile.as_deref())?;
            specs.into_iter().find(|spec| spec.name == name)
        }
    };
    let Some(mut spec) = found else {
        return Err(Failure::usage(format!("{name} is no longer in {}", source.display())));
    };
    let source = spec.source.clone().unwrap_or_else(|| source.clone());
    let overrides = running.overrides.as_deref().cloned().unwrap_or_default();
    overrides.attach(&mut spec, &Cpus::read());
    keep_scale(&mut spec, &running);
    let shared = spec.shared.clone();
    let others = changed_keys(&running, spec);
    if !others.is_empty() {
        return Err(Failure::usage(format!(
            "{name}: more than the shared values has changed in {} ({}): use \"supervisor reload \
             {name}\"",
            source.display(),
            others.join(", ")
        )));
    }
    let request = Request::Bus(BusRequest::Share { shared });
    ask(&session.home, name, &request, "giving the workers new values", wait)
}

/// The keys whose value in the file differs from the running one, and which only a reload can bring
/// to the workers.
fn changed_keys(running: &AppSpec, mut spec: AppSpec) -> Vec<&'static str> {
    // Older versions did not record the variables of the command line.
    for (key, value) in &running.env {
        spec.env.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let keys = keys::changed(running, &spec).into_iter();
    let keys = keys.filter(|key| key.change != Change::Config);
    let mut others: Vec<&str> = keys.map(|key| key.name).collect();
    if running.pools != spec.pools {
        others.push("pool");
    }
    spec.shared.clone_from(&running.shared);
    match others.is_empty() && *running != spec {
        true => vec!["something"],
        false => others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_changed_keys_are_named() {
        let mut running = AppSpec::new("web", vec!["true".into()], "/".into());
        running.env.insert("PORT".into(), "80".into());
        let mut file = running.clone();
        file.env.clear();
        file.shared = Some("{}".to_owned());
        assert!(changed_keys(&running, file.clone()).is_empty());
        file.command.push("x".to_owned());
        file.stop_signal = 2;
        assert_eq!(changed_keys(&running, file.clone()), ["command", "stop_signal"]);
        let env = [("PORT".to_owned(), "81".to_owned())].into();
        let other = AppSpec { env, ..running.clone() };
        assert_eq!(changed_keys(&running, other), ["env"]);
    }
}
