//! The operator's command line, and the agents' way in (`keepgate mcp`).
//!
//! A file for each command; [`args`] holds every option and help text, [`exit`] the exit codes, and
//! only [`print`] writes to the terminal.
#![forbid(unsafe_code)]

mod agent;
mod app;
pub mod args;
mod client;
mod connector;
mod doctor;
pub mod exit;
mod generate;
mod init;
mod jail;
mod layout;
mod log;
pub mod mcp;
mod mode;
mod policy;
pub mod print;
mod progress;
mod serve;
mod status;
mod undo;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use app::App;
use args::{Cli, Command, JailCommand};
pub use client::parse_answer;
pub use connector::reads_server_json;
use exit::Exit;
use print::Screen;

use crate::config::Paths;
use crate::error::Result;

const FIRST_STEPS: &str = "First steps:
  keepgate init                            configuration and starter policies
  keepgate doctor                          what this host lacks, and what mends it
  keepgate serve                           start every plane
  keepgate agent add mailbot --uid 1001    enrol an agent, print how to connect it
";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os().collect()).into()
}

/// The definition of the command line, with the exit codes below its help.
pub fn command() -> clap::Command {
    Cli::command().after_help(format!("{FIRST_STEPS}\n{}", exit::help()))
}

fn run(arguments: Vec<OsString>) -> Exit {
    // Wanted before the command line is understood, for the errors in it.
    // Behind `--` are the words of a program to be run.
    let ours: Vec<_> = arguments
        .iter()
        .take_while(|word| *word != "--")
        .cloned()
        .collect();
    let has = |flag: &str| ours.iter().any(|word| word == flag);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let screen = Screen::new(has("--json"), has("--no-color") || no_color);
    let colour = if screen.coloured() {
        clap::ColorChoice::Auto
    } else {
        clap::ColorChoice::Never
    };
    let matches = command().color(colour).try_get_matches_from(arguments);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // No mistake on its command line may look like the end of a program.
            let mistaken = match runs_a_program(&ours) {
                true => Exit::NoJail,
                false => Exit::Usage,
            };
            return usage::show(&screen, &error, mistaken);
        }
    };
    let Cli { global, command } = cli;
    let dir = global.dir.as_deref();
    let paths = if matches!(command, Command::Init(_)) {
        Paths::resolve_new(dir)
    } else if matches!(command, Command::Jail(_)) {
        // Jails need no install; where there is one, they keep away from it.
        Paths::resolve(dir).or_else(|_| Ok(Paths::system()))
    } else {
        Paths::resolve(dir)
    };
    match paths {
        Ok(paths) => {
            let app = App::new(global, paths, screen);
            carry_out(&app, command).unwrap_or_else(|error| app.screen.error(&error))
        }
        Err(error) => screen.error(&error),
    }
}

/// `jail run`, as far as that can be told of a command line with mistakes: options of every command
/// may stand before, between and behind the two words.
fn runs_a_program(words: &[OsString]) -> bool {
    let mut words = words.iter().skip(1);
    let mut command = std::iter::from_fn(|| {
        loop {
            let word = words.next()?;
            match word.to_str() {
                Some("--dir" | "--plane" | "--token-file") => drop(words.next()),
                Some(option) if option.starts_with('-') => {}
                _ => return Some(word),
            }
        }
    });
    command.next().is_some_and(|word| word == "jail")
        && command.next().is_some_and(|word| word == "run")
}

fn carry_out(app: &App, command: Command) -> Result<Exit> {
    match command {
        Command::Init(options) => init::run(app, &options),
        Command::Serve => serve::run(app),
        Command::Status => status::run(app),
        Command::Doctor => doctor::run(app),
        Command::Agent(command) => agent::run(app, command),
        Command::Mcp { agent } => {
            mcp::run(&app.paths, &app.plane()?, &agent)?;
            Ok(Exit::Ok)
        }
        Command::Log(command) => log::run(app, command),
        Command::Policy(command) => policy::run(app, command),
        Command::Mode { set } => mode::run(app, set),
        Command::Undo { seq, yes } => undo::run(app, seq, yes),
        Command::Connector(command) => connector::run(app, command),
        Command::Jail(JailCommand::Run(options)) => Ok(jail::run(app, &options)),
        Command::Jail(JailCommand::Check { profile }) => jail::check(app, &profile),
        Command::Jail(JailCommand::Explain { seq, from }) => jail::explain(app, from.log, seq),
        Command::Completions { shell } => generate::completions(&app.screen, shell),
        Command::Man { out } => generate::manual(&app.screen, out.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_run_wherever_the_other_options_stand() {
        let runs = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            runs_a_program(&words)
        };
        for line in [
            "keepgate jail run",
            "keepgate jail run --json --none",
            "keepgate --json jail --plane run run x",
            "keepgate --dir=jail --dir jail jail run",
        ] {
            assert!(runs(line), "{line}");
        }
        for line in [
            "keepgate",
            "keepgate jail check run",
            "keepgate --dir jail run",
        ] {
            assert!(!runs(line), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn no_command_hides_an_option_of_every_command() {
        fn visit(command: &clap::Command, global: &[String]) {
            for id in global {
                let same = |argument: &&clap::Arg| argument.get_id().as_str() == id;
                let found = command.get_arguments().find(same);
                let long = found
                    .and_then(clap::Arg::get_long)
                    .map(|long| long.replace('-', "_"));
                assert_eq!(long.as_ref(), Some(id), "{}", command.get_name());
            }
            let below = command.get_subcommands();
            below.for_each(|below| visit(below, global));
        }
        let mut command = command();
        command.build();
        let global = command
            .get_arguments()
            .filter(|argument| argument.is_global_set());
        let global: Vec<String> = global
            .map(|argument| argument.get_id().to_string())
            .collect();
        assert_eq!(global.len(), 5, "{global:?}");
        visit(&command, &global);
    }

    #[test]
    fn every_command_and_option_says_what_it_is() {
        fn visit(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(visit);
        }
        visit(&command());
    }
}
