//! `test-cluster`: starts and stops the control plane for people; `make cluster` calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use test_cluster::{ControlPlane, Parts, State};

/// A real Kubernetes control plane on 127.0.0.1, with kwok in place of kubelets.
#[derive(Debug, Parser)]
#[command(name = "test-cluster")]
struct Cli {
    /// Where what runs is written down.
    #[arg(long, value_name = "FILE", default_value = "target/test-cluster.json", global = true)]
    state: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Compile the programs if they are not in the cache, and print their folder and versions.
    Build,
    /// Start it, unless it runs, and print its address and where its kubeconfig is.
    Start {
        /// Objects to create or bring up to date there: a file or a folder of YAML.
        #[arg(long, value_name = "PATH")]
        apply: Option<PathBuf>,
    },
    /// Print where the kubeconfig is.
    Kubeconfig,
    /// Stop it and remove its files.
    Stop,
}

fn main() -> anyhow::Result<()> {
    let command = Cli::command().after_help(format!("Made of:\n{}", Parts::pinned()));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match cli.verb {
        Verb::Build => {
            let parts = Parts::built()?;
            println!("{}\n{}", parts.folder().display(), parts.versions()?.trim_end());
            Ok(())
        }
        Verb::Start { apply } => start(&cli.state, apply.as_deref()),
        Verb::Kubeconfig => match running(&cli.state)? {
            Some(state) => {
                println!("{}", state.kubeconfig().display());
                Ok(())
            }
            None => bail!("no cluster runs; make cluster starts one"),
        },
        Verb::Stop => {
            if let Some(state) = read(&cli.state)? {
                state.stop()?;
                std::fs::remove_file(&cli.state).with_context(|| format!("removing {}", cli.state.display()))?;
            }
            Ok(())
        }
    }
}

fn start(file: &Path, objects: Option<&Path>) -> anyhow::Result<()> {
    let parts = Parts::built()?;
    let state = match running(file)? {
        Some(state) => state,
        None => {
            if let Some(broken) = read(file)? {
                broken.stop()?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let state = runtime.block_on(ControlPlane::start_detached(&parts))?;
            let written = serde_json::to_string_pretty(&state)
                .map_err(anyhow::Error::from)
                .and_then(|text| std::fs::write(file, text).with_context(|| format!("writing {}", file.display())));
            if let Err(error) = written {
                state.stop()?;
                return Err(error);
            }
            state
        }
    };
    if let Some(objects) = objects {
        apply(&parts, &state, objects)?;
    }
    println!("endpoint    {}", state.server);
    println!("kubeconfig  {}", state.kubeconfig().display());
    println!("logs        {}", state.folder.display());
    println!("kubectl     {}", parts.program("kubectl").display());
    // For a shell: a kubectl that is there already stays the one that is found.
    println!(
        "to use it   export KUBECONFIG={} PATH=\"$PATH:{}\"",
        state.kubeconfig().display(),
        parts.folder().display()
    );
    Ok(())
}

fn apply(parts: &Parts, state: &State, objects: &Path) -> anyhow::Result<()> {
    let kubectl = parts.program("kubectl");
    let output = Command::new(&kubectl)
        .arg("--kubeconfig")
        .arg(state.kubeconfig())
        .args(["apply", "--server-side", "--force-conflicts", "--filename"])
        .arg(objects)
        .output()
        .with_context(|| format!("running {}", kubectl.display()))?;
    if !output.status.success() {
        bail!("applying {}: {}", objects.display(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

/// What was written down, if all of it still runs.
fn running(file: &Path) -> anyhow::Result<Option<State>> {
    Ok(read(file)?.filter(State::runs))
}

fn read(file: &Path) -> anyhow::Result<Option<State>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}
