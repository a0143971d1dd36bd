//! The programs that a control plane is made of.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The folder with the programs of one control plane.
#[derive(Clone, Debug)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// Finds the programs in the cache, or compiles them into it: 20 minutes of one core, once.
    ///
    /// # Errors
    /// If there is no Go and none can be had, or the build fails; the build has said why on standard error.
    pub fn built() -> anyhow::Result<Self> {
        let script = Path::new(env!("SUPERCARGO_SOURCE")).join("tests/cluster/control-plane/build.sh");
        let output = Command::new(&script)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("running {}", script.display()))?;
        if !output.status.success() {
            bail!("{} failed: {}", script.display(), output.status);
        }
        let folder = String::from_utf8(output.stdout).context("the build's answer")?;
        Ok(Parts { folder: PathBuf::from(folder.trim()) })
    }

    /// The path of one program, `kube-apiserver` say.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that holds them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Modules and versions that the programs are to be compiled from, one a line.
    pub fn pinned() -> String {
        const MODULES: [&str; 3] = ["k8s.io/kubernetes", "go.etcd.io/etcd/server/v3", "sigs.k8s.io/kwok"];
        include_str!("../control-plane/go.mod")
            .lines()
            .filter_map(|line| line.trim().split_once(' '))
            .filter(|(module, _)| MODULES.contains(module))
            .map(|(module, version)| format!("  {module} {version}\n"))
            .collect()
    }

    /// Modules and versions that the programs were compiled from, one a line.
    ///
    /// # Errors
    /// If the cache is damaged.
    pub fn versions(&self) -> anyhow::Result<String> {
        let file = self.folder.join("versions");
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }
}
