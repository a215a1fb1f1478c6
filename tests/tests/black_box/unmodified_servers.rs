//! `start -i 2 -- COMMAND` of nine unmodified servers: two processes answer on one port, as root
//! and as an ordinary user.

use ipc::control::Status;
use tests::fixtures::Kind;
use tests::{Home, Load, Port};

fn two_processes_on_one_port(kind: Kind, home: &Home) {
    let port = Port::new();
    let Some(command) = kind.command(home, port.number()) else { return };
    let mut args = vec!["start", "-i", "2", "--"];
    args.extend(command.iter().map(String::as_str));
    home.run(&args).ok();

    let [app] = home.list().try_into().expect("one app");
    assert_eq!((app.status, app.wanted, app.ready), (Status::Ready, 2, 2), "{app:#?}");
    let address = format!(":{port}");
    assert!(app.listeners.iter().any(|l| l.address.ends_with(&address)), "{app:#?}");
    let contract = if matches!(kind, Kind::Node) { "node" } else { "intercept" };
    assert!(
        app.workers.iter().all(|w| w.contract.iter().any(|c| c.word() == contract)),
        "{app:#?}"
    );

    let mut load = Load::new(port.v4());
    load.clients = 8;
    load.requests = 400;
    let tally = load.run().nothing_lost(&format!("start -i 2 of {kind:?}"));
    assert_eq!(tally.by_pid.len(), 2, "answers from two processes: {tally}");

    home.run(&["delete", &app.name]).ok();
    home.nothing_left();
}

macro_rules! servers {
    ($($name:ident: $kind:ident,)*) => {
        mod as_myself {
            $(#[test]
            fn $name() {
                super::two_processes_on_one_port(super::Kind::$kind, &tests::home!());
            })*
        }

        mod as_nobody {
            $(#[test]
            fn $name() {
                let Some(home) = tests::home_of_nobody!() else { return };
                super::two_processes_on_one_port(super::Kind::$kind, &home);
            })*
        }
    };
}

servers! {
    go: Go,
    node: Node,
    npm_start: Npm,
    python: Python,
    ruby: Ruby,
    php: Php,
    java: Java,
    nginx: Nginx,
    rust: Rust,
}
