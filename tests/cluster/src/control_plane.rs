//! One control plane from its first file to its last process.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::configuration::{ADDRESSES, CLIENTS, Configuration, Ports, write_kubeconfig};
use crate::processes::{self, Processes};
use crate::{Parts, certificates, health};

/// How often to begin again with other ports.
const ATTEMPTS: u32 = 3;

/// What is written down about a control plane that outlives the program that started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where its files and logs are; removed when it is stopped.
    pub folder: PathBuf,
    /// The address of its API server.
    pub server: String,
    /// Names and ids of its processes, in the order they were started.
    pub processes: Vec<(String, u32)>,
}

impl State {
    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Whether all of its processes run.
    pub fn runs(&self) -> bool {
        self.processes.iter().all(|(_, id)| processes::works_in(*id, &self.folder))
    }

    /// Ends its processes, each by its id, and removes its folder. What has ended already is passed over.
    ///
    /// # Errors
    /// If a process or the folder can't be removed.
    pub fn stop(&self) -> anyhow::Result<()> {
        processes::end_detached(&self.folder, &self.processes)?;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

/// A control plane that runs.
#[derive(Debug)]
pub struct ControlPlane {
    processes: Processes,
    state: State,
}

impl ControlPlane {
    /// Starts one that ends with this process, or when it is dropped.
    ///
    /// # Errors
    /// If a program does not start or is not ready after two minutes, with the end of its log.
    pub async fn start(parts: &Parts) -> anyhow::Result<Self> {
        Self::begin(parts, true).await
    }

    /// Starts one that runs until [`State::stop`].
    ///
    /// # Errors
    /// As [`ControlPlane::start`]; nothing is left running then.
    pub async fn start_detached(parts: &Parts) -> anyhow::Result<State> {
        let started = Self::begin(parts, false).await?;
        started.processes.detach();
        Ok(started.state)
    }

    async fn begin(parts: &Parts, watched: bool) -> anyhow::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_begin(parts, watched).await {
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_begin(parts: &Parts, watched: bool) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let mut processes = match Processes::new(&folder, watched) {
            Ok(processes) => processes,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        match start_all(parts, &folder, &mut processes).await {
            Ok(server) => {
                let state = State { folder, server, processes: processes.ids() };
                Ok(ControlPlane { processes, state })
            }
            Err(error) => {
                processes.end();
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// Its folder, address and processes.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// A client with the admin's rights, for the async runtime that this is called in.
    ///
    /// # Errors
    /// If the kubeconfig was damaged.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.kubeconfig()).await
    }

    /// Writes a kubeconfig for whom `token` belongs to, and says where. It goes with the control plane.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn kubeconfig_of_token(&self, user: &str, token: &str) -> anyhow::Result<PathBuf> {
        let file = self.state.folder.join(format!("{user}.kubeconfig"));
        write_kubeconfig(&file, &self.state.folder, &self.state.server, user, &json!({ "token": token }))?;
        Ok(file)
    }

    /// The requests so far that were not from the cluster's own parts, one JSON object (`audit.k8s.io/v1` Event) each.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn audit_log(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let file = self.state.folder.join("audit.log");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // The last line may be in the middle of being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).context("a line of the audit log")).collect()
    }
}

/// Starts each program as soon as those it needs are ready; gives the API server's address.
async fn start_all(parts: &Parts, folder: &Path, processes: &mut Processes) -> anyhow::Result<String> {
    let configuration = Configuration { folder: folder.to_owned(), ports: Ports::free()? };
    let certificates = configuration.certificates();
    certificates::write(&certificates, &ADDRESSES, &CLIENTS)?;
    configuration.write()?;
    let Ports { etcd, controller_manager, scheduler, kwok, .. } = configuration.ports;
    let server = configuration.server();

    processes.start("etcd", &parts.program("etcd"), &configuration.etcd())?;
    processes.start("kube-apiserver", &parts.program("kube-apiserver"), &configuration.api_server())?;
    health::wait(processes, "etcd", &format!("http://127.0.0.1:{etcd}"), "/health", &certificates).await?;
    health::wait(processes, "kube-apiserver", &server, "/readyz", &certificates).await?;

    let name = "kube-controller-manager";
    processes.start(name, &parts.program(name), &configuration.controller_manager())?;
    processes.start("kube-scheduler", &parts.program("kube-scheduler"), &configuration.scheduler())?;
    processes.start("kwok", &parts.program("kwok"), &configuration.kwok())?;
    let secure = |port: u16| format!("https://127.0.0.1:{port}");
    health::wait(processes, "kube-scheduler", &secure(scheduler), "/readyz", &certificates).await?;
    health::wait(processes, name, &secure(controller_manager), "/healthz", &certificates).await?;
    health::wait(processes, "kwok", &format!("http://127.0.0.1:{kwok}"), "/healthz", &certificates).await?;

    // No pod is admitted before its namespace has a service account.
    let accounts: Api<ServiceAccount> = Api::namespaced(client(&folder.join("kubeconfig")).await?, "default");
    let begin = Instant::now();
    while accounts.get_opt("default").await?.is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            bail!("no default service account after a minute\n{}", processes.log_tail(name));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(server)
}

/// A client for the current context of a kubeconfig.
///
/// # Errors
/// If there is no such file, or it makes no sense.
pub async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Makes a folder of our own where temporary files go.
fn new_folder() -> anyhow::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // What processes say that they work in has no links in it.
    let parent = std::env::temp_dir().canonicalize().context("looking for the folder of temporary files")?;
    loop {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("supercargo-cluster-{}-{number}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", folder.display())),
        }
    }
}
