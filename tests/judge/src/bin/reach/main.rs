//! `reach`: how far and how fast the controller brings a real control plane, beside what is asked of it; `make reach` calls it.

mod cluster;
mod findings;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use cluster::{Cluster, Controller};
use findings::{Finding, table};

/// Pods of the one Deployment that is scaled up, and in how many seconds they are to be bound.
const ONE: (u32, f64) = (500, 20.0);
/// The same for many Deployments of many pods each.
const MANY: (u32, u32, f64) = (50, 100, 120.0);
/// What the controller may take of memory at most, in MiB.
const MEMORY: f64 = 300.0;
/// How long to look at the cluster while nothing happens: much is looked at again every few seconds.
const IDLE: Duration = Duration::from_secs(30);
/// How long to wait before that: what the last pods have brought about is written down.
const REST: Duration = Duration::from_secs(10);
/// How long to wait for what is asked for without a time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts a real control plane and a controller of simulated machines, scales up, looks on, scales down, and compares all of
/// it with what is asked. The exit code is 1 where something is not reached.
#[derive(Debug, Parser)]
#[command(name = "reach")]
struct Cli {
    /// The controller [default: the supercargo beside this program].
    #[arg(long, value_name = "PROGRAM")]
    supercargo: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let supercargo = match Cli::parse().supercargo {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("supercargo"),
    };
    let cores = std::thread::available_parallelism()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let cluster = Cluster::start().await?;
        let controller = cluster.controller(&supercargo).await?;
        findings(&cluster, &controller)
            .await
            .with_context(|| format!("the controller's log ends\n{}", controller.end()))
    })?;
    print!("{}", table(&found));
    println!("\n{cores} cores, which controller and control plane share");
    Ok(if found.iter().all(|one| one.is_reached) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is asked, one after the other.
async fn findings(cluster: &Cluster, controller: &Controller) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let (pods, seconds) = ONE;
    cluster.deploy("inflate", 0, 1000, 256).await?;
    let begin = Instant::now();
    cluster.scale("inflate", pods).await?;
    let bound = bound(cluster, pods as usize, begin, seconds).await;
    found.push(Finding::seconds(&format!("one Deployment from 0 to {pods} pods: bound"), bound, seconds));
    if let Err(left) = nothing(cluster).await? {
        bail!("{left} of one Deployment");
    }

    let (deployments, each, seconds) = MANY;
    let begin = Instant::now();
    for number in 0..deployments {
        let (milli_cores, mebibytes) = (100 + number * 37 % 450, 128 + number * 91 % 900);
        cluster.deploy(&format!("many-{number}"), each, milli_cores, mebibytes).await?;
    }
    let pods = deployments * each;
    let bound = self::bound(cluster, pods as usize, begin, seconds).await;
    found.push(Finding::seconds(&format!("{pods} pods of {deployments} Deployments: bound"), bound, seconds));

    tokio::time::sleep(REST).await;
    let before = cluster.reads()?.len();
    if before == 0 {
        bail!("the audit log knows nothing of the controller");
    }
    tokio::time::sleep(IDLE).await;
    found.push(Finding::none("requests of the idle controller that a watch could answer", &cluster.reads()?[before..]));

    let gone = nothing(cluster).await?;
    found.push(Finding::nothing("Deployments deleted: claims, nodes, machines gone", gone));
    found.push(Finding::mebibytes("the controller's memory at its peak", controller.peak_memory()?, MEMORY));
    Ok(found)
}

/// Waits until so many pods are bound; the seconds that it took, or how many are when it took four times as long as it may.
async fn bound(cluster: &Cluster, pods: usize, begin: Instant, seconds: f64) -> Result<f64, String> {
    while begin.elapsed().as_secs_f64() < 4.0 * seconds {
        if cluster.bound() == pods {
            return Ok(begin.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{} of {pods} after {:.0} s", cluster.bound(), 4.0 * seconds))
}

/// Deletes all Deployments and waits until nothing is left; the seconds that it took, or what is left.
async fn nothing(cluster: &Cluster) -> anyhow::Result<Result<f64, String>> {
    let begin = Instant::now();
    cluster.delete_deployments().await?;
    loop {
        let left = cluster.left().await?;
        if left.iter().all(|(_, count)| *count == 0) {
            return Ok(Ok(begin.elapsed().as_secs_f64()));
        }
        if begin.elapsed() > PATIENCE {
            let left: Vec<String> = left.iter().map(|(what, count)| format!("{count} {what}")).collect();
            return Ok(Err(format!("left: {}", left.join(", "))));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
