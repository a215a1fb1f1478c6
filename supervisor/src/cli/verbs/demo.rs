//! `demo`: starts the built-in server with one worker per CPU, and prints what to try next.

use std::net::{IpAddr, SocketAddr};

use config::spec::{Instances, Overrides};

use crate::cli::args::{AppOptions, WaitOptions, values};
use crate::cli::exit::{Exit, Failure};
use crate::cli::launch::{own_program, start_app};
use crate::cli::session::Session;
use crate::cli::specs::{from_options, working_dir};
use crate::cli::targets::Results;

/// Run a small built-in server on all cores, to try the supervisor with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port to listen on.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8080,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// How many workers. Default: max.
    #[arg(
        short,
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = values::instances
    )]
    pub(crate) instances: Option<Instances>,
    /// The app's name.
    #[arg(short, long, value_name = "NAME", default_value = "demo")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, session: &mut Session) -> Result<Exit, Failure> {
    let program = own_program()?;
    let program = program
        .to_str()
        .ok_or_else(|| Failure::failed("the path of the supervisor's program is not UTF-8"))?;
    let (host, port) = (args.host.to_string(), args.port.to_string());
    let command = [program, "demo-server", "--port", &port, "--host", &host];
    let instances = args.instances.unwrap_or(Instances::Max).to_string();
    let overrides = Overrides::of(&[("name", &args.name), ("instances", &instances)]);
    let options = AppOptions { overrides: overrides.map_err(Failure::usage)?, named_env: None };
    let command = command.map(str::to_owned).to_vec();
    let spec = from_options(&options, command, &[], &working_dir()?)?;
    let result = start_app(&session.home, &spec, None, &args.wait);
    let is_ready = result.is_ok();
    let mut results = Results::new(args.wait.json);
    results.take(session, &args.name, result);
    if is_ready && !args.wait.json {
        let text = suggestions(&args.name, SocketAddr::new(args.host, args.port));
        session.out.bytes(text.as_bytes());
    }
    results.finish(session)
}

/// What to try on the demo.
fn suggestions(name: &str, address: SocketAddr) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::parse;

    #[test]
    fn it_needs_a_port_that_clients_can_know() {
        assert_eq!(parse::<Args>(&[]).unwrap().port, 8080);
        assert!(parse::<Args>(&["--port", "0"]).is_err());
    }
}
