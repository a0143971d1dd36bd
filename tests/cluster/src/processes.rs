//! Starting programs, and ending exactly those.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long a program may take to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Ends the processes whose ids come in on its standard input, as soon as that closes, and removes their folder. Ids are
/// used again by the system, so each is looked at first: it must still work in our folder.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
while read -r pid; do pids="$pid $pids"; done
for pid in $pids; do
    [ "$(readlink "/proc/$pid/cwd")" = "$1" ] && kill -KILL "$pid"
done
for attempt in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$1" 2>/dev/null && exit 0
    sleep 0.1
done
rm -rf "$1"
"#;

/// The processes of one control plane, in the order they were started. All work in `folder` and log to it.
#[derive(Debug)]
pub(crate) struct Processes {
    folder: PathBuf,
    running: Vec<(String, Child)>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    child: Child,
    pids: Option<ChildStdin>,
}

impl Processes {
    /// None yet. With `watched`, those to come end with this process, even when it is killed.
    pub(crate) fn new(folder: &Path, watched: bool) -> anyhow::Result<Self> {
        let watchdog = if watched {
            let mut child = Command::new("/bin/sh")
                .args(["-c", WATCHDOG, "watchdog"])
                .arg(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .context("starting /bin/sh")?;
            let pids = child.stdin.take();
            Some(Watchdog { child, pids })
        } else {
            None
        };
        Ok(Processes { folder: folder.to_owned(), running: Vec::new(), watchdog })
    }

    /// Starts a program; what it prints goes to `NAME.log` in the folder.
    pub(crate) fn start(&mut self, name: &str, program: &Path, arguments: &[String]) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log(name))?;
        let errors: File = log.try_clone()?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // A Ctrl-C at the terminal is for whoever started us, who then ends these.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        if let Some(pids) = self.watchdog.as_mut().and_then(|watchdog| watchdog.pids.as_mut()) {
            writeln!(pids, "{}", child.id()).context("telling the watchdog")?;
        }
        self.running.push((name.to_owned(), child));
        Ok(())
    }

    /// Names and ids.
    pub(crate) fn ids(&self) -> Vec<(String, u32)> {
        self.running.iter().map(|(name, child)| (name.clone(), child.id())).collect()
    }

    /// An error with the end of its log if a program has ended.
    pub(crate) fn check(&mut self, name: &str) -> anyhow::Result<()> {
        let Some((_, child)) = self.running.iter_mut().find(|(running, _)| running == name) else {
            bail!("{name} was not started");
        };
        match child.try_wait()? {
            Some(status) => bail!("{name} ended: {status}\n{}", self.log_tail(name)),
            None => Ok(()),
        }
    }

    /// The last lines that a program logged.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        let log = std::fs::read(self.log(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Ends all, and removes the folder if a watchdog keeps it.
    pub(crate) fn end(&mut self) {
        for (_, mut child) in std::mem::take(&mut self.running).into_iter().rev() {
            // Nothing of a throw-away cluster is worth waiting for.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.pids.take());
            let _ = watchdog.child.wait();
        }
    }

    /// Lets the processes outlive this one.
    pub(crate) fn detach(mut self) {
        self.running.clear();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends processes that an earlier program started in `folder`, the last one first; an id that now belongs to something
/// else is left alone.
pub(crate) fn end_detached(folder: &Path, ids: &[(String, u32)]) -> anyhow::Result<()> {
    for (name, id) in ids.iter().rev() {
        if !works_in(*id, folder) {
            continue;
        }
        signal("TERM", *id)?;
        // kube-apiserver would wait for its watchers, who are ending as well.
        let grace = if name == "kube-apiserver" { GRACE / 10 } else { GRACE };
        let asked = Instant::now();
        while works_in(*id, folder) && asked.elapsed() < grace {
            std::thread::sleep(Duration::from_millis(20));
        }
        if works_in(*id, folder) {
            signal("KILL", *id)?;
        }
        // Until the system has forgotten it; without a parent that takes a moment.
        let ended = Instant::now();
        while Path::new(&format!("/proc/{id}")).exists() && ended.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Whether a process runs, and from this folder.
pub(crate) fn works_in(id: u32, folder: &Path) -> bool {
    std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|place| place == folder)
}

fn signal(name: &str, id: u32) -> anyhow::Result<()> {
    // Without unsafe code a signal is the shell's to send. It may fail: the process may just have ended.
    let command = format!("kill -{name} {id}");
    Command::new("/bin/sh").args(["-c", &command]).stderr(Stdio::null()).status().context("running kill")?;
    Ok(())
}
