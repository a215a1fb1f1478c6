//! How a fake program behaves, as the words of its command say:
//!
//! `port=N`, `crash`, `crash-after=MS`, `clean`, `ends=MS`, `hang`, `deaf`, `undying`, `missing`,
//! `no-memory`, `refused`, `ready=MS`, `extend=MS`, `hung=MS`, `refuses=MS`, `late-looks`,
//! `no-looks`, `blind`, `dies-draining`, `stuck`, `closes=MS`, `leaves=MS`, `busy=MS`,
//! `children=MS`, `kept`, `finishes`, `runtime-finishes`, `ends-kept`, `asks`, `late=MS`; `wild`
//! draws some of them for each worker.

use std::time::Duration;

use crate::base::exit::Exit;
use crate::base::on_stop::OnStop;
use crate::primary::slots::restart_policy::Jitter;

#[derive(Debug, Clone)]
pub(in super::super) struct Habit {
    pub(in super::super) ports: Vec<u16>,
    /// It dies by itself, this long after it runs, or after it listens.
    pub(in super::super) dies: Option<(Moment, Duration, Exit)>,
    pub(in super::super) spawns: Spawns,
    /// Its address is taken.
    pub(in super::super) refused: bool,
    /// It ignores the stop signal.
    pub(in super::super) deaf: bool,
    /// It waits in the kernel, and does not even end when it is killed.
    pub(in super::super) undying: bool,
    pub(in super::super) looks: Looks,
    /// It dies after a look, and leaves connections waiting.
    pub(in super::super) dies_draining: bool,
    pub(in super::super) ready: Option<Duration>,
    pub(in super::super) extend: Option<Duration>,
    pub(in super::super) hung: Option<Duration>,
    pub(in super::super) refuses: Option<Duration>,
    /// This long after it listens, it closes that server, or leaves.
    pub(in super::super) closes: Option<Duration>,
    pub(in super::super) leaves: Option<Duration>,
    /// It asks whether a socket listens before it calls `listen`.
    pub(in super::super) asks: bool,
    /// So long after it runs it asks for its ports.
    pub(in super::super) late: Duration,
    /// It takes no connection.
    pub(in super::super) stuck: bool,
    /// Its connections are never quiet, unless it ends them when it drains.
    pub(in super::super) kept: bool,
    /// What it does at the stop signal; [`OnStop::Handles`] and [`OnStop::RuntimeHandles`]: it
    /// finishes first.
    pub(in super::super) on_stop: OnStop,
    /// How long it works on a request.
    pub(in super::super) busy: Duration,
    /// So long other processes of its group outlive its main process, if nobody kills them.
    pub(in super::super) children: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Moment {
    Running,
    Listening,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Spawns {
    Fine,
    Permanently,
    Temporarily,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Looks {
    Prompt,
    Late,
    Never,
    Blind,
}

impl Habit {
    pub(in super::super) fn of(command: &[String], dice: &mut Jitter) -> Self {
        let mut habit = Self {
            ports: Vec::new(),
            dies: None,
            spawns: Spawns::Fine,
            refused: false,
            deaf: false,
            undying: false,
            looks: Looks::Prompt,
            dies_draining: false,
            ready: None,
            extend: None,
            hung: None,
            refuses: None,
            closes: None,
            leaves: None,
            asks: false,
            late: Duration::ZERO,
            stuck: false,
            kept: false,
            on_stop: OnStop::Dies,
            busy: Duration::ZERO,
            children: Duration::ZERO,
        };
        for word in command {
            habit.take(word);
        }
        if command.iter().any(|word| word == "wild") {
            habit.take(&wild(dice));
            habit.take(&wild(dice));
        }
        habit
    }

    fn take(&mut self, word: &str) {
        let (word, number) = word.split_once('=').unwrap_or((word, "0"));
        let number: u64 = number.parse().expect("a number after =");
        let span = Duration::from_millis(number);
        match word {
            "serve" | "wild" => {}
            "port" => self.ports.push(u16::try_from(number).expect("a port")),
            "crash" => self.dies = Some((Moment::Running, span, Exit::Code(1))),
            "crash-after" => self.dies = Some((Moment::Listening, span, Exit::Code(1))),
            "ends" => self.dies = Some((Moment::Running, span, Exit::Code(0))),
            "clean" => self.dies = Some((Moment::Listening, span, Exit::Code(0))),
            "hang" => self.ports.clear(),
            "deaf" => self.deaf = true,
            "undying" => (self.deaf, self.undying) = (true, true),
            "missing" => self.spawns = Spawns::Permanently,
            "no-memory" => self.spawns = Spawns::Temporarily,
            "refused" => self.refused = true,
            "ready" => self.ready = Some(span),
            "extend" => self.extend = Some(span),
            "hung" => self.hung = Some(span),
            "refuses" => self.refuses = Some(span),
            "late-looks" => self.looks = Looks::Late,
            "no-looks" => self.looks = Looks::Never,
            "blind" => self.looks = Looks::Blind,
            "dies-draining" => self.dies_draining = true,
            "closes" => self.closes = Some(span),
            "leaves" => self.leaves = Some(span),
            "asks" => self.asks = true,
            "late" => self.late = span,
            "stuck" => self.stuck = true,
            "busy" => self.busy = span,
            "children" => self.children = span,
            "kept" => self.kept = true,
            "finishes" => self.on_stop = OnStop::Handles,
            "runtime-finishes" => self.on_stop = OnStop::RuntimeHandles,
            "ends-kept" => self.on_stop = OnStop::EndsKept,
            unknown => panic!("no such habit: {unknown}"),
        }
    }
}

fn wild(dice: &mut Jitter) -> String {
    let span = dice.roll() % 4000;
    match dice.roll() % 64 {
        0 => "crash".to_owned(),
        1 | 2 => format!("crash-after={span}"),
        3 => format!("clean={span}"),
        4 => "hang".to_owned(),
        5 | 6 => "deaf".to_owned(),
        7 => "no-memory".to_owned(),
        8 => format!("hung={span}"),
        9..12 => "late-looks".to_owned(),
        12 => "no-looks".to_owned(),
        13 | 14 => "blind".to_owned(),
        15..18 => "dies-draining".to_owned(),
        18..24 => format!("busy={span}"),
        24 => "missing".to_owned(),
        25 | 26 => "port=9001".to_owned(),
        27 => format!("ready={span}"),
        28 => format!("extend={span}"),
        29 => "refused".to_owned(),
        30 | 31 => "stuck".to_owned(),
        32 | 33 => format!("closes={span}"),
        34 | 35 => format!("leaves={span}"),
        36 | 37 => format!("refuses={span}"),
        38..41 => format!("children={span}"),
        41..44 => "kept".to_owned(),
        44 | 45 => "finishes".to_owned(),
        46 => "runtime-finishes".to_owned(),
        47 => "ends-kept".to_owned(),
        48..50 => "asks".to_owned(),
        50 => format!("late={}", 2 * span),
        _ => "serve".to_owned(),
    }
}
