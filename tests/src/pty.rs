//! A pseudo-terminal with a program on it, and the screen that a person would see.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::unistd::ttyname;

use crate::wait::{try_until, wait_until};

/// A program on a terminal of its own. It is killed when this is dropped.
pub struct Pty {
    child: Child,
    keyboard: File,
    path: String,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl fmt::Debug for Pty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pty").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Pty {
    /// Starts `command` as the leader of a session on a new terminal of this size.
    pub fn start(command: &Command, (columns, lines): (u16, u16)) -> Self {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let path = ttyname(pty.slave.as_fd()).expect("its name").display().to_string();
        // setsid(1) makes stdin the controlling terminal, which std cannot do without `unsafe`.
        let mut led = Command::new("setsid");
        led.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                led.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            led.current_dir(folder);
        }
        let end = || Stdio::from(pty.slave.try_clone().expect("a copy"));
        led.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        let child = led.spawn().expect("run setsid, of util-linux");
        drop((led, pty.slave));
        let keyboard = File::from(pty.master);
        let mut output = keyboard.try_clone().expect("a copy");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(lines), some(columns), 0)));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            // EIO: no process has the other end open.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        Self { child, keyboard, path, screen }
    }

    /// The pid of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("type");
    }

    /// Changes the size of the terminal.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.screen_mut().set_size(some(lines), some(columns));
        drop(screen);
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let status = Command::new("stty")
            .args(["-F", &self.path, "cols", &columns, "rows", &lines])
            .status()
            .expect("run stty, of coreutils");
        assert!(status.success(), "stty: {status}");
    }

    /// The settings of the terminal, as `stty -g` prints them.
    pub fn settings(&self) -> String {
        let output = Command::new("stty").args(["-F", &self.path, "-g"]).output().expect("stty");
        String::from_utf8_lossy(output.stdout.trim_ascii()).into_owned()
    }

    /// What the screen shows now.
    pub fn text(&self) -> String {
        self.with_screen(vt100::Screen::contents)
    }

    /// Asks the screen: its cells, its modes.
    pub fn with_screen<R>(&self, ask: impl FnOnce(&vt100::Screen) -> R) -> R {
        ask(self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen())
    }

    /// Waits until the screen shows what is wanted. Panics with the screen after `limit`.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, wanted: impl Fn(&str) -> bool) -> String {
        try_until(limit, || Some(self.text()).filter(|text| wanted(text)))
            .unwrap_or_else(|| panic!("no {what} within {limit:?}; the screen is\n{}", self.text()))
    }

    /// Waits until the screen shows all these words.
    #[track_caller]
    pub fn shows(&self, words: &[&str], limit: Duration) -> String {
        self.wait(&format!("{words:?}"), limit, |text| words.iter().all(|w| text.contains(w)))
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub fn end(&mut self, limit: Duration) -> ExitStatus {
        wait_until("the end of the program", limit, || self.child.try_wait().expect("wait"))
    }
}

/// A number of columns or lines.
fn some(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a terminal has columns and lines")
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
