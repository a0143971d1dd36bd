//! One row a node, for a spreadsheet: cores and MiB as plain numbers, the pods' names in the last column.

use anyhow::Context;
use supercargo_models::plan::PlannedNode;

use super::Report;
use super::groups::usage;

const HEADER: [&str; 13] = [
    "name",
    "nodePool",
    "instanceType",
    "zone",
    "capacityType",
    "hourlyPrice",
    "cpuAllocatable",
    "cpuRequested",
    "memoryAllocatableMiB",
    "memoryRequestedMiB",
    "podsAllocatable",
    "pods",
    "podNames",
];

pub(super) fn render(report: &Report<'_>) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER).context("writing CSV")?;
    for node in &report.plan.nodes {
        writer.write_record(row(node)).context("writing CSV")?;
    }
    let bytes = writer.into_inner().map_err(|error| anyhow::anyhow!("writing CSV: {error}"))?;
    Ok(String::from_utf8(bytes)?)
}

fn row(node: &PlannedNode) -> [String; 13] {
    const MIB: f64 = 1024.0 * 1024.0;
    let number = |amount: f64| format!("{}", (amount * 1000.0).round() / 1000.0);
    let both = |resource: &str, unit: f64| {
        usage(node, resource)
            .map(|usage| (number(usage.allocatable / unit), number(usage.requested / unit)))
            .unwrap_or_default()
    };
    let (cpu, cpu_requested) = both("cpu", 1000.0);
    let (memory, memory_requested) = both("memory", MIB);
    let (pods, _) = both("pods", 1.0);
    [
        node.name.clone(),
        node.node_pool.clone(),
        node.instance_type.clone(),
        node.zone.clone(),
        node.capacity_type.clone(),
        format!("{}", node.hourly_price),
        cpu,
        cpu_requested,
        memory,
        memory_requested,
        pods,
        node.pods.len().to_string(),
        node.pods.join(" "),
    ]
}
