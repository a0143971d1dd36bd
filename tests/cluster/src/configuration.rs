//! The files that the programs of one control plane read, and the arguments they are started with.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// Names and addresses that the servers' certificate is for; the last is the service `kubernetes`.
pub(crate) const ADDRESSES: [&str; 4] = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.96.0.1"];

/// Who gets a client certificate: file, user, group. The admin and kwok may do all; the others have the roles that
/// Kubernetes binds to their names.
pub(crate) const CLIENTS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    ("kwok", "kwok", "system:masters"),
    ("scheduler", "system:kube-scheduler", ""),
    ("controller-manager", "system:kube-controller-manager", ""),
];

/// The annotation by which kwok knows the nodes that it plays the kubelet of, with its value.
pub const PLAYED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");

/// Where each program listens, all on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub etcd: u16,
    pub peer: u16,
    pub api_server: u16,
    pub controller_manager: u16,
    pub scheduler: u16,
    pub kwok: u16,
}

impl Ports {
    /// Ports that nobody listens on. Somebody may be quicker than the programs: starting is tried again then.
    pub(crate) fn free() -> anyhow::Result<Self> {
        let sockets = (0..6)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<Vec<_>, _>>()
            .context("looking for free ports")?;
        let mut ports = sockets.iter().map(|socket| Ok(socket.local_addr()?.port()));
        let mut next = || ports.next().unwrap_or_else(|| Err(std::io::Error::other("too few ports")));
        Ok(Ports {
            etcd: next()?,
            peer: next()?,
            api_server: next()?,
            controller_manager: next()?,
            scheduler: next()?,
            kwok: next()?,
        })
    }
}

/// Everything that is written down before the first program starts: folder and ports.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub folder: PathBuf,
    pub ports: Ports,
}

impl Configuration {
    /// The address of the API server.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    /// The folder of keys and certificates.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// Writes the kubeconfigs (the admin's is `kubeconfig`), the scheduler's configuration, kwok's stages and the
    /// audit policy.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        for (name, user, _) in CLIENTS {
            let file = if name == "admin" { "kubeconfig".to_owned() } else { format!("{name}.kubeconfig") };
            let credentials = json!({
                "client-certificate-data": base64(&self.certificates().join(format!("{name}.crt")))?,
                "client-key-data": base64(&self.certificates().join(format!("{name}.key")))?,
            });
            write_kubeconfig(&self.folder.join(file), &self.folder, &self.server(), user, &credentials)?;
        }
        let scheduler = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {
                "kubeconfig": self.folder.join("scheduler.kubeconfig"), "qps": 500, "burst": 1000,
            },
            "leaderElection": {"leaderElect": false},
            // Everything else is the default; a pod that did not fit is only looked at again sooner.
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 2,
        });
        self.put("scheduler.yaml", &scheduler.to_string())?;
        self.put("kwok.yaml", include_str!("../configuration/kwok-stages.yaml"))?;
        self.put("audit-policy.yaml", include_str!("../configuration/audit-policy.yaml"))
    }

    fn put(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn etcd(&self) -> Vec<String> {
        let Ports { etcd, peer, .. } = self.ports;
        vec![
            "--name=test".into(),
            format!("--data-dir={}", self.file("etcd")),
            // What is thrown away need not survive a power cut.
            "--unsafe-no-fsync".into(),
            format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=test=http://127.0.0.1:{peer}"),
            "--log-level=warn".into(),
        ]
    }

    pub(crate) fn api_server(&self) -> Vec<String> {
        let certificates = self.certificates();
        let certificates = certificates.display();
        vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.api_server),
            // An endpoint on loopback is refused, and nothing inside this cluster would use it.
            "--endpoint-reconciler-type=none".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            format!("--tls-cert-file={certificates}/server.crt"),
            format!("--tls-private-key-file={certificates}/server.key"),
            format!("--client-ca-file={certificates}/ca.crt"),
            "--authorization-mode=Node,RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-signing-key-file={certificates}/service-accounts.key"),
            format!("--service-account-key-file={certificates}/service-accounts.pub"),
            format!("--audit-policy-file={}", self.file("audit-policy.yaml")),
            format!("--audit-log-path={}", self.file("audit.log")),
            "--allow-privileged=true".into(),
            "--profiling=false".into(),
        ]
    }

    pub(crate) fn controller_manager(&self) -> Vec<String> {
        let certificates = self.certificates();
        let certificates = certificates.display();
        vec![
            format!("--kubeconfig={}", self.file("controller-manager.kubeconfig")),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.controller_manager),
            format!("--tls-cert-file={certificates}/server.crt"),
            format!("--tls-private-key-file={certificates}/server.key"),
            "--leader-elect=false".into(),
            "--use-service-account-credentials=true".into(),
            format!("--service-account-private-key-file={certificates}/service-accounts.key"),
            format!("--root-ca-file={certificates}/ca.crt"),
            "--kube-api-qps=500".into(),
            "--kube-api-burst=1000".into(),
            // A claim that is there before its volume is looked at again after this.
            "--pvclaimbinder-sync-period=1s".into(),
            "--profiling=false".into(),
        ]
    }

    pub(crate) fn scheduler(&self) -> Vec<String> {
        let certificates = self.certificates();
        let certificates = certificates.display();
        vec![
            format!("--config={}", self.file("scheduler.yaml")),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.scheduler),
            format!("--tls-cert-file={certificates}/server.crt"),
            format!("--tls-private-key-file={certificates}/server.key"),
            "--profiling=false".into(),
        ]
    }

    pub(crate) fn kwok(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.file("kwok.kubeconfig")),
            format!("--config={}", self.file("kwok.yaml")),
            format!("--manage-nodes-with-annotation-selector={}={}", PLAYED.0, PLAYED.1),
            format!("--server-address=127.0.0.1:{}", self.ports.kwok),
            "--node-lease-duration-seconds=40".into(),
        ]
    }
}

/// Writes a kubeconfig for one user of the control plane whose certificates lie in `folder`; only its owner may read it.
pub(crate) fn write_kubeconfig(
    file: &Path,
    folder: &Path,
    server: &str,
    user: &str,
    credentials: &Value,
) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    // JSON is YAML.
    let text = serde_json::to_string_pretty(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": server,
            "certificate-authority-data": base64(&folder.join("certificates/ca.crt"))?,
        }}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    }))?;
    let mut options = std::fs::OpenOptions::new();
    options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}

/// A file's bytes as kubeconfigs hold them.
fn base64(file: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(serde_json::to_value(ByteString(bytes))?)
}
