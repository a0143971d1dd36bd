//! Nothing is large enough: what comes nearest, and what it would take.

use std::collections::BTreeSet;

use crate::catalog::{InstanceType, KubeletSettings, allocatable};
use crate::kubernetes::quantity::{Resources, describe};
use crate::kubernetes::volumes::ATTACHABLE;
use crate::problem::build::{Form, Host, Model, Variant, label};

/// The largest EBS volume that a class may ask for, in GiB
/// (<https://karpenter.sh/docs/concepts/nodeclasses/#specblockdevicemappings>).
const LARGEST_VOLUME: i64 = 59_000;
const GIB: i64 = 1 << 30;

/// Why nothing that admits a form holds it; `None` if something does.
pub(super) fn size(model: &Model, form: &Form) -> Option<String> {
    let admitted: Vec<&Host> = model
        .market
        .hosts
        .iter()
        .filter(|host| {
            let admits = &model.market.classes[host.class as usize].admits;
            form.admissions.iter().all(|one| admits.contains(*one))
        })
        .collect();
    if admitted.is_empty() {
        return Some("daemons take its host ports on every node; choose another port".to_owned());
    }
    let room = |kind: u32| &model.market.kinds[kind as usize].room;
    if admitted.iter().any(|host| form.demand.iter().zip(room(host.kind)).all(|(need, room)| need <= room)) {
        return None;
    }
    for (column, name) in model.columns.iter().enumerate() {
        let largest = admitted.iter().max_by_key(|host| room(host.kind)[column])?;
        let most = room(largest.kind)[column];
        let need = form.demand[column];
        if need <= most {
            continue;
        }
        let pool = &variant(model, largest).name;
        let instance = &model.catalog.instance_types[largest.instance as usize].name;
        if let Some(driver) = name.strip_prefix(ATTACHABLE) {
            return Some(format!(
                "{need} volumes of {driver} are more than can be attached to a node: the most in pool {pool} are \
                 {most}, to {instance}; mount fewer of them, or allow other instance types in the pool"
            ));
        }
        let fix = match name.as_str() {
            "ephemeral-storage" => storage(model, form, &admitted, column),
            _ => None,
        };
        let fix = fix.or_else(|| larger(model, form, largest)).unwrap_or_else(|| without(model, name, most));
        return Some(if most <= 0 {
            format!("no offering has {name} (it asks for {}); {fix}", describe(name, need))
        } else {
            format!(
                "no offering has {} {name}: the largest allowed by pool {pool} ({instance}) offers {}; {fix}",
                describe(name, need),
                describe(name, most)
            )
        });
    }
    let asks: Vec<_> = model
        .columns
        .iter()
        .zip(&form.demand)
        .filter(|(_, need)| **need > 0)
        .map(|(name, need)| format!("{name} {}", describe(name, *need)))
        .collect();
    let fix = larger(model, form, admitted[0]).unwrap_or_else(|| "no instance type has; ask for less".to_owned());
    Some(format!("no one offering has all it asks for at once ({}); {fix}", asks.join(", ")))
}

fn variant<'a>(model: &'a Model, host: &Host) -> &'a Variant {
    &model.market.variants[host.variant as usize]
}

/// The cheapest instance type of the whole catalogue that would hold a form, and what keeps it out of the pool.
fn larger(model: &Model, form: &Form, host: &Host) -> Option<String> {
    let variant = variant(model, host);
    let daemons = &model.market.kinds[host.kind as usize].daemons;
    let wanted: Vec<_> =
        form.admissions.iter().map(|one| &model.reading.labels[model.reading.admissions[*one].labels]).collect();
    let holds = |instance: &InstanceType| {
        let Ok(offered) = allocatable(instance, &variant.kubelet) else { return false };
        let of = |list: &Resources, name: &str| list.get(name).copied().unwrap_or(0);
        model
            .columns
            .iter()
            .zip(&form.demand)
            .filter(|(name, _)| !name.starts_with(ATTACHABLE))
            .all(|(name, need)| *need <= of(&offered, name) - of(daemons, name))
    };
    let least = |resource: &str| {
        let column = model.columns.iter().position(|name| name == resource);
        column.map_or(0, |column| form.demand[column])
    };
    let (cpu, memory) = (least("cpu"), least("memory"));
    let devices: Vec<(&String, i64)> = model
        .columns
        .iter()
        .zip(form.demand.iter().copied())
        .filter(|(name, need)| name.contains('/') && *need > 0)
        .collect();
    // Reading labels of all offerings takes longer than to see that a type is too small.
    let may_hold = |instance: &&InstanceType| {
        let has = |(name, need): &(&String, i64)| {
            instance.gpus.get(*name).is_some_and(|count| i64::try_from(*count).is_ok_and(|count| count >= *need))
                || instance.allocatable.as_ref().is_some_and(|stated| stated.contains_key(*name))
        };
        i64::from(instance.vcpu) * 1000 >= cpu
            && i64::try_from(instance.memory_mib).is_ok_and(|mib| mib.saturating_mul(1 << 20) >= memory)
            && devices.iter().all(has)
    };
    let mut cheapest: Option<(&InstanceType, usize)> = None;
    let price = |(instance, offering): (&InstanceType, usize)| instance.offerings[offering].price;
    for instance in model.catalog.instance_types.iter().filter(may_hold) {
        let fits = (0..instance.offerings.len()).filter(|index| {
            let of = |key: &str| label(model.catalog, &variant.labels, instance, Some(*index), key);
            wanted.iter().all(|labels| labels.matches(&of))
        });
        let best = fits.min_by(|one, other| price((instance, *one)).total_cmp(&price((instance, *other))));
        let Some(best) = best.map(|offering| (instance, offering)) else { continue };
        if cheapest.is_none_or(|known| price(best) < price(known)) && holds(instance) {
            cheapest = Some(best);
        }
    }
    let (instance, offering) = cheapest?;
    let of = |key: &str| label(model.catalog, &variant.labels, instance, Some(offering), key);
    let kept_out = variant.requirements.iter().find(|one| !one.matches(of(&one.key)));
    Some(match kept_out {
        Some(one) => format!(
            "allow {} in pool {} (its requirement {} keeps it out), or ask for less",
            instance.name,
            variant.name,
            one.describe()
        ),
        None => format!("allow {} to be bought for pool {}, or ask for less", instance.name, variant.name),
    })
}

/// No instance type of the catalogue has it.
fn without(model: &Model, name: &str, most: i64) -> String {
    let in_catalog = |instance: &InstanceType| {
        allocatable(instance, &KubeletSettings::default()).is_ok_and(|offered| offered.contains_key(name))
    };
    match name {
        "pods" => "raise spec.kubelet.maxPods of the EC2NodeClass".to_owned(),
        _ if most > 0 => "no instance type has more; ask for less".to_owned(),
        _ if name.starts_with("hugepages-") => format!(
            "no instance type has huge pages of itself: where your nodes' user data sets them up, say so in a NodeOverlay \
             (spec.capacity: {name}), or ask for memory"
        ),
        _ if model.catalog.instance_types.iter().any(in_catalog) => {
            format!("no instance type with {name} has all else that it asks for; ask for less")
        }
        _ => format!(
            "no instance type of the catalogue has it: where your nodes do, say so in a NodeOverlay (spec.capacity: {name})"
        ),
    }
}

/// How large the root volume of a pool's class would have to be.
fn storage(model: &Model, form: &Form, admitted: &[&Host], column: usize) -> Option<String> {
    let need = form.demand[column];
    let else_holds = |host: &&&Host| {
        let room = &model.market.kinds[host.kind as usize].room;
        form.demand.iter().zip(room).enumerate().all(|(index, (need, room))| index == column || need <= room)
    };
    let mut kinds = BTreeSet::new();
    let hosts = admitted.iter().filter(else_holds).filter(|host| kinds.insert(host.kind)).take(64);
    let (host, gib) =
        hosts.filter_map(|host| Some((host, root_volume(model, host, need)?))).min_by_key(|found| found.1)?;
    let variant = variant(model, host);
    let reference = model.snapshot.node_pools[variant.pool].spec.template.spec.node_class_ref.as_ref();
    let raise = match reference {
        None => format!("give pool {} an EC2NodeClass with a root volume of {gib}Gi", variant.name),
        Some(class) if class.kind == "EC2NodeClass" => {
            let is_there = model.snapshot.node_classes.iter().any(|one| {
                one.pointer("/metadata/name").and_then(serde_json::Value::as_str) == Some(class.name.as_str())
            });
            let absent = if is_there { "" } else { ", which is not in the input and counts as the default," };
            format!("raise the root volume of EC2NodeClass {}{absent} to {gib}Gi", class.name)
        }
        Some(_) => return None,
    };
    Some(format!("{raise} (spec.blockDeviceMappings: rootVolume, ebs.volumeSize), or ask for less"))
}

/// The least root volume, in GiB, that leaves so much for pods; `None` where no volume does.
fn root_volume(model: &Model, host: &Host, need: i64) -> Option<i64> {
    let instance = &model.catalog.instance_types[host.instance as usize];
    let daemons = &model.market.kinds[host.kind as usize].daemons;
    let settings = &variant(model, host).kubelet;
    let leaves = |gib: i64| {
        let settings = KubeletSettings { root_volume_bytes: Some(gib * GIB), ..settings.clone() };
        let offered = allocatable(instance, &settings).ok()?;
        let taken = daemons.get("ephemeral-storage").copied().unwrap_or(0);
        Some(offered.get("ephemeral-storage").copied().unwrap_or(0) - taken)
    };
    let (mut low, mut high) = (1, LARGEST_VOLUME);
    if leaves(high)? < need {
        return None;
    }
    while low < high {
        let middle = (low + high) / 2;
        if leaves(middle)? >= need { high = middle } else { low = middle + 1 }
    }
    Some(high)
}
