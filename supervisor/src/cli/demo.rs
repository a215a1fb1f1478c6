//! `demo`: the built-in server as an app, one worker per core, and what to try on it.

use std::net::SocketAddr;

use config::spec::{Instances, Overrides};

use super::args::{AppOptions, DemoArgs};
use super::exit::{Exit, Failure};
use super::start::start_one;
use super::start_plan::{from_options, here};
use super::targets::{finish, show};
use super::{Session, launch};

pub(super) fn run(args: &DemoArgs, session: &mut Session) -> Result<Exit, Failure> {
    let program = launch::own_program()?;
    let program = program
        .to_str()
        .ok_or_else(|| Failure::failed("the path of the supervisor's program is not UTF-8"))?;
    let (host, port) = (args.host.to_string(), args.port.to_string());
    let command = [program, "demo-server", "--port", &port, "--host", &host];
    let instances = args.instances.unwrap_or(Instances::Max).to_string();
    let overrides = Overrides::of(&[("name", &args.name), ("instances", &instances)]);
    let options = AppOptions { overrides: overrides.map_err(Failure::usage)? };
    let command = command.map(str::to_owned).to_vec();
    let spec = from_options(&options, command, &[], &here()?)?;
    let result = start_one(session, &spec, &args.waiting);
    let is_up = result.is_ok();
    if !args.waiting.json {
        show(session, &args.name, &result);
        if is_up {
            let text = what_next(&args.name, SocketAddr::new(args.host, args.port));
            session.out.bytes(text.as_bytes());
        }
    }
    finish(session, args.waiting.json, &[(args.name.clone(), result)])
}

fn what_next(name: &str, address: SocketAddr) -> String {
    format!(
        "\nIt answers on http://{address}/ . Try:\n\
         \x20 curl http://{address}/        several times: another worker each time\n\
         \x20 supervisor list               what runs, and how\n\
         \x20 kill -9 PID                   of a worker: it is replaced, nothing else happens\n\
         \x20 supervisor reload {name}        new workers, no connection lost\n\
         \x20 supervisor scale {name} 4       more of them\n\
         \x20 supervisor logs {name}          what they wrote\n\
         \x20 supervisor delete {name}        the end\n"
    )
}
