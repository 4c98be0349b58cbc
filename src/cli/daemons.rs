//! `hfs namenode|datanode|jobtracker|worker`: a role in this process, until SIGTERM.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use hfs_daemon::config::{Loaded, Loader, XmlKey};
use hfs_daemon::logging;
use hfs_daemon::shutdown::Shutdown;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long unfinished work may delay the end of a daemon.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// The ids of the flags that every daemon has beside its own; no setting can have such a name.
const CONFIG_FILE: &str = "config-file";
const HADOOP_CONF_DIR: &str = "hadoop-conf-dir";

/// The flags of a role, kept as clap saw them: only what was typed may override files and environment.
#[derive(Debug, Clone)]
pub struct Flags<C> {
    matches: ArgMatches,
    config: PhantomData<fn() -> C>,
}

impl<C> FromArgMatches for Flags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { matches: matches.clone(), config: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.matches = matches.clone();
        Ok(())
    }
}

impl<C: Args + Default + Serialize> Args for Flags<C> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG_FILE)
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read settings from this hfs.toml: the section with the role's name");
        let hadoop = Arg::new(HADOOP_CONF_DIR)
            .long("hadoop-conf-dir")
            .value_name("DIR")
            .env("HADOOP_CONF_DIR")
            .value_parser(clap::value_parser!(PathBuf))
            .help(
                "Read core-site.xml and hdfs-site.xml here, for the keys that mean the same in hfs",
            );
        // "for update": a flag that has no default in clap is not thereby required.
        let command = C::augment_args_for_update(command.arg(file).arg(hadoop));
        show_defaults::<C>(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Says each setting's default in its help, where clap itself doesn't.
fn show_defaults<C: Default + Serialize>(command: Command) -> Command {
    let defaults = serde_json::to_value(C::default()).unwrap_or_default();
    command.mut_args(|arg| {
        let shown = match defaults.get(arg.get_id().as_str().replace('_', "-")) {
            Some(serde_json::Value::String(text)) if !text.is_empty() => text.clone(),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => return arg,
        };
        if !arg.get_default_values().is_empty() || matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} [default: {shown}]"))
    })
}

impl<C: Args + Default + Serialize + DeserializeOwned> Flags<C> {
    /// The configuration in force.
    fn load(&self, role: &'static str, keys: &[XmlKey]) -> Result<Loaded<C>> {
        let path = |id| self.matches.get_one::<PathBuf>(id).map(PathBuf::as_path);
        // An empty variable means what an absent one means.
        let hadoop = path(HADOOP_CONF_DIR).filter(|dir| {
            self.matches.value_source(HADOOP_CONF_DIR) == Some(ValueSource::CommandLine)
                || *dir != Path::new("")
        });
        let loader = Loader::new(role)
            .toml_file(path(CONFIG_FILE))
            .hadoop_dir(hadoop, keys)
            .environment(std::env::vars_os())
            .flags(&self.matches);
        Ok(loader.load()?)
    }
}

/// `hfs namenode`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Namenode {
    #[command(flatten)]
    flags: Flags<hfs_namenode::Config>,
    #[command(subcommand)]
    action: Option<NamenodeAction>,
}

#[derive(Debug, clap::Subcommand)]
enum NamenodeAction {
    /// Make a new, empty file system in the namenode's directory (a first start does so by itself)
    Format {
        #[command(flatten)]
        flags: Flags<hfs_namenode::Config>,
        /// The id of the new cluster [default: a random one]
        #[arg(id = "new-cluster-id", long = "cluster-id", value_name = "ID")]
        cluster_id: Option<String>,
        /// Give up the file system that is in the directory
        #[arg(id = "force-format", long = "force")]
        force: bool,
    },
}

impl Namenode {
    /// Runs the namenode until it is told to stop, or formats its directory.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn run(self) -> Result<()> {
        let keys = hfs_namenode::XML_KEYS;
        let Some(NamenodeAction::Format { flags, cluster_id, force }) = self.action else {
            return run("namenode", &self.flags, keys, hfs_namenode::run);
        };
        let config = flags.load("namenode", keys)?.config;
        let id = hfs_namenode::format(&config, cluster_id.as_deref(), force)?;
        let line = format!("formatted {} for cluster {id}\n", config.dir.display());
        Ok(io::stdout().write_all(line.as_bytes())?)
    }
}

/// `hfs datanode`.
///
/// # Errors
/// What keeps it from running.
pub fn datanode(flags: &Flags<hfs_datanode::Config>) -> Result<()> {
    run("datanode", flags, hfs_datanode::Config::XML_KEYS, hfs_datanode::run)
}

/// `hfs jobtracker`.
///
/// # Errors
/// What keeps it from running.
pub fn jobtracker(flags: &Flags<hfs_jobtracker::Config>) -> Result<()> {
    run("jobtracker", flags, &[], hfs_jobtracker::run)
}

/// `hfs worker`.
///
/// # Errors
/// What keeps it from running.
pub fn worker(flags: &Flags<hfs_worker::Config>) -> Result<()> {
    run("worker", flags, &[], hfs_worker::run)
}

/// Runs a role until SIGTERM, SIGINT, or the end of the process that started it.
fn run<C, F, R>(role: &'static str, flags: &Flags<C>, keys: &[XmlKey], daemon: F) -> Result<()>
where
    C: Args + Default + Serialize + DeserializeOwned,
    F: FnOnce(C, Shutdown) -> R,
    R: Future<Output = Result<()>>,
{
    logging::init(role);
    raise_descriptor_limit();
    let outcome = flags.load(role, keys).and_then(|loaded| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name(role)
            .build()
            .context("can't start the runtime")?;
        let outcome = runtime.block_on(async {
            let shutdown = Shutdown::on_signals().context("can't handle signals")?;
            daemon(loaded.config, shutdown.clone()).await?;
            shutdown.trigger();
            if let Err(undrained) = shutdown.drained(DRAIN_DEADLINE).await {
                tracing::warn!("{undrained}");
            }
            Ok(())
        });
        // Blocking threads that wait for a peer must not keep the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(())
        }
        Err(e) => {
            tracing::error!("{e:#}");
            Err(super::Reported.into())
        }
    }
}

/// A daemon has thousands of connections and files; the usual soft limit of 1024 is for old `select` loops.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("can't raise the limit of open files: {e}");
        }
    }
}
