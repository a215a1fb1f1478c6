//! What pages of the dashboard cost: the process that serves them, the primaries of the apps that
//! they show, and the requests of these apps' clients. Each page is a client that reads the stream
//! of events as a browser does, and follows the log of an app.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tests::run::Running;
use tests::wait::let_pass;
use tests::{Home, Port, http, process, wait_until};

use crate::stats::Samples;

const APPS: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);
/// Between two requests of the client, which goes from app to app: about five a second for each,
/// so that every look finds something new.
const PAUSE: Duration = Duration::from_millis(10);
/// How long pages may take until they have what came before they were opened.
const SETTLE: Duration = Duration::from_secs(3);
/// Clock ticks of a second (`sysconf(_SC_CLK_TCK)`, on every Linux).
const TICKS: f64 = 100.0;

/// What is printed for each number of pages.
const FIGURES: [&str; 6] = [
    "CPU of dash, % of a core",
    "RSS of dash, MiB",
    "KiB/s that a page gets",
    "CPU of all primaries, % of a core",
    "answer of a primary, ms",
    "answer of a worker, ms",
];

/// Measures without a dashboard, and with a dashboard that has no page open, one page, and `pages`
/// pages.
pub(crate) fn pages(binary: &str, pages: usize, rounds: usize, span: Duration) {
    let home = Home::new(binary);
    let ports: Vec<Port> = (0..APPS).map(|_| Port::new()).collect();
    for (at, port) in ports.iter().enumerate() {
        let command = [binary, "demo-server", "--port", &port.to_string()];
        home.start(&format!("app{at}"), &["-i", "2"], &command).ok();
    }
    let primaries: Vec<u32> =
        (0..APPS).map(|at| home.app(&format!("app{at}")).primary_pid).collect();
    let counts = [None, Some(0), Some(1), Some(pages)];
    let mut measured: Vec<[Samples; 6]> = counts.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (count, samples) in counts.iter().zip(&mut measured) {
            let dash = count.map(|count| Dash::with(&home, count));
            let figures = round(&home, dash.as_ref(), &primaries, &ports, span);
            samples.iter_mut().zip(figures).for_each(|(sample, figure)| sample.push(figure));
            dash.into_iter().for_each(Dash::end);
        }
    }
    println!("\n{APPS} apps of two workers, {rounds} rounds of {span:.0?}");
    for (index, figure) in FIGURES.iter().enumerate() {
        for (count, samples) in counts.iter().zip(&measured) {
            let pages = match count {
                None if index < 3 => continue,
                None => "no dash".to_owned(),
                Some(1) => "1 page".to_owned(),
                Some(count) => format!("{count} pages"),
            };
            println!("  {figure:<34} {pages:<9} {}", samples[index]);
        }
    }
}

fn round(
    home: &Home,
    dash: Option<&Dash>,
    primaries: &[u32],
    ports: &[Port],
    span: Duration,
) -> [f64; 6] {
    let used = || primaries.iter().map(|pid| process::ticks(*pid)).sum::<u64>();
    let of_dash = || dash.map_or(0, |dash| process::ticks(dash.running.pid()));
    let read = || dash.map_or(0, |dash| dash.read.load(Ordering::Relaxed));
    let (primaries_before, dash_before, read_before) = (used(), of_dash(), read());
    let (mut statuses, mut answers) = (Samples::default(), Samples::default());
    let begun = Instant::now();
    for port in ports.iter().cycle().take_while(|_| begun.elapsed() < span) {
        let at = Instant::now();
        http::get(port.v4(), LIMIT).expect("an answer");
        answers.push(at.elapsed().as_secs_f64() * 1000.0);
        let at = Instant::now();
        home.app("app0");
        statuses.push(at.elapsed().as_secs_f64() * 1000.0);
        let_pass(PAUSE);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let share = |ticks: u64| ticks as f64 * 100.0 / TICKS / seconds;
    let pages = dash.map_or(1, |dash| dash.pages.len().max(1)) as f64;
    [
        share(of_dash() - dash_before),
        dash.map_or(0.0, |dash| process::rss_kib(dash.running.pid()) as f64 / 1024.0),
        (read() - read_before) as f64 / 1024.0 / seconds / pages,
        share(used() - primaries_before),
        statuses.median(),
        answers.median(),
    ]
}

/// A dashboard with pages that are open.
struct Dash {
    running: Running,
    pages: Vec<JoinHandle<()>>,
    /// Bytes that all pages have read.
    read: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    _port: Port,
}

impl Dash {
    fn with(home: &Home, count: usize) -> Self {
        let port = Port::new();
        let running = home.spawn(&["dash", "--listen", &port.to_string()]);
        let token = wait_until("its address", LIMIT, || {
            let line = running.stdout();
            line.trim().split_once("?token=").map(|(_, token)| token.to_owned())
        });
        let (read, ends) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let open = |at: usize| {
            let mut stream = TcpStream::connect(port.v4()).expect("it listens");
            let app = at % APPS;
            let head = format!("Host: {}\r\nAuthorization: Bearer {token}", port.v4());
            write!(stream, "GET /events?app=app{app} HTTP/1.1\r\n{head}\r\n\r\n").expect("write");
            stream.set_read_timeout(Some(LIMIT)).expect("set a timeout");
            let (read, ends) = (Arc::clone(&read), Arc::clone(&ends));
            thread::spawn(move || {
                let mut bytes = [0; 64 * 1024];
                while !ends.load(Ordering::Relaxed) {
                    match stream.read(&mut bytes).expect("it goes on") {
                        0 if ends.load(Ordering::Relaxed) => return,
                        0 => panic!("the stream of a page ended"),
                        count => read.fetch_add(count as u64, Ordering::Relaxed),
                    };
                }
            })
        };
        let pages = (0..count).map(open).collect();
        let_pass(SETTLE);
        Self { running, pages, read, ends, _port: port }
    }

    fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        process::kill(self.running.pid(), Signal::SIGTERM);
        self.running.end(LIMIT).ok();
        self.pages.into_iter().for_each(|page| page.join().expect("a page that read to its end"));
    }
}
