//! Random lives: random apps, random requests, random misfortune; the laws hold.

use config::change::SpecChange;
use config::spec::PoolSpec;
use config::spec::{Balance, Instances, ProbeAsk, ProbeSpec, ReadyRule, RecyclePolicy, RestartOn};
use ipc::control::{Method, RolloutCommand};
use ipc::talk::BusRequest;

use super::*;

/// Steps of a fast test: a few seconds.
const FEW: u64 = 150_000;
/// Steps of a heavy test.
const MANY: u64 = 2_000_000;
/// Steps of one life.
const LIFE: u64 = 2_000;

const COMMANDS: [&str; 8] = [
    "serve port=8000",
    "serve port=8000 port=8001",
    "serve",
    "wild port=8000",
    "wild port=8000 port=8001",
    "wild port=8002",
    "wild port=7000",
    "wild",
];

const POOLS: [&str; 3] = ["hash", "mail", "stock"];

const BAD: [&str; 8] = [
    "serve port=8000 crash",
    "serve port=8000 crash-after=200",
    "serve hang",
    "serve port=9001",
    "serve port=8000 missing",
    "serve port=8000 no-memory",
    "serve port=8000 hung=300",
    "serve port=8000 refused",
];

fn chosen<'a>(dice: &mut Jitter, all: &[&'a str]) -> &'a str {
    all[usize::try_from(dice.roll()).expect("64 bits") % all.len()]
}

fn random_spec(dice: &mut Jitter) -> AppSpec {
    let wanted = u16::try_from(1 + dice.roll() % 4).expect("small");
    let command = if dice.roll().is_multiple_of(8) { BAD.as_slice() } else { COMMANDS.as_slice() };
    let mut spec = app(chosen(dice, command), wanted);
    if dice.roll().is_multiple_of(3) {
        spec.instances = Instances::Between { min: 1, max: wanted };
    }
    for port in [8000, 8005, 7000] {
        if dice.roll().is_multiple_of(8) {
            spec = listening(spec, port);
        }
    }
    spec.ready = match dice.roll() % 12 {
        0 => ReadyRule::Listen,
        1 => ReadyRule::Notify,
        2 => ReadyRule::Uptime,
        _ => ReadyRule::Auto,
    };
    if spec.ready == ReadyRule::Notify {
        spec.command.push("ready=300".to_owned());
    }
    spec.restart.on = match dice.roll() % 12 {
        0 => RestartOn::Never,
        1 | 2 => RestartOn::Failure,
        _ => RestartOn::Always,
    };
    if dice.roll().is_multiple_of(12) {
        spec.restart.stop_exit_codes = [0, 1].into_iter().collect();
    }
    spec.restart.max_restarts = u16::try_from(dice.roll() % 10).expect("small");
    spec.restart.backoff_max = Duration::from_secs(1 + dice.roll() % 5);
    spec.times.ready_timeout = Duration::from_millis(500 + dice.roll() % 6000);
    spec.times.listen_wait = Duration::from_millis(dice.roll() % 2000);
    spec.times.min_uptime = Duration::from_millis(dice.roll() % 1200);
    spec.times.observe = Duration::from_millis(dice.roll() % 4000);
    if dice.roll().is_multiple_of(4) {
        spec.balance = Balance::Sticky;
        spec.times.sticky_wait = Duration::from_millis((dice.roll() % 8) * 400);
    }
    if dice.roll().is_multiple_of(3) {
        spec.times.hang_timeout = Duration::from_millis(100 + dice.roll() % 3000);
    }
    spec.times.drain_timeout = Duration::from_millis(dice.roll() % 6000);
    spec.times.kill_timeout = Duration::from_millis(dice.roll() % 2000);
    if dice.roll().is_multiple_of(3) {
        spec.recycle = random_limits(dice);
    }
    if dice.roll().is_multiple_of(4) {
        spec.readiness = random_probe(dice);
    }
    if dice.roll().is_multiple_of(4) {
        spec.liveness = random_probe(dice);
    }
    // As many values as there are numbers of workers, and none.
    spec.shared = (wanted > 1).then(|| format!("{{\"limit\":{wanted}}}"));
    if dice.roll().is_multiple_of(2) {
        add_pools(&mut spec, dice);
    }
    if dice.roll().is_multiple_of(2) {
        spec.hooks = hooks::random_hooks(dice);
    }
    spec
}

fn random_limits(dice: &mut Jitter) -> RecyclePolicy {
    let mut some = |most: u64| match dice.roll() % 2 {
        0 => 0,
        _ => 1 + dice.roll() % most,
    };
    RecyclePolicy {
        max_memory: some(1000),
        max_age: Duration::from_millis(some(30_000)),
        max_connections: some(100),
        jitter: u8::try_from(some(90)).expect("small"),
        budget: u16::try_from(1 + some(9)).expect("small"),
    }
}

fn random_probe(dice: &mut Jitter) -> ProbeSpec {
    let mut few = || u16::try_from(1 + dice.roll() % 3).expect("small");
    let (failures, successes) = (few(), few());
    let ask = Some(ProbeAsk::Tcp { port: None });
    ProbeSpec { ask, failures, successes, ..ProbeSpec::default() }
}

/// Some pools also serve the addresses of the app's own pool.
fn add_pools(spec: &mut AppSpec, dice: &mut Jitter) {
    for name in POOLS {
        if dice.roll().is_multiple_of(2) {
            continue;
        }
        let bad = dice.roll().is_multiple_of(8);
        let command = chosen(dice, if bad { BAD.as_slice() } else { COMMANDS.as_slice() });
        let command = command.split(' ').map(str::to_owned).collect();
        let mut pool = PoolSpec::new(name, command);
        pool.wanted = u16::try_from(1 + dice.roll() % 3).expect("small");
        if dice.roll().is_multiple_of(8) {
            pool.ready = ReadyRule::Notify;
            pool.command.push("ready=200".to_owned());
        }
        spec.pools.push(pool);
    }
}

/// Half of all requests are about the app's own workers, or about all.
fn random_pool(dice: &mut Jitter) -> Option<String> {
    let among = [POOLS[0], POOLS[1], POOLS[2], "default"];
    dice.roll().is_multiple_of(2).then(|| chosen(dice, &among).to_owned())
}

fn random_command(dice: &mut Jitter) -> RolloutCommand {
    match dice.roll() % 4 {
        0 => RolloutCommand::Abort,
        1 => RolloutCommand::Resume,
        _ => RolloutCommand::Pause { for_ms: dice.roll() % 60_000 },
    }
}

/// Sets a variable, or names a file that cannot be read.
fn random_change(dice: &mut Jitter) -> Request {
    let roll = dice.roll();
    let env = vec![(chosen(dice, &["A", "B"]).to_owned(), (roll % 4).to_string())];
    let file = roll.is_multiple_of(5).then(|| "/broken.toml".into());
    let change = SpecChange { file, env, ..SpecChange::default() };
    let method = match roll / 8 % 6 {
        4 | 5 => Method::BlueGreen { keep_old_ms: (roll / 64 % 3) * 5_000 },
        0 => Method::Hard,
        1 => Method::Rolling { pool: random_pool(dice) },
        _ => Method::Rolling { pool: None },
    };
    Request::Configure { change, method }
}

impl Sim {
    fn random_request(&mut self) {
        let dice = &mut self.dice;
        let roll = dice.roll();
        let new = (roll & 0x1_0000 != 0).then(|| Box::new(random_spec(dice)));
        let wanted = u16::try_from(dice.roll() % 6).expect("small");
        let request = match roll % 36 {
            0..8 => Request::Reload { spec: new, pool: random_pool(dice) },
            8..10 => Request::Restart { hard: false, spec: new },
            10..13 => Request::Restart { hard: true, spec: new },
            13..18 => Request::Scale { wanted, because: String::new(), pool: random_pool(dice) },
            18..21 => Request::Start,
            21 => Request::Stop { fast: wanted == 0 },
            22 => Request::Signal { signal: 10, slot: (wanted > 2).then_some(wanted) },
            // A client of the bus gets no answer if the primary dies.
            23 if wanted > 2 && self.mortal.is_none() => {
                let shared = Some(format!("{{\"limit\":{wanted}}}"));
                Request::Bus(BusRequest::Share { shared })
            }
            23 => Request::Status,
            24 | 25 => random_change(dice),
            26 if wanted > 1 => Request::Rollback,
            26 => Request::WaitReady,
            27 if wanted == 0 => Request::Delete { fast: false },
            27 if wanted == 1 => Request::Subscribe,
            27 => {
                let pool = u16::try_from(dice.roll() % 3).expect("small") * 2000;
                Request::ReplaceWorker { slot: pool + wanted - 2 }
            }
            28 => return self.signal(PrimarySignal::More),
            29 => return self.signal(PrimarySignal::Fewer),
            30 => return self.signal(PrimarySignal::Reload),
            31..35 => Request::Rollout { command: random_command(dice) },
            _ => match self.waiting_clients().first() {
                Some(client) => return self.leave(*client),
                None => Request::Spec,
            },
        };
        self.ask(request);
    }

    fn misfortune(&mut self) {
        let index = usize::try_from(self.dice.roll()).expect("64 bits");
        let workers: Vec<WorkerId> = self.fakes.keys().copied().collect();
        if let Some(worker) = workers.get(index % workers.len().max(1)) {
            self.murder(*worker);
        }
    }

    /// A worker that has limits is measured.
    fn measure(&mut self) {
        let limited: Vec<WorkerId> =
            self.fakes.keys().copied().filter(|id| self.primary.limits_of(*id).is_some()).collect();
        let roll = self.dice.roll();
        let index = usize::try_from(roll).expect("64 bits") % limited.len().max(1);
        if let Some(worker) = limited.get(index) {
            let used = Used {
                memory: roll / 7 % 1200,
                growth: roll / 11 % 300,
                connections: (!roll.is_multiple_of(5)).then_some(roll / 13 % 120),
            };
            self.feed(Event::Worker { worker: *worker, cue: Cue::Used(used) });
        }
    }

    /// A worker is probed. Probes lie.
    fn probe(&mut self) {
        let workers = self.fakes.keys().copied();
        let all = |worker| self.primary.probes_of(worker).map(move |probe| (worker, probe));
        let asked: Vec<(WorkerId, ProbeKind)> = workers.flat_map(all).collect();
        let roll = self.dice.roll();
        let index = usize::try_from(roll).expect("64 bits") % asked.len().max(1);
        if let Some((worker, probe)) = asked.get(index).copied() {
            let result = match roll / 7 % 16 {
                0..9 => ProbeResult::Passed,
                9..15 => ProbeResult::Failed("it lies".to_owned()),
                _ => ProbeResult::Unknown("the probe was not made".to_owned()),
            };
            self.answer_probe(worker, probe, result);
        }
    }

    /// The load asks for another number of workers: it changes nothing while something else is
    /// going on, and never leads out of the bounds.
    fn load_asks(&mut self, to: u16) {
        const WHY: &str = "the dice said so";
        let before = self.primary.spec().clone();
        let settled = self.primary.is_settled();
        self.notices.clear();
        self.feed(Event::LoadAsks { to, because: WHY.to_owned() });
        if self.notices.iter().any(|notice| notice.message.ends_with(WHY)) {
            let Instances::Between { min, max } = before.instances else { panic!("no range") };
            assert!(settled, "it is scaled while something else is going on");
            let wanted = self.primary.spec().wanted;
            assert_eq!(wanted, to.clamp(min, max), "of {min} to {max}");
        }
    }

    fn connection(&mut self) {
        let index = usize::try_from(self.dice.roll()).expect("64 bits");
        let listeners: Vec<ListenerId> = self.listeners.keys().copied().collect();
        if let Some(listener) = listeners.get(index % listeners.len().max(1)) {
            self.connect(*listener);
        }
    }

    fn live(&mut self, steps: u64) {
        while self.steps < steps && self.exit.is_none() {
            match self.dice.roll() % 256 {
                0..4 if self.waiting_clients().len() < 8 => self.random_request(),
                4 => self.misfortune(),
                5..40 => self.connection(),
                40 => self.taken = vec!["127.0.0.1:8005".to_owned()],
                41..44 => self.taken.clear(),
                44 => self.tidy(),
                45..50 => self.measure(),
                50 => {
                    let cron = "@hourly".to_owned();
                    let planned = Some(Scheduled { cron, zone: None, next: Some(self.now.0) });
                    self.feed(Event::Schedule { planned, is_due: true });
                }
                51..61 => self.probe(),
                61 => self.feed(Event::FilesChanged { named: vec!["a.js".to_owned()], more: 0 }),
                62..64 => {
                    let to = u16::try_from(self.dice.roll() % 8).expect("small");
                    self.load_asks(to);
                }
                _ if self.tick() => {}
                _ => self.random_request(),
            }
        }
    }

    /// Ends the app, whatever it went through.
    fn end(&mut self) {
        if self.exit.is_none() {
            let (steps, client) = (self.steps, self.ask(Request::Delete { fast: false }));
            self.until("the end", |sim| sim.exit.is_some());
            assert!(self.clients[&client].answer.is_some(), "the client did not hear of the end");
            assert!(self.steps - steps < 20_000, "the end took {} steps", self.steps - steps);
        }
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    match from_env("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=u64::MAX,
    }
}

fn limit(default: u64) -> u64 {
    from_env("SIM_STEPS").unwrap_or(default)
}

fn random_lives(limit: u64) {
    let mut steps = 0;
    for seed in seeds() {
        let spec = random_spec(&mut Jitter::new(seed));
        let mut sim = Sim::new(spec, seed);
        sim.begin();
        sim.live(LIFE);
        sim.end();
        steps += sim.steps;
        if steps >= limit {
            break;
        }
    }
    eprintln!("{steps} random steps");
}

fn restored_lives(limit: u64) {
    let mut steps = 0;
    for seed in seeds() {
        let spec = random_spec(&mut Jitter::new(seed));
        let mut sim = Sim::new(spec, seed).doubled();
        sim.begin();
        sim.live(LIFE);
        sim.end();
        steps += sim.steps;
        if steps >= limit / 10 {
            break;
        }
    }
}

fn lives_with_deaths(limit: u64) {
    let (mut steps, mut deaths) = (0, 0);
    for seed in seeds() {
        let spec = random_spec(&mut Jitter::new(seed));
        let mut sim = Sim::new(spec, seed).mortal(4 + seed % 40);
        sim.begin();
        sim.live(LIFE / 4);
        while seed.is_multiple_of(4) && sim.exit.is_none() {
            let client = sim.ask(Request::Delete { fast: false });
            let open = |sim: &Sim| !sim.clients[&client].gone && sim.exit.is_none();
            while open(&sim) && sim.tick() {}
        }
        deaths += sim.mortal.take().map_or(0, |mortal| mortal.deaths);
        sim.check_calm();
        sim.end();
        steps += sim.steps;
        if steps >= limit / 5 {
            break;
        }
    }
    eprintln!("{deaths} deaths in {steps} steps");
}

#[test]
fn random_lives_keep_the_laws() {
    random_lives(limit(FEW));
}

#[test]
fn heavy_many_random_lives_keep_the_laws() {
    random_lives(limit(MANY));
}

#[test]
fn a_restored_core_does_what_the_original_does() {
    restored_lives(limit(FEW));
}

#[test]
fn heavy_a_restored_core_does_what_the_original_does() {
    restored_lives(limit(MANY));
}

#[test]
fn whenever_the_primary_dies_a_successor_goes_on() {
    lives_with_deaths(limit(FEW));
}

#[test]
fn heavy_whenever_the_primary_dies_a_successor_goes_on() {
    lives_with_deaths(limit(MANY));
}

#[test]
fn bad_code_is_always_rolled_back() {
    for seed in 1..=20 {
        for bad in BAD {
            let mut sim = Sim::begun(app("serve port=8000", 3), seed);
            let up = sim.ask(Request::WaitReady);
            assert!(matches!(sim.answer(up), Reply::Done { .. }));
            let before: Vec<_> = sim.primary.workers().collect();
            let reload = sim.ask(Request::Reload { spec: Some(Box::new(app(bad, 3))), pool: None });
            let reply = sim.answer(reload);
            let rolled_back = ipc::control::FailureKind::RolledBack;
            assert!(matches!(reply, Reply::Failed { kind, .. } if kind == rolled_back), "{bad}");
            assert_eq!(before, sim.primary.workers().collect::<Vec<_>>(), "{bad}");
            assert_eq!(sim.primary.ready_count(), 3, "{bad}");
            sim.end();
        }
    }
}

#[test]
fn a_thousand_reloads_need_no_more_sockets_than_the_first() {
    let mut sim = Sim::begun(app("serve port=8000", 2), 7);
    for _ in 0..1000 {
        let client = sim.ask(Request::Reload { spec: None, pool: None });
        assert!(matches!(sim.answer(client), Reply::Done { .. }));
    }
    assert_eq!(sim.primary.status(sim.now).listeners[0].sockets, 3);
}
