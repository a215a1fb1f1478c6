//! Waits until a job has done its work: an app whose workers end by themselves.

use std::ops::ControlFlow;
use std::time::Duration;

use config::spec::AppSpec;
use ipc::control::AppStatus;

use super::exit::Failure;
use super::launch::is_idle;
use super::output::Progress;
use super::targets::{probe, running_spec};
use crate::home::Home;

/// How often `wait` asks for the state of a job whose primary tells nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the workers of `name` have done their work. Fails if they failed, if somebody
/// stopped them, or if the app has no end.
pub(crate) fn wait(home: &Home, name: &str) -> Result<(), Failure> {
    let _progress = Progress::start(name, "waiting until it has done its work");
    loop {
        let status = probe::existing(home, name)?;
        if status.done {
            return Ok(());
        }
        refuse(&status, &running_spec(home, name)?)?;
        let news = |_: &_| ControlFlow::Break(());
        probe::connect(home, name)?.subscribe(INTERVAL, || ControlFlow::Break(()), news)?;
    }
}

/// Fails if the work will not be done.
fn refuse(status: &AppStatus, spec: &AppSpec) -> Result<(), Failure> {
    let name = &spec.name;
    if !spec.restart.has_end() {
        return Err(Failure::usage(format!(
            "{name} is started again whenever it ends, so it is never completed: write restart = \
             \"on-failure\" or \"never\" for it"
        )));
    }
    if !is_idle(status) {
        return Ok(());
    }
    let mut workers = status.workers.iter();
    let why = workers.find_map(|worker| worker.reason.as_deref()).unwrap_or("it was stopped");
    Err(Failure::failed(format!("{name}: not completed: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::targets::fake_primary as fake;
    use ipc::control::Status;

    #[test]
    fn work_that_will_not_be_done_is_a_failure() {
        let mut spec = fake::spec("migrate");
        let running = fake::status("migrate", Status::Ready);
        assert!(refuse(&running, &spec).unwrap_err().reason.contains("never completed"));
        spec.restart.on = config::spec::RestartOn::Failure;
        assert!(refuse(&running, &spec).is_ok());
        let mut failed = fake::status("migrate", Status::Errored);
        for worker in &mut failed.workers {
            worker.pid = None;
            worker.reason = Some("exit code 3".to_owned());
        }
        assert!(refuse(&failed, &spec).unwrap_err().reason.ends_with("exit code 3"));
    }
}
