//! The loop: takes what the threads report, has the model decide, carries out, draws.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as TerminalEvent};

use super::input::Input;
use super::interrupts;
use super::screen::Screen;
use crate::cli::exit::{Exit, Failure};
use crate::cli::monit::model::{Effect, Event, Model};
use crate::cli::monit::view::Theme;
use crate::cli::output::tone;
use crate::cli::watch::{Ended, Report, commands, feeds, logs};
use crate::home::Home;

/// What waits for the loop. When there is as much, the threads wait.
const MAX_QUEUED: usize = 256;

/// Events between two drawings, so that a flood of them does not keep the screen from moving.
const MAX_EVENTS: usize = 1024;

/// The shortest time between two drawings: of numbers that changed, and of something that happened.
/// What the user does is drawn at once.
const NUMBERS_INTERVAL: Duration = Duration::from_millis(500);
const EVENTS_INTERVAL: Duration = Duration::from_millis(150);

/// Shows the dashboard of these apps, or of all if there are no names, until the user ends it.
/// Fails where there is no terminal.
pub(crate) fn run(home: &Home, names: Vec<String>) -> Result<Exit, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "monit needs a terminal, and stdin or stdout is none: use \"supervisor list\" for a \
             table, or \"supervisor list --json\" for a program",
        ));
    }
    let (sender, inputs) = sync_channel(MAX_QUEUED);
    interrupts::start(sender.clone())?;
    feeds::start(home.clone(), names, reporter(sender.clone()))?;
    let choose_log = logs::start(home.clone(), reporter(sender.clone()))?;
    let theme = Theme { colours: tone::colours_are_wanted() };
    let screen = Screen::take(theme).map_err(|error| unusable(&error))?;
    read_terminal(sender.clone())?;
    let shell = Shell { home: home.clone(), screen, sender, inputs, choose_log };
    shell.run().map_err(|error| unusable(&error))?;
    Ok(Exit::Done)
}

/// Passes reports to the loop. When its queue is full, the thread that reports waits.
fn reporter(sender: SyncSender<Input>) -> impl Fn(Report) -> Result<(), Ended> + Clone {
    move |report| sender.send(Input::Event(report.into())).map_err(|_| Ended)
}

fn unusable(error: &io::Error) -> Failure {
    Failure::io("cannot use the terminal", error)
}

/// Starts the thread that reads keys, the mouse and changes of the size.
fn read_terminal(sender: SyncSender<Input>) -> Result<(), Failure> {
    let read = move || {
        loop {
            let event = match event::read() {
                Ok(TerminalEvent::Key(key)) => Event::Key(key),
                Ok(TerminalEvent::Mouse(mouse)) => Event::Mouse(mouse),
                Ok(TerminalEvent::Resize(width, height)) => Event::Resize(width, height),
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => Event::End,
            };
            let ends = matches!(event, Event::End);
            if sender.send(Input::Event(event)).is_err() || ends {
                return;
            }
        }
    };
    let started = thread::Builder::new().name("keys".into()).spawn(read);
    started.map(drop).map_err(|error| Failure::io("cannot start a thread to read keys", &error))
}

struct Shell {
    home: Home,
    screen: Screen,
    sender: SyncSender<Input>,
    inputs: Receiver<Input>,
    choose_log: Sender<Option<String>>,
}

/// Whether the dashboard goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    End,
}

impl Shell {
    fn run(mut self) -> io::Result<()> {
        let mut model = Model::new(self.screen.size()?);
        self.screen.draw(&model)?;
        let mut drawn = Instant::now();
        // How long after the last drawing the next one is due. `None`: nothing has changed.
        let mut due: Option<Duration> = None;
        loop {
            let wait =
                due.map_or(Duration::from_secs(3600), |due| due.saturating_sub(drawn.elapsed()));
            let mut next = match self.inputs.recv_timeout(wait) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            for _ in 0..MAX_EVENTS {
                let Some(input) = next else { break };
                let interval = interval(&input);
                due = Some(due.map_or(interval, |due| due.min(interval)));
                if self.take(&mut model, input)? == Flow::End {
                    return Ok(());
                }
                next = self.inputs.try_recv().ok();
            }
            if due.is_some_and(|due| drawn.elapsed() >= due) {
                self.screen.draw(&model)?;
                drawn = Instant::now();
                due = None;
            }
        }
    }

    fn take(&mut self, model: &mut Model, input: Input) -> io::Result<Flow> {
        let effects = match input {
            Input::Event(event) => model.update(event),
            Input::Suspend => vec![Effect::Suspend],
        };
        for effect in effects {
            match effect {
                // The thread ends with this process.
                Effect::Follow(app) => _ = self.choose_log.send(app),
                Effect::Run(action) => {
                    let sender = self.sender.clone();
                    // An error means that the dashboard has ended.
                    commands::start(&self.home, action, move |outcome| {
                        let _ = sender.send(Input::Event(Report::Outcome(outcome).into()));
                    });
                }
                Effect::Redraw => self.screen.forget()?,
                Effect::Suspend => {
                    self.screen.without(interrupts::stop)?;
                    let (width, height) = self.screen.size()?;
                    self.screen.forget()?;
                    model.update(Event::Resize(width, height));
                }
                Effect::Quit => return Ok(Flow::End),
            }
        }
        Ok(Flow::On)
    }
}

/// How long after the last drawing this is drawn.
fn interval(input: &Input) -> Duration {
    match input {
        Input::Suspend => Duration::ZERO,
        Input::Event(event) => match event {
            Event::Key(_) | Event::Mouse(_) | Event::Resize(..) | Event::End => Duration::ZERO,
            Event::Report(report) => match report {
                Report::Notice { .. } | Report::Outcome(_) | Report::Fault(_) => EVENTS_INTERVAL,
                // The log of an app that was just chosen.
                Report::Log { begins: true, .. } => Duration::ZERO,
                Report::Log { .. } | Report::Apps(_) | Report::Status { .. } => NUMBERS_INTERVAL,
            },
        },
    }
}
