//! Rules of one node: admission, capacity, host ports.

use super::broken::{Findings, Rule};
use super::matching::untolerated;
use super::offerings::{requested, unit};
use super::profile::HostPort;
use super::state::{Machine, State};
use super::volumes::Reach;

/// Judges every machine with a waiting pod on it.
pub(super) fn check(state: &State, findings: &mut Findings) {
    for machine in state.machines.iter().filter(|machine| !machine.pods.is_empty()) {
        admission(state, machine, findings);
        capacity(state, machine, findings);
        ports(state, machine, findings);
        attachments(state, machine, findings);
    }
}

fn admission(state: &State, machine: &Machine, findings: &mut Findings) {
    for &(at, _) in &machine.pods {
        let profile = &state.world.profiles[at];
        if !profile.likes(&machine.labels) {
            findings.add(
                Rule::NodeAffinity,
                machine.name,
                format!("node selector or affinity of {} does not match", profile.name),
            );
        }
        if !profile.runs_on(&machine.labels) {
            let message = format!("{} is for Windows, which the node does not run", profile.name);
            findings.add(Rule::NodeAffinity, machine.name, message);
        }
        if let Some(taint) = untolerated(profile.tolerations(), machine.taints) {
            findings.add(
                Rule::Taints,
                machine.name,
                format!("{} does not tolerate {}:{}", profile.name, taint.key, taint.effect),
            );
        }
        if !profile.reaches(&machine.labels) {
            let why = profile.reach.iter().find_map(|reach| match reach {
                Reach::Nowhere(why) => Some(why.as_str()),
                _ => None,
            });
            let why = why.unwrap_or("it lies elsewhere");
            findings.add(Rule::Volumes, machine.name, format!("a volume of {} can't be reached: {why}", profile.name));
        }
    }
}

fn capacity(state: &State, machine: &Machine, findings: &mut Findings) {
    let sum = requested(state, machine);
    for (column, amount) in sum.present() {
        // What only runs there already may be more than fits; a pod that asks for nothing of it does no harm.
        let asked = machine.pods.iter().any(|&(at, _)| state.world.profiles[at].requests.get(column) > 0);
        if asked && amount > machine.allocatable.get(column) {
            let name = &state.world.table.names()[column];
            let unit = unit(name);
            let room = machine.allocatable.get(column);
            findings.add(Rule::Capacity, machine.name, format!("{name}: {amount}{unit} asked of {room}{unit}"));
        }
    }
}

fn ports(state: &State, machine: &Machine, findings: &mut Findings) {
    let mut taken: Vec<&HostPort> = machine.ports.iter().collect();
    for &(at, count) in &machine.pods {
        let profile = &state.world.profiles[at];
        for port in &profile.ports {
            if count > 1 || taken.iter().any(|other| other.conflicts(port)) {
                findings.add(Rule::HostPorts, machine.name, format!("{port} of {} is taken twice", profile.name));
            }
        }
        taken.extend(&profile.ports);
    }
}

fn attachments(state: &State, machine: &Machine, findings: &mut Findings) {
    let mut volumes = machine.volumes.clone();
    for &(at, count) in &machine.pods {
        volumes.add(&state.world.profiles[at], count);
    }
    let pods = machine.pods.iter().map(|&(at, _)| &state.world.profiles[at]);
    if let Some((driver, count, most)) = volumes.exceed(machine.most_volumes, pods) {
        let message = format!("{count} volumes of {driver}, of which {most} can be attached");
        findings.add(Rule::VolumeLimits, machine.name, message);
    }
}
