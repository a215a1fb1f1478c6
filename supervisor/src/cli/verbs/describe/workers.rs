//! The workers of an app: a table, and below it what is to be said about single ones.

use ipc::control::{AppStatus, Contract, WorkerStatus};

use crate::cli::output::table;
use crate::cli::sheet::{Row, Section, table_width};

/// The columns that a narrow terminal gets in a second table.
const HISTORY: [&str; 3] = ["contract", "restarts", "last exit"];

type Column = (&'static str, Vec<String>);

/// The section.
pub(super) fn section(app: &AppStatus, width: Option<u16>) -> Section {
    let mut rows: Vec<Row> = Vec::new();
    if !app.workers.is_empty() {
        let tables = tables(&app.workers, app.pools.len() > 1, table_width(width));
        rows.extend(tables.into_iter().map(Row::Table));
    }
    rows.extend(app.workers.iter().flat_map(remarks));
    Section { heading: "workers".to_owned(), rows }
}

/// Why a worker is in its state, whether it leads, where it listens by itself, and what it says.
fn remarks(worker: &WorkerStatus) -> Vec<Row> {
    let status_text = worker.status_text.as_ref().map(|text| format!("says: {text}"));
    let own = (!worker.own_listeners.is_empty()).then(|| {
        let addresses = worker.own_listeners.join(", ");
        format!("listens on {addresses} with a socket of its own")
    });
    let leads = worker.leader.then(|| "holds the lease of the leader".to_owned());
    let lines = worker.reason.clone().into_iter().chain(leads).chain(own).chain(status_text);
    lines.map(|line| Row::Line(format!("slot {}: {line}", worker.slot))).collect()
}

/// One table, or two where the terminal is too narrow for one. A terminal gets no column that has
/// nothing to say.
fn tables(workers: &[WorkerStatus], pools: bool, width: Option<u16>) -> Vec<String> {
    let mut columns = columns(workers, pools);
    let Some(width) = width else { return vec![drawn(&columns, None)] };
    columns.retain(|(name, cells)| {
        let nothing = if *name == "restarts" { "0" } else { "-" };
        *name == "slot" || cells.iter().any(|cell| cell != nothing)
    });
    let one = drawn(&columns, None);
    if one.lines().all(|line| line.chars().count() <= usize::from(width)) {
        return vec![one];
    }
    let (mut history, present): (Vec<Column>, Vec<Column>) =
        columns.into_iter().partition(|(name, _)| HISTORY.contains(name));
    let mut tables = vec![drawn(&present, Some(width))];
    if !history.is_empty() {
        history.splice(..0, present.into_iter().filter(|(name, _)| *name == "slot"));
        tables.push(drawn(&history, Some(width)));
    }
    tables
}

fn drawn(columns: &[Column], width: Option<u16>) -> String {
    let header: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let height = columns.first().map_or(0, |(_, cells)| cells.len());
    let row = |at: usize| columns.iter().map(|(_, cells)| cells[at].clone()).collect();
    table::table(&header, (0..height).map(row).collect(), width)
}

/// Every column, with a cell for each worker.
fn columns(workers: &[WorkerStatus], pools: bool) -> Vec<Column> {
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let column = |name: &'static str, cell: &dyn Fn(&WorkerStatus) -> String| -> Column {
        (name, workers.iter().map(cell).collect())
    };
    let mut columns = vec![
        column("slot", &|w| w.slot.to_string()),
        column("pid", &|w| number(w.pid.map(u64::from))),
        column("gen", &|w| w.generation.to_string()),
        column("state", &|w| w.state.to_string()),
        column("contract", &|w| table::or_dash(contract_words(&w.contract))),
        column("restarts", &|w| w.restarts.to_string()),
        column("uptime", &|w| w.uptime_ms.map_or_else(|| "-".to_owned(), table::uptime)),
        column("cpu", &|w| table::percent(w.cpu_percent.map(f64::from))),
        column("mem", &|w| table::bytes(w.rss_bytes.map(|rss| rss as f64))),
        column("conns", &|w| number(w.connections.map(u64::from))),
        column("accepted", &|w| number(w.accepted)),
        column("backlog", &|w| number(w.backlog.map(u64::from))),
        column("last exit", &|w| table::or_dash(w.last_exit.clone().unwrap_or_default())),
    ];
    if pools {
        let pool = column("pool", &|w| table::or_dash(w.pool.clone().unwrap_or_default()));
        columns.insert(1, pool);
    }
    columns
}

/// `intercept+notify`
fn contract_words(contracts: &[Contract]) -> String {
    contracts.iter().map(|contract| contract.word()).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use ipc::control::Status;

    use super::*;
    use crate::cli::targets::fake_primary as fake;

    #[test]
    fn workers_in_columns() {
        let mut app = fake::status("web", Status::Ready);
        app.workers.push(WorkerStatus { slot: 1, ..app.workers[0].clone() });
        let [text] = tables(&app.workers, false, None).try_into().unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().starts_with("0     5"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_gets_two_tables() {
        let mut app = fake::status("web", Status::Ready);
        let worker = &mut app.workers[0];
        worker.contract = vec![Contract::Intercept, Contract::Notify];
        (worker.restarts, worker.last_exit) = (3, Some("signal SIGKILL".to_owned()));
        (worker.uptime_ms, worker.rss_bytes) = (Some(11_532_000), Some(3 << 20));
        (worker.connections, worker.cpu_percent) = (Some(4), Some(1.0));
        let header = |text: &String| text.lines().next().unwrap().trim_end().to_owned();
        let headers: Vec<_> = tables(&app.workers, false, Some(78)).iter().map(header).collect();
        assert_eq!(headers.len(), 2, "{headers:?}");
        // This status has neither an accepted count nor a backlog.
        assert!(!headers[0].contains("accepted") && headers[0].contains("mem"), "{headers:?}");
        assert_eq!(headers[1], "slot  contract          restarts  last exit");
        assert_eq!(tables(&app.workers, false, Some(150)).len(), 1);
    }
}
