//! The command line: every command, option and help text.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::call::id::Id;
use crate::config::is_name;
use crate::wire::admin::Mode;

/// A gate between AI agents and everything they can touch: it decides, jails, records and can undo
/// every tool call.
#[derive(Debug, Parser)]
#[command(
    name = "keepgate",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    bin_name = "keepgate"
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Directory of the install [env: KEEPGATE_DIR] [default: /etc/keepgate, or
    /// ~/.local/share/keepgate]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Which plane [default: production, or the first one]
    #[arg(long, global = true, value_name = "NAME", value_parser = name)]
    pub plane: Option<String>,
    /// One JSON object (or one a line) in place of text; errors too, on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub no_color: bool,
    /// The operator's token, where all roles share one user [default: DIR/operator.token]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new install: configuration, starter policies, operator's token
    ///
    /// Writes nothing over. A new install rehearses: tools read, but change nothing until `keepgate
    /// mode live`.
    #[command(after_help = "Examples:\n  \
        keepgate init                        the system's install as root, else your own\n  \
        keepgate --dir ./gate init --demo    everything below one directory, with sample roots")]
    Init(InitArgs),
    /// Serve every plane until SIGTERM
    ///
    /// Starts and watches the roles of every plane. As root, each has a uid of its own; otherwise
    /// all share yours, and `keepgate status` says so. Diagnostics go to the journal, or to
    /// standard error where there is none.
    Serve,
    /// Show the state of every plane on one screen
    ///
    /// Ends with 3 where a part does not run or protection is missing that `accept` in the
    /// configuration does not name.
    Status,
    /// Check the host and the install: what is wrong, why it matters, what mends it
    ///
    /// Changes nothing. Ends with 1 where a check fails, with 3 where one warns.
    Doctor,
    /// Enrol agents, list them, remove them
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Speak MCP on standard input and output as an enrolled agent
    ///
    /// This is what an MCP client starts. `--agent` only selects the socket; the kernel and the
    /// gate decide by uid who may use it.
    #[command(after_help = "Example:\n  \
        claude mcp add keepgate -- keepgate mcp --agent mailbot")]
    Mcp {
        /// Name of the agent
        #[arg(long, value_name = "NAME", value_parser = name)]
        agent: String,
    },
    /// Read, verify and maintain the log
    #[command(subcommand)]
    Log(LogCommand),
    /// Put policies in force, check them, explain decisions
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show or set the mode: rehearse changes nothing, live does
    ///
    /// Without a word it shows the mode. Each change is an entry of the log.
    #[command(after_help = "Examples:\n  \
        keepgate mode                       show it\n  \
        keepgate --plane public mode live   let the agents of `public` change things")]
    Mode {
        /// The mode wanted
        #[arg(value_parser = mode, value_name = "live|rehearse")]
        set: Option<Mode>,
    },
    /// Take back what a live call changed
    ///
    /// Shows first what would change, then asks. Refused where the world has changed since. The
    /// undo is a call of its own in the log, and can be undone in turn. Ends with 12 where it was
    /// only shown.
    #[command(after_help = "Examples:\n  \
        keepgate log query --tool file.write --kind call.intent    find the number\n  \
        keepgate undo 8812                                         show, then ask\n  \
        keepgate undo 8812 --yes                                   do it")]
    Undo {
        /// Number of the call's intent in the log
        seq: u64,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Import, vet and approve connectors: pinned packages of tools that are not Keepgate's own
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// Run a program in a jail, check manifests, explain what a jail refused
    #[command(subcommand)]
    Jail(JailCommand),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  \
        keepgate completions bash > /etc/bash_completion.d/keepgate")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    #[command(after_help = "Examples:\n  \
        keepgate man | man -l -\n  \
        keepgate man --out /usr/local/share/man/man1")]
    Man {
        /// Write all pages into this directory
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Make a demonstration, marked as one for ever, with the sample roots `mail` and `out`
    #[arg(long)]
    pub demo: bool,
    /// Name of the install: a part of its logs' names [default: keepgate]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only print the configuration file, every setting explained
    #[arg(long)]
    pub print: bool,
}

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Enrol an agent and print how to connect it
    ///
    /// An agent is the user it runs as: only that uid can use its socket. Root, the operator and
    /// Keepgate's own users cannot be agents. Enrolling again changes the list of tools.
    ///
    /// Where the plane has a listener for HTTP, an agent can also be whoever has a token, or the key
    /// of a certificate. The token is shown once; Keepgate keeps only its SHA-256. Enrolling again
    /// replaces token or certificate.
    #[command(after_help = "Examples:\n  \
        keepgate agent add mailbot --uid 1001\n  \
        keepgate agent add reader --uid 1002 --tools 'file.read' 'file.list'\n  \
        keepgate agent add local --token\n  \
        keepgate agent add remote --cert remote.pem")]
    Add {
        /// Its name: a-z, 0-9 and `-`, at most 32
        #[arg(value_parser = name)]
        name: String,
        /// The uid it runs as [default: yours, where Keepgate runs as you]
        #[arg(long, value_name = "N")]
        uid: Option<u32>,
        /// It shows a new token over HTTP, on this host
        #[arg(long, conflicts_with_all = ["uid", "cert"])]
        token: bool,
        /// It shows this certificate (PEM) over TLS
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "uid")]
        cert: Option<PathBuf>,
        /// Tools it may see, by name or glob (`file.*`) [default: all]
        #[arg(long, value_name = "GLOB", num_args = 1.., value_delimiter = ',')]
        tools: Vec<String>,
    },
    /// List the enrolled agents
    List,
    /// Pin what an agent on this host is made of, and the models it asks
    ///
    /// Measures every file below the paths that `[planes.PLANE.agents.NAME.runtime]` names, and records
    /// their digests. From then on the agent calls tools only while each of them is the same; what has
    /// changed in between holds it up until it is pinned again.
    Pin {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// Who has looked at it
        #[arg(long, value_name = "NAME")]
        by: String,
    },
    /// Show what of an agent differs from what was pinned
    Diff {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
    },
    /// Remove an agent; its connections end now
    Revoke {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
    },
}

/// What can be done with connectors.
#[derive(Debug, Subcommand)]
pub enum ConnectorCommand {
    /// Write the manifest of a connector, and install its package
    ///
    /// Nothing of it runs for agents before it is vetted and approved. Packages are installed below
    /// the install's state, without running any script of theirs. What the server lists is declared
    /// for the worst: edit the manifest where you know better.
    #[command(after_help = "Examples:\n  \
        keepgate connector import git pypi:mcp-server-git@2026.10.19 --rw /srv/site -- --repository /srv/site\n  \
        keepgate connector import files ./server.json --rw /srv/work -- /srv/work\n  \
        keepgate connector import own -- /usr/bin/python3 /srv/mcp/server.py\n  \
        keepgate connector import pdf /srv/skills/pdf\n  \
        keepgate connector import mail https://mcp.example.net/mcp --header x-api-key\n  \
        keepgate connector import mail 'https://backend.composio.dev/v3/mcp/SERVER_ID?user_id=USER' --toolkit gmail")]
    Import(ConnectorImportArgs),
    /// Run a connector's server in a jail without network and keys, and look at all it is
    ///
    /// Ends with 10 where a finding is high, which keeps it from being approved unless that finding
    /// is accepted by name; with 3 where one is medium; else with 0.
    Vet {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
    },
    /// Say yes to a connector as it was vetted; what differs from it later does not run
    #[command(after_help = "Examples:\n  \
        keepgate connector approve git --by alice\n  \
        keepgate connector approve git --by alice --accept imperative-text@git_add")]
    Approve {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// Who says so
        #[arg(long, value_name = "WHO")]
        by: String,
        /// A high finding that is accepted, by its id; several are separated by commas
        #[arg(long, value_name = "FINDING", num_args = 1.., value_delimiter = ',')]
        accept: Vec<String>,
    },
    /// Show what differs from what was approved
    ///
    /// Measures files and manifest again, and asks the server in a jail. Ends with 20 where
    /// anything differs.
    Diff {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
    },
    /// List the connectors
    List {
        /// The document of what is trusted: Markdown, or JSON with `--json`
        #[arg(long)]
        report: bool,
    },
    /// Show one connector, its tools and findings
    Show {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
    },
    /// Write a vetted connector into one signed file: manifest, report, every file it executes
    #[command(after_help = "Example:\n  \
        openssl genpkey -algorithm ed25519 -out bundles.key\n  \
        keepgate connector export git git.bundle --sign bundles.key")]
    Export {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// The file to be written
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Private key (PEM, PKCS#8) of Ed25519 or P-256
        #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
        sign: PathBuf,
    },
    /// Import such a file, without a network
    ///
    /// Everything in it is verified before anything is written. It still has to be approved here.
    #[command(after_help = "Example:\n  \
        openssl pkey -in bundles.key -pubout -out bundles.pub\n  \
        keepgate connector import-bundle git.bundle --trust bundles.pub")]
    ImportBundle {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Public key (PEM) of whoever wrote it
        #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
        trust: PathBuf,
        /// Write over a connector of the same name
        #[arg(long)]
        replace: bool,
    },
    /// Remove a connector: its approval, manifest and packages
    Remove {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Options of `connector import`.
#[derive(Debug, Args)]
pub struct ConnectorImportArgs {
    /// Its name here: a-z, 0-9 and `-`, at most 32; first part of its tools' names
    #[arg(value_parser = name)]
    pub name: String,
    /// A `server.json` file, a skill's folder, `npm:NAME@VERSION`, `pypi:NAME@VERSION`, or the URL
    /// of a remote server; nothing where a command follows `--`
    #[arg(value_name = "SOURCE")]
    pub source: Option<String>,
    /// The command of the server, or more arguments for the one that SOURCE names
    #[arg(last = true, value_name = "WORD")]
    pub words: Vec<String>,
    /// Directories and files the server sees, read-only, beyond those it needs to start
    #[arg(long, value_name = "PATH", num_args = 1, value_hint = ValueHint::AnyPath)]
    pub ro: Vec<PathBuf>,
    /// Directories the server may change
    #[arg(long, value_name = "DIR", num_args = 1, value_hint = ValueHint::DirPath)]
    pub rw: Vec<PathBuf>,
    /// Hosts the server may reach
    #[arg(long, value_name = "HOST:PORT", num_args = 1)]
    pub net: Vec<String>,
    /// A variable of its environment; never a key
    #[arg(long, value_name = "NAME=VALUE", num_args = 1)]
    pub env: Vec<String>,
    /// Files and directories to be pinned, beyond those that are found in the command
    #[arg(long, value_name = "PATH", num_args = 1, value_hint = ValueHint::AnyPath)]
    pub pin: Vec<PathBuf>,
    /// A header of a remote server that takes a key
    #[arg(long, value_name = "NAME", num_args = 1)]
    pub header: Vec<String>,
    /// Networks (CIDR) a remote server may be in although they are private
    #[arg(long, value_name = "NETWORK", num_args = 1)]
    pub private: Vec<String>,
    /// A toolkit that a server of Composio was made for, such as `gmail`; all its tools belong to
    /// these
    #[arg(long, value_name = "TOOLKIT", num_args = 1)]
    pub toolkit: Vec<String>,
    /// Write over a manifest and packages that are there
    #[arg(long)]
    pub replace: bool,
}

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show the newest entries
    #[command(after_help = "Examples:\n  keepgate log tail -f\n  keepgate log tail -n 3 --json")]
    Tail {
        /// Go on as entries are written
        #[arg(short, long)]
        follow: bool,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N",
              value_parser = clap::value_parser!(u32).range(0..=1000))]
        lines: u32,
        /// Where the log is.
        #[command(flatten)]
        from: From,
    },
    /// Show one entry and what was kept beside it
    #[command(after_help = "Examples:\n  \
        keepgate log show 8812\n  \
        keepgate log show 8813 --payload result > result.json")]
    Show {
        /// Its number
        seq: u64,
        /// Only this payload (`arguments`, `result`), as it is
        #[arg(long, value_name = "NAME")]
        payload: Option<String>,
        /// Where the log is.
        #[command(flatten)]
        from: From,
    },
    /// Find entries
    #[command(after_help = "Examples:\n  \
        keepgate log query --kind call.refused --since 2026-11-24T00:00:00Z\n  \
        keepgate log query --agent mailbot --tool 'file.*' --limit 1000\n  \
        keepgate log query --request 7q2km4xd0v9h3c6r")]
    Query(QueryArgs),
    /// Check every byte of the log, offline
    ///
    /// Needs no daemon and no key, and works on a copy (take `checkpoint` before the segments) as
    /// any user who can read it. Ends with 20, and names segment, offset and number, where the log
    /// is not what was written.
    #[command(after_help = "Examples:\n  \
        keepgate log verify\n  \
        keepgate log verify ./copy --key 'gate-1/production+1f2e3d4c+Ajk…'")]
    Verify {
        /// Directory of the log, or of a copy [default: the plane's]
        #[arg(id = "log", value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
        /// A key that must have signed: ties the log to its appliance
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Build the index again from the log
    RebuildIndex,
    /// Sign with a new key from now on; the old one signs the change
    RotateKey,
}

/// Where entries are read.
#[derive(Debug, Args)]
pub struct From {
    /// Read the log in this directory, without the daemon [default: the plane's]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub log: Option<PathBuf>,
}

/// What `log query` looks for.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Of this agent
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// Of this tool; `file.*` means all that begin so
    #[arg(long, value_name = "TOOL")]
    pub tool: Option<String>,
    /// Of this kind: call.intent, call.outcome, call.refused, policy.applied, mode.set, …
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// With this request id, which the agent was told
    #[arg(long, value_name = "ID")]
    pub request: Option<Id>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<String>,
    /// Before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<String>,
    /// Only behind this number, oldest first
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// At most so many: the newest, or with --after the first
    #[arg(long, default_value_t = 100, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Where the log is.
    #[command(flatten)]
    pub from: From,
}

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Put a policy in force, now, and record it
    ///
    /// A policy that does not load changes nothing. Without FILE it is the plane's own
    /// `policy/PLANE.cedar`.
    #[command(after_help = "Examples:\n  \
        keepgate policy apply\n  \
        keepgate --plane public policy apply ./public.cedar")]
    Apply {
        /// Cedar policy [default: policy/PLANE.cedar of the install]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Check a policy against the tools and change nothing
    Check {
        /// Cedar policy [default: policy/PLANE.cedar of the install]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Explain why a call was, or would be, permitted or refused
    #[command(after_help = "Examples:\n  \
        keepgate policy explain 8812\n  \
        keepgate policy explain --request 7q2km4xd0v9h3c6r\n  \
        keepgate policy explain --agent mailbot --tool file.read --args '{\"path\":\"mail/inbox\"}'")]
    Explain(ExplainArgs),
    /// Print the policy in force
    Show {
        /// Print the schema that policies are checked against
        #[arg(long)]
        schema: bool,
    },
}

/// What `policy explain` is about: one of three.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("about").required(true).args(["seq", "request", "agent"]))]
pub struct ExplainArgs {
    /// Number of a call's entry in the log
    pub seq: Option<u64>,
    /// Request id that the agent was told
    #[arg(long, value_name = "ID")]
    pub request: Option<Id>,
    /// Agent of a call that nobody has made
    #[arg(long, value_name = "NAME", requires = "tool", value_parser = name)]
    pub agent: Option<String>,
    /// Its tool
    #[arg(long, requires = "agent", value_name = "TOOL")]
    pub tool: Option<String>,
    /// Its arguments
    #[arg(long, requires = "agent", value_name = "JSON", default_value = "{}")]
    pub args: String,
}

/// What can be done with jails.
#[derive(Debug, Subcommand)]
pub enum JailCommand {
    /// Run a program in a jail
    ///
    /// The same jails that agents' tools run in, made by this command alone and with your own
    /// rights: no daemon and no install is needed. The program sees the paths its profile names, a
    /// private /tmp, and no network but the hosts you list; it reads your standard input and writes
    /// to your standard output and error through pipes. What it was refused is told on standard
    /// error when it has ended, with the line of a manifest that would allow it. Without root, the
    /// program stays in your supplementary groups.
    #[command(
        after_help = "Ends as the program did, or with 128+N where signal N ended it. With \
        125 where the jail could not be made or what the program wrote could not be passed on (a \
        full disk, or closed), 126 where the program cannot be run, 127 where it was not found. Where nobody \
        reads its output any more (`| head`) and it ends with 0 all the same: 141, as shells tell \
        SIGPIPE; where its output was cut at limits.output_mib and it ends with 0: 137. A manifest \
        must not lie in what its jail may change, unless its directory is kept by --ro. With --json, one object: exit, signal, limit, wall_us, cpu_us, rss_kib, stdout, \
        stderr (text, the first MiB of each), stdout_bytes, stderr_bytes, denials, hops, degraded.\n\n\
        Examples:\n  \
        keepgate jail run -- python3 -c 'print(6 * 7)'\n  \
        keepgate jail run --rw . --ro .git/hooks -- git status\n  \
        keepgate jail run --net api.example.net:443 -- curl https://api.example.net/\n  \
        keepgate jail run --ro . --env TOKEN -- ./report.py\n  \
        keepgate jail run --profile native --json -- ./static-tool < input\n  \
        keepgate jail run --profile ./tool.toml --wall 10 -- node server.js"
    )]
    Run(JailRunArgs),
    /// Check a manifest on this host and print what it comes to
    ///
    /// Runs nothing. What is printed is a manifest again, every key named; that of a profile is a
    /// good start for one of your own.
    #[command(after_help = "Examples:\n  \
        keepgate jail check foreign > tool.toml\n  \
        keepgate jail check tool.toml")]
    Check {
        /// A file, or a profile: foreign, native, native-generic
        #[arg(value_name = "PROFILE|FILE", value_hint = ValueHint::FilePath)]
        profile: PathBuf,
    },
    /// Explain what a call's jail refused: one sentence each
    #[command(after_help = "Examples:\n  \
        keepgate log query --tool http.request --kind call.outcome    find the number\n  \
        keepgate jail explain 8813")]
    Explain {
        /// Number of the call's intent or outcome in the log
        seq: u64,
        /// Where the log is.
        #[command(flatten)]
        from: From,
    },
}

/// Options of `jail run`.
#[derive(Debug, Args)]
pub struct JailRunArgs {
    /// What the jail is: foreign, native, native-generic, or a manifest file [default: foreign]
    #[arg(long, value_name = "PROFILE|FILE", default_value = "foreign", hide_default_value = true,
          value_hint = ValueHint::FilePath)]
    pub profile: PathBuf,
    /// Show it this path, read-only; within one of --rw, it is kept from changes (but by others
    /// outside, who can replace it)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub ro: Vec<PathBuf>,
    /// Show it this directory and let it change it, but run nothing there
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub rw: Vec<PathBuf>,
    /// Let it connect there, through a proxy it finds by HTTP_PROXY and HTTPS_PROXY
    #[arg(long, value_name = "HOST:PORT")]
    pub net: Vec<String>,
    /// Set a variable, or pass yours on
    #[arg(long, value_name = "NAME=VALUE|NAME")]
    pub env: Vec<String>,
    /// Start it in this directory [default: yours if --ro or --rw shows of it, or its own /tmp]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub chdir: Option<PathBuf>,
    /// Give it a loopback of its own to listen and connect on, and unix sockets; it can reach those
    /// that others make later in directories it is shown
    #[arg(long)]
    pub loopback: bool,
    /// End it after so long [default: 60]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub wall: Option<u64>,
    /// Memory it may use [default: 512]
    #[arg(long, value_name = "MIB", allow_negative_numbers = true)]
    pub memory: Option<u64>,
    /// Processes and threads at a time [default: 128]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub processes: Option<u64>,
    /// Refuse to run where any layer of protection is missing (--json lists what is, in `degraded`)
    #[arg(long)]
    pub strict: bool,
    /// Hide what protection is missing, and what a program was refused that succeeded without it;
    /// failures, limits, and what a program that failed was refused are told
    #[arg(short, long)]
    pub quiet: bool,
    /// The program and its arguments; a native one is read from your files, any other is looked for
    /// in the jail
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.into()),
        false => Err("1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit".into()),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "live" => Ok(Mode::Live),
        "rehearse" => Ok(Mode::Rehearse),
        _ => Err("`live` or `rehearse`".into()),
    }
}

fn time(text: &str) -> Result<String, String> {
    match text.parse::<crate::time::Timestamp>() {
        Ok(_) => Ok(text.into()),
        Err(_) => Err("a time like 2026-11-24T09:00:00Z".into()),
    }
}
