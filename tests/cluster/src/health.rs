//! Waiting until a program answers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kube::{Client, Config};

use crate::processes::Processes;

/// The longest that one program may take on a machine that is busy with other things.
const LONGEST: Duration = Duration::from_secs(120);

/// Asks `url` until it answers with success; fails when the program ends, or after two minutes. The server has to show a
/// certificate of the authority in `certificates` if the address is one of https.
pub(crate) async fn wait(
    processes: &mut Processes,
    name: &str,
    address: &str,
    path: &str,
    certificates: &Path,
) -> anyhow::Result<()> {
    let mut config = Config::new(address.parse().context("an address")?);
    if address.starts_with("https:") {
        config.root_cert = Some(vec![der(&certificates.join("ca.crt"))?]);
    }
    config.connect_timeout = Some(Duration::from_secs(2));
    config.read_timeout = Some(Duration::from_secs(5));
    let client = Client::try_from(config)?;
    let start = Instant::now();
    loop {
        processes.check(name)?;
        let request = kube::core::Request::new(path).list(&kube::api::ListParams::default())?;
        let answer = client.request_text(request).await;
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > LONGEST => {
                bail!("{name} is not ready after {LONGEST:?}: {error}\n{}", processes.log_tail(name));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The bytes of the first certificate in a file of PEM.
fn der(file: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes: k8s_openapi::ByteString = serde_json::from_value(serde_json::Value::String(body))?;
    Ok(bytes.0)
}
