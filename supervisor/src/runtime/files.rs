//! The files by which commands find this app: its lock, its control socket, its record, its logs.
//! Somebody may remove them while the app runs; logind does at the last logout.

use super::Runtime;
use super::context::context;

impl Runtime {
    /// Has the output of the workers go where the present spec says.
    pub(in crate::runtime) fn keep_log_files(&mut self) {
        if let Err(error) = self.logs.keep_to(&self.core.spec().logs) {
            self.note(format!("cannot write the log files: {error}"));
        }
    }

    /// Makes the files by which commands find this app again, if somebody removed them.
    pub(in crate::runtime) fn keep_files(&mut self) {
        let name = self.core.spec().name.clone();
        let socket = |error| format!("cannot make the control socket: {error}");
        let made = self.recorder.keep_files(&name).and_then(|lock| {
            let made = self.clients.keep_socket(&self.events.poller).map_err(socket)?;
            Ok(lock || made)
        });
        match made {
            Ok(false) => {}
            Ok(true) => {
                self.succession.writer.stale = true;
                self.clients.keep_access(context!(self), self.recorder.home());
                let socket = self.clients.path.display();
                self.warn(format!("the files of this app were removed; {socket} is made again"));
            }
            Err(why) => self.note(format!(
                "commands cannot find this app, because its files were removed: {why}; trying again"
            )),
        }
        self.keep_record();
        if self.logs.folder_is_gone() {
            let home = self.recorder.home();
            let made = home.prepare_logs(&name).map_err(|error| error.to_string());
            let opened = made.and_then(|()| self.logs.reopen().map_err(|error| error.to_string()));
            if let Err(error) = opened {
                self.note(format!("cannot write the log files: {error}"));
            }
        }
    }
}
