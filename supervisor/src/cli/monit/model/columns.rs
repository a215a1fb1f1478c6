//! The columns of both tables, and where they stand in a given width.

use super::sort::Key;

/// A column of the table of apps or of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// The name of an app, with the marks of selection and state before it.
    Name,
    /// The slot of a worker, with the same marks.
    Slot,
    Pool,
    Pid,
    State,
    Ready,
    Generation,
    Cpu,
    CpuGraph,
    Memory,
    MemoryGraph,
    Connections,
    Accepted,
    AcceptedGraph,
    Backlog,
    Restarts,
    Uptime,
    Addresses,
    Reason,
}

/// A column with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) column: Column,
    /// From the left edge of the table.
    pub(crate) x: u16,
    pub(crate) width: u16,
}

/// Columns that are wide enough for graphs, and for addresses.
const WITH_GRAPHS: u16 = 140;
const WITH_ADDRESSES: u16 = 160;

/// Characters before a name or a slot: the marks.
pub(crate) const MARKS: u16 = 3;

/// The narrowest useful column of reasons.
const MIN_REASON: u16 = 8;

impl Column {
    /// The title of the column.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Name => "   APP",
            Self::Slot => "   SLOT",
            Self::Pool => "POOL",
            Self::Pid => "PID",
            Self::State => "STATE",
            Self::Ready => "READY",
            Self::Generation => "GEN",
            Self::Cpu => "CPU",
            Self::Memory => "MEM",
            Self::CpuGraph | Self::MemoryGraph | Self::AcceptedGraph => "",
            Self::Connections => "CONN",
            Self::Accepted => "ACC/S",
            Self::Backlog => "QUEUE",
            Self::Restarts => "RST",
            Self::Uptime => "UP",
            Self::Addresses => "LISTENS",
            Self::Reason => "REASON",
        }
    }

    /// Whether its cells stand at the right edge, as numbers do.
    pub(crate) fn is_right(self) -> bool {
        match self {
            Self::Ready
            | Self::Pid
            | Self::Generation
            | Self::Cpu
            | Self::Memory
            | Self::Connections
            | Self::Accepted
            | Self::Backlog
            | Self::Restarts
            | Self::Uptime => true,
            Self::Name
            | Self::Slot
            | Self::Pool
            | Self::State
            | Self::CpuGraph
            | Self::MemoryGraph
            | Self::AcceptedGraph
            | Self::Addresses
            | Self::Reason => false,
        }
    }

    /// The order that a click on the title chooses.
    pub(crate) fn sort(self) -> Option<Key> {
        Some(match self {
            Self::Name | Self::Slot => Key::Name,
            Self::State => Key::Trouble,
            Self::Cpu | Self::CpuGraph => Key::Cpu,
            Self::Memory | Self::MemoryGraph => Key::Memory,
            Self::Connections => Key::Connections,
            Self::Accepted | Self::AcceptedGraph => Key::Accepted,
            Self::Backlog => Key::Backlog,
            Self::Restarts => Key::Restarts,
            Self::Uptime => Key::Uptime,
            Self::Pool
            | Self::Pid
            | Self::Ready
            | Self::Generation
            | Self::Addresses
            | Self::Reason => return None,
        })
    }

    fn width(self) -> u16 {
        match self {
            Self::Name => 15,
            Self::Slot => 3 + MARKS + 1,
            Self::Pool => 8,
            Self::Pid => 7,
            Self::State => 9,
            Self::Generation => 4,
            Self::Restarts => 4,
            Self::Ready | Self::Cpu | Self::Connections | Self::Accepted | Self::Backlog => 5,
            Self::Memory | Self::Uptime => 6,
            Self::CpuGraph | Self::MemoryGraph | Self::AcceptedGraph => 12,
            Self::Addresses => 22,
            Self::Reason => MIN_REASON,
        }
    }
}

/// The columns of the table of apps. `names` is the width of the longest name.
pub(crate) fn of_apps(width: u16, names: u16) -> Vec<Placed> {
    use Column::*;
    let mut columns = vec![Name, State, Ready, Generation, Cpu, CpuGraph, Memory, MemoryGraph];
    columns.extend([Connections, Accepted, AcceptedGraph, Backlog, Restarts, Uptime]);
    columns.extend([Addresses, Reason]);
    if width < WITH_GRAPHS {
        columns.retain(|c| !matches!(c, CpuGraph | MemoryGraph | AcceptedGraph));
    }
    if width < WITH_ADDRESSES {
        columns.retain(|c| *c != Addresses);
    }
    place(columns, width, (Name, (names + MARKS).clamp(15, 32)))
}

/// The columns of the table of workers; `pools`: with the pool of each.
pub(crate) fn of_workers(width: u16, pools: bool) -> Vec<Placed> {
    use Column::*;
    let mut columns = vec![Slot, Pool, Pid, State, Generation, Cpu, Memory, Connections];
    columns.extend([Accepted, Backlog, Restarts, Uptime, Reason]);
    columns.retain(|c| pools || *c != Pool);
    place(columns, width, (Slot, Slot.width()))
}

/// Places the columns with one space between them. Where they do not fit, the less important ones
/// go. What is left over goes to `grows` up to its limit, and then to the reasons.
fn place(mut columns: Vec<Column>, width: u16, grows: (Column, u16)) -> Vec<Placed> {
    use Column::*;
    let sum = |columns: &[Column]| columns.iter().map(|c| c.width() + 1).sum::<u16>();
    for less_important in [
        Reason,
        Generation,
        Uptime,
        Restarts,
        Pid,
        Pool,
        Accepted,
        Backlog,
        Memory,
        Cpu,
        Connections,
    ] {
        if sum(&columns) > width + 1 {
            columns.retain(|column| *column != less_important);
        }
    }
    let mut left = (width + 1).saturating_sub(sum(&columns));
    let mut x = 0;
    let mut placed = Vec::new();
    for column in columns {
        let more = match column {
            _ if column == grows.0 => left.min(grows.1.saturating_sub(column.width())),
            Reason => left,
            _ => 0,
        };
        left -= more;
        placed.push(Placed { column, x, width: column.width() + more });
        x += column.width() + more + 1;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_into_every_width() {
        for width in 50..260 {
            for columns in [of_apps(width, 20), of_workers(width, true), of_workers(width, false)] {
                let last = columns.last().unwrap();
                assert!(last.x + last.width <= width, "{width}: {columns:?}");
                assert!(columns.windows(2).all(|two| two[0].x + two[0].width < two[1].x));
            }
        }
    }

    #[test]
    fn numbers_are_kept_at_eighty_columns() {
        let has = |columns: &[Placed], column| columns.iter().any(|p| p.column == column);
        let (apps, workers) = (of_apps(80, 8), of_workers(80, false));
        for column in [Column::Cpu, Column::Memory, Column::Backlog, Column::Restarts] {
            assert!(has(&apps, column) && has(&workers, column), "{column:?}");
        }
        assert!(!has(&apps, Column::CpuGraph) && has(&of_apps(200, 8), Column::CpuGraph));
    }
}
