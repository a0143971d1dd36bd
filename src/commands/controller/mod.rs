//! `controller`: the in-cluster autoscaler.

mod dying;
mod fenced;
mod gates;
mod patience;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use clap::builder::FalseyValueParser;
use dying::DyingArguments;
use gates::FeatureGates;
use kube::Client;
use patience::PatienceArguments;
use supercargo_models::problem::build::Options;
use supercargo_models::solver;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::{BadInput, EXIT_DONE, EXIT_FAILED};
use crate::cloud::Rehearsal;
use crate::cloud::kwok::{Faults, Kwok, Pattern};
use crate::cluster::{self, LiveError, Target};
use crate::commands::arguments::{CatalogArguments, PlanningArguments, parse_duration};
use crate::commands::planning::read_catalog;
use crate::controllers::{self, Bind, Election, MinValues, Preferences, Settings, Tenure};
use crate::telemetry::{Health, LogFormat, LogLevel, Metrics, serve, start_logs};

/// How long what is under way may take to end when the program is asked to.
const FAREWELL: Duration = Duration::from_secs(5);

/// The gap that is good enough for a batch: pods wait while it is made smaller, and the cores that it takes are those on
/// which others run.
const GAP: f64 = 0.01;

/// How often to say what the controller waits for.
const REMINDER: Duration = Duration::from_secs(30);

/// Where machines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cloud {
    /// Simulated machines, whose kubelets kwok plays.
    Kwok,
}

/// What to watch over, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  supercargo controller --cloud kwok --kubeconfig ~/.kube/config\n  \
                        supercargo controller --cloud kwok --kwok-boot-delay 30s --kwok-refuse '*/*/spot'\n  \
                        supercargo controller --dry-run")]
pub struct ControllerArguments {
    /// Where machines come from.
    #[arg(long, value_enum, required_unless_present = "dry_run", env = "SUPERCARGO_CLOUD", hide_env_values = true)]
    pub cloud: Option<Cloud>,
    /// Watches and plans, says what it would do (log, metrics, events, the ConfigMap supercargo-plan in the system namespace),
    /// and does nothing: safe beside whatever buys machines now.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "SUPERCARGO_DRY_RUN", hide_env_values = true)]
    pub dry_run: bool,
    /// The cluster [default: KUBECONFIG, ~/.kube/config, or the cluster around].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig in place of its current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// A batch of pods is planned once no other has come for so long, and a scheduler has looked at those that were there.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, env = "BATCH_IDLE_DURATION", hide_env_values = true, help_heading = "Provisioning")]
    pub batch_idle_duration: Duration,
    /// And at the latest so long after its first pod.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, env = "BATCH_MAX_DURATION", hide_env_values = true, help_heading = "Provisioning")]
    pub batch_max_duration: Duration,
    /// How often claims, nodes and machines are compared with each other.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration, env = "SUPERCARGO_COLLECTION_PERIOD", hide_env_values = true, help_heading = "Provisioning")]
    pub collection_period: Duration,
    /// Who binds planned pods to the nodes that were bought for them.
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "SUPERCARGO_BIND",
        hide_env_values = true,
        help_heading = "Provisioning"
    )]
    pub bind: Bind,
    /// A node is open to all pods at the latest so long after it has joined.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration, env = "SUPERCARGO_BIND_DEADLINE", hide_env_values = true, help_heading = "Provisioning")]
    pub bind_deadline: Duration,
    /// What becomes of a pod that no offering suits as flexibly as minValues asks for: it waits, or its node is bought with as
    /// many values as there are.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        default_value_t,
        env = "MIN_VALUES_POLICY",
        hide_env_values = true,
        help_heading = "Provisioning"
    )]
    pub min_values_policy: MinValues,
    /// Whether what pods would rather have (preferred affinity, ScheduleAnyway, PreferNoSchedule) is done where it costs
    /// nothing, or counts for nothing.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        default_value_t,
        env = "PREFERENCE_POLICY",
        hide_env_values = true,
        help_heading = "Provisioning"
    )]
    pub preference_policy: Preferences,
    /// Optional behaviour, as NAME=true or NAME=false, with commas between: NodeRepair replaces machines whose nodes are sick.
    #[arg(
        long,
        value_name = "GATES",
        default_value = "NodeRepair=false",
        env = "FEATURE_GATES",
        hide_env_values = true,
        help_heading = "Provisioning"
    )]
    pub feature_gates: FeatureGates,
    /// The offerings.
    #[command(flatten)]
    pub catalog: CatalogArguments,
    /// How to plan.
    #[command(flatten)]
    pub planning: PlanningArguments,
    /// What the simulated cloud does.
    #[command(flatten)]
    pub kwok: KwokArguments,
    /// How long to wait for what may never come.
    #[command(flatten)]
    pub patience: PatienceArguments,
    /// When to die.
    #[command(flatten)]
    pub dying: DyingArguments,
    /// How to run.
    #[command(flatten)]
    pub operation: OperationArguments,
}

/// What the simulated cloud does. The ConfigMap supercargo-kwok in the system namespace, labelled
/// supercargo.dev/kwok=faults, changes it while the program runs.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Simulated cloud")]
pub struct KwokArguments {
    /// From launch to the node's first sign of life, where its class says nothing.
    #[arg(long, value_name = "DURATION", value_parser = parse_delay, default_value = "0s", env = "KWOK_BOOT_DELAY", hide_env_values = true)]
    pub kwok_boot_delay: Duration,
    /// From when a machine's end is asked for until it is gone.
    #[arg(long, value_name = "DURATION", value_parser = parse_delay, default_value = "0s", env = "KWOK_SHUTDOWN_DELAY", hide_env_values = true)]
    pub kwok_shutdown_delay: Duration,
    /// Offerings that cannot be had: INSTANCE-TYPE/ZONE/CAPACITY-TYPE, each a name or *; repeatable.
    #[arg(long, value_name = "OFFERING", value_delimiter = ',', env = "KWOK_REFUSE", hide_env_values = true)]
    pub kwok_refuse: Vec<Pattern>,
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operation")]
pub struct OperationArguments {
    /// Act without being elected: no other controller may act on this cluster.
    #[arg(long, value_parser = FalseyValueParser::new(), env = "DISABLE_LEADER_ELECTION", hide_env_values = true)]
    pub disable_leader_election: bool,
    /// Name of the lease; Karpenter's, so that the two never act at once.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "karpenter-leader-election",
        env = "LEADER_ELECTION_NAME",
        hide_env_values = true
    )]
    pub leader_election_name: String,
    /// Namespace of the lease [default: the system namespace].
    #[arg(long, value_name = "NAMESPACE", env = "LEADER_ELECTION_NAMESPACE", hide_env_values = true)]
    pub leader_election_namespace: Option<String>,
    /// Namespace of what the controller keeps for itself.
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "kube-system",
        env = "SYSTEM_NAMESPACE",
        hide_env_values = true
    )]
    pub system_namespace: String,
    /// Port of /metrics; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 8080, env = "METRICS_PORT", hide_env_values = true)]
    pub metrics_port: u16,
    /// Port of /healthz and /readyz; 0 for any.
    #[arg(long, value_name = "PORT", default_value_t = 8081, env = "HEALTH_PROBE_PORT", hide_env_values = true)]
    pub health_probe_port: u16,
    /// What is logged: error, warn, info, debug, or a filter such as supercargo=debug,kube=info. PUT /log-level on the health
    /// port changes it while the program runs.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "LOG_LEVEL", hide_env_values = true)]
    pub log_level: String,
    /// How a line of the log looks.
    #[arg(long, value_enum, default_value_t, env = "SUPERCARGO_LOG_FORMAT", hide_env_values = true)]
    pub log_format: LogFormat,
}

/// A duration that may be zero.
fn parse_delay(text: &str) -> Result<Duration, String> {
    crate::duration::parse(text).ok_or_else(|| "a time like 0s, 500ms or 30s is needed".to_owned())
}

impl ControllerArguments {
    fn settings(&self) -> Settings {
        Settings {
            identity: IDENTITY.clone(),
            batch_idle: self.batch_idle_duration,
            batch_max: self.batch_max_duration,
            time_budget: self.planning.time_budget,
            solver: solver::Settings { gap: self.planning.gap.unwrap_or(GAP), ..self.planning.settings() },
            options: Options {
                capacity_types: self.planning.capacity_types(),
                ignore_weights: self.planning.ignore_weights,
                ignore_preferences: self.preference_policy == Preferences::Ignore,
                ..Options::default()
            },
            min_values: self.min_values_policy,
            launch_timeout: self.patience.launch_timeout,
            registration_timeout: self.patience.registration_timeout,
            replacement_timeout: self.patience.replacement_timeout,
            bind: self.bind,
            bind_deadline: self.bind_deadline,
            dry_run: self.dry_run.then(|| self.operation.system_namespace.clone()),
            node_repair: self.feature_gates.node_repair,
            node_overlay: self.feature_gates.node_overlay,
            collection_period: self.collection_period,
        }
    }
}

/// What this program calls itself. Two of one host name, or one that was started again, are two candidates.
static IDENTITY: LazyLock<String> = LazyLock::new(|| {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty()).unwrap_or_else(|| "supercargo".into());
    format!("{host}_{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond())
});

/// Runs until it is asked to end (SIGTERM, SIGINT), or until another replica leads.
///
/// # Errors
/// A [`BadInput`] where arguments are wrong; else there is no cluster, a port is taken, or the lease can't be had.
pub fn run(arguments: ControllerArguments, _out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let operation = &arguments.operation;
    let level = start_logs(&operation.log_level, operation.log_format).map_err(BadInput::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let code = runtime.block_on(serve_until_told(arguments, level));
    // A solver that still thinks is not waited for.
    runtime.shutdown_timeout(FAREWELL);
    code
}

async fn serve_until_told(arguments: ControllerArguments, level: LogLevel) -> anyhow::Result<ExitCode> {
    let operation = arguments.operation.clone();
    let catalog = Arc::new(read_catalog(&arguments.catalog)?);
    let target = Target { kubeconfig: arguments.kubeconfig.clone(), context: arguments.context.clone() };
    let mut config = cluster::configuration(&target).await.map_err(|error| match error {
        LiveError::Nowhere => {
            let nowhere =
                BadInput::new("no cluster to watch over: there is no kubeconfig, and this is no pod of a cluster");
            nowhere.hint("name one with --kubeconfig")
        }
        error => BadInput::from_error(error),
    })?;
    // Everything is tried again in its own time; a client that does so as well would hold up the drain of a node for one pod
    // that its disruption budget keeps there (429).
    config.default_retry = false;
    let tenure = Arc::new(Tenure::default());
    let client = arguments.dying.client(config, &tenure).map_err(BadInput::from_error)?;
    let (metrics, health) = (Arc::new(Metrics::default()), Arc::new(Health::default()));
    let ([at_metrics, at_health], server) =
        serve(Arc::clone(&metrics), Arc::clone(&health), level, operation.metrics_port, operation.health_probe_port)
            .await?;
    info!("/metrics on {at_metrics}, /healthz and /readyz on {at_health}");
    tokio::spawn(server);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(told);
    // A dry run is not to keep the lease from whoever acts.
    let mut election = match operation.disable_leader_election || arguments.dry_run {
        true => None,
        false => Some(stand(&client, &operation, tenure).await?),
    };
    if let Some(standing) = &mut election {
        health.set_ready(true);
        let ended = tokio::select! {
            won = won(standing, &client, &operation) => won.map(|()| None),
            signal = &mut told => Ok(Some(signal)),
        };
        match ended {
            Ok(None) => {}
            Ok(Some(signal)) => return Ok(done(signal, election).await),
            Err(error) => {
                resign(election).await;
                return Err(error);
            }
        }
        health.set_ready(false);
    }
    match arguments.dry_run {
        true => info!("dry run: nothing is bought, bound or ended"),
        false => {
            metrics.set_leader(true);
            info!("leading");
        }
    }
    tokio::select! {
        () = definitions(&client, arguments.cloud) => {}
        signal = &mut told => return Ok(done(signal, election).await),
    }
    let work = work(&arguments, client.clone(), catalog, metrics, health);
    let (namespace, name) = (lease_namespace(&operation), &operation.leader_election_name);
    let lost = async {
        match &mut election {
            Some(election) => tokio::select! {
                () = election.lost() => "another replica leads".to_owned(),
                other = controllers::others::comes(&client, namespace, name) => other,
            },
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        () = work => "the watches ended".to_owned(),
        why = lost => why,
        signal = &mut told => return Ok(done(signal, election).await),
    };
    warn!("{why}: ended");
    resign(election).await;
    Ok(ExitCode::from(EXIT_FAILED))
}

/// Ends in order, as a signal asks for.
async fn done(signal: &str, election: Option<Election>) -> ExitCode {
    info!("{signal}: ended");
    resign(election).await;
    ExitCode::from(EXIT_DONE)
}

async fn resign(election: Option<Election>) {
    if let Some(election) = election {
        election.resign().await;
    }
}

/// Waits until the custom resources are there, and says so as long as they are not.
async fn definitions(client: &Client, cloud: Option<Cloud>) {
    let of_cloud = cloud.map(|cloud| match cloud {
        Cloud::Kwok => "karpenter.kwok.sh/v1alpha1",
    });
    let versions: Vec<&str> = ["karpenter.sh/v1"].into_iter().chain(of_cloud).collect();
    let mut told = None;
    loop {
        let mut absent = Vec::new();
        for &version in &versions {
            if client.list_api_group_resources(version).await.is_err() {
                absent.push(version);
            }
        }
        if absent.is_empty() {
            return;
        }
        if told.is_none_or(|told: Instant| told.elapsed() > REMINDER) {
            warn!(
                "the cluster does not serve {}: supercargo crds | kubectl apply --server-side -f -",
                absent.join(", ")
            );
            told = Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until this replica leads, and nobody else by a lease of that name.
async fn won(election: &mut Election, client: &Client, operation: &OperationArguments) -> anyhow::Result<()> {
    election.won().await?;
    controllers::others::gone(client, lease_namespace(operation), &operation.leader_election_name).await?;
    Ok(())
}

fn lease_namespace(operation: &OperationArguments) -> &str {
    operation.leader_election_namespace.as_ref().unwrap_or(&operation.system_namespace)
}

async fn stand(client: &Client, operation: &OperationArguments, tenure: Arc<Tenure>) -> anyhow::Result<Election> {
    let namespace = lease_namespace(operation);
    info!("standing for {namespace}/{} as {}", operation.leader_election_name, *IDENTITY);
    Election::stand(client.clone(), namespace, &operation.leader_election_name, &IDENTITY, tenure)
        .await
        .with_context(|| format!("the lease {namespace}/{}", operation.leader_election_name))
}

async fn work(
    arguments: &ControllerArguments,
    client: Client,
    catalog: Arc<supercargo_models::catalog::Catalog>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) {
    if arguments.dry_run {
        let (cloud, classes) = Rehearsal::new(&client, catalog).await;
        let controllers = async {
            cloud.ready().await;
            controllers::run(client, cloud.clone(), arguments.settings(), metrics, health).await;
        };
        futures::join!(classes, controllers);
        return;
    }
    match arguments.cloud {
        None => {}
        Some(Cloud::Kwok) => {
            let faults = Faults {
                boot_delay: arguments.kwok.kwok_boot_delay,
                shutdown_delay: arguments.kwok.kwok_shutdown_delay,
                refused: arguments.kwok.kwok_refuse.clone(),
                ..Faults::default()
            };
            let namespace = &arguments.operation.system_namespace;
            let (cloud, machines) = Kwok::new(client.clone(), namespace, catalog, faults);
            let controllers = async {
                cloud.ready().await;
                controllers::run(client, cloud.clone(), arguments.settings(), metrics, health).await;
            };
            futures::join!(machines, controllers);
        }
    }
}
