//! Shapes before they are numbered: pods that no rule and no node can tell apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fixedbitset::FixedBitSet;

use super::PodRef;
use super::market::{HOSTNAME, Market};
use super::model::PoolBudget;
use super::reading::{Owned, Reading};
use super::standing::Standing;
use crate::catalog::Catalog;
use crate::kubernetes::Snapshot;

/// Pods that the solver can't tell apart.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// The workload of its first pod.
    pub name: String,
    /// All its pods, in the order they are placed.
    pub pods: Vec<PodRef>,
    /// Pods a unit.
    pub unit: u32,
    pub priority: i32,
    /// What one unit takes, by column.
    pub demand: Vec<i64>,
    /// All of these must be granted.
    pub admissions: Vec<usize>,
    /// The same without what is only preferred: where nodes for them are possible, so that a spread counts their domains.
    pub required: Vec<usize>,
    pub owned: BTreeSet<Owned>,
    /// Pod sets it belongs to.
    pub member: FixedBitSet,
}

impl Form {
    /// Whether each of its required affinity terms finds a pod among these sets or in itself.
    pub fn finds_company(&self, available: &FixedBitSet) -> bool {
        self.owned.iter().all(|owned| match owned {
            Owned::Together { pods, .. } => self.member.contains(*pods) || available.contains(*pods),
            _ => true,
        })
    }
}

/// Nodes that can be opened or are there.
pub(crate) struct Places<'a> {
    pub catalog: &'a Catalog,
    pub market: &'a Market,
    pub standing: &'a [Standing],
    pub budgets: &'a [PoolBudget],
}

impl Places<'_> {
    /// Whether one of them holds a unit of the form; of those for sale, one within the limits of its pool, with as many
    /// others beside it as the pool wants to choose from.
    fn hold(&self, form: &Form) -> bool {
        let holds = |node: &Standing| {
            form.admissions.iter().all(|one| node.admits.contains(*one))
                && form.demand.iter().zip(&node.room).all(|(need, room)| need <= room)
        };
        if self.standing.iter().any(|node| node.usable && holds(node)) {
            return true;
        }
        let mut pools: BTreeMap<usize, (bool, Vec<BTreeSet<&str>>)> = BTreeMap::new();
        for host in self.market.holding(form) {
            let variant = &self.market.variants[host.variant as usize];
            let asks = &variant.least_values;
            let (affordable, seen) =
                pools.entry(variant.pool).or_insert_with(|| (false, vec![BTreeSet::new(); asks.len()]));
            let capacity = &self.market.kinds[host.kind as usize].capacity;
            let limits = self.budgets.iter().filter(|budget| budget.pool == variant.name);
            *affordable = *affordable || limits.into_iter().all(|budget| budget.allows(capacity));
            for ((key, _), seen) in asks.iter().zip(seen.iter_mut()) {
                seen.extend(self.market.label(self.catalog, host, key));
            }
            if *affordable && asks.iter().zip(seen.iter()).all(|((_, least), seen)| seen.len() >= *least as usize) {
                return true;
            }
        }
        false
    }

    /// Values of a key on nodes that can be opened for the form, and on those that are there.
    fn domains(&self, form: &Form, key: &str) -> usize {
        let values = self.market.holding(form).filter_map(|host| self.market.label(self.catalog, host, key));
        values.chain(self.standing.iter().filter_map(|node| node.label(key))).collect::<BTreeSet<&str>>().len()
    }
}

/// What pods of one form have in common: demand, admission, rules, pod sets and priority.
type Alike<'a> = (Vec<i64>, usize, usize, &'a BTreeSet<Owned>, &'a FixedBitSet, i32);

/// Pods that can't be placed, with the reason.
pub(crate) type Refused = Vec<(PodRef, String)>;

/// Groups all waiting pods into forms; refuses those that nothing can help.
pub(crate) fn forms(
    snapshot: &Snapshot,
    reading: &Reading,
    places: &Places,
    columns: &[String],
) -> (Vec<Form>, Refused) {
    let mut refused = Refused::new();
    let hopeless = lonely(snapshot, reading);
    let mut known: HashMap<Alike, usize> = HashMap::new();
    let mut forms: Vec<Form> = Vec::new();
    for (index, (group, profile)) in snapshot.pending.iter().zip(&reading.profiles).enumerate() {
        let pods = (0..group.names.count()).map(|pod| PodRef { group: index as u32, index: pod });
        if let Some(reason) = profile.defect.as_ref().or(hopeless.get(&index)) {
            refused.extend(pods.map(|pod| (pod, reason.clone())));
            continue;
        }
        let demand: Vec<i64> = columns
            .iter()
            .map(|name| if name == "pods" { 1 } else { profile.requests.get(name).copied().unwrap_or(0) })
            .collect();
        let key =
            (demand.clone(), profile.admission, profile.required, &profile.owned, &profile.member, group.priority);
        let form = *known.entry(key).or_insert_with(|| {
            forms.push(Form {
                name: format!("{} {}/{}", group.owner.kind, group.namespace, group.owner.name),
                pods: Vec::new(),
                unit: 1,
                priority: group.priority,
                demand,
                admissions: vec![profile.admission],
                required: vec![profile.required],
                owned: profile.owned.clone(),
                member: profile.member.clone(),
            });
            forms.len() - 1
        });
        forms[form].pods.extend(pods);
    }
    forms.retain(|form| !form.pods.is_empty());
    bundle(reading, places, &mut forms, &mut refused);
    (forms, refused)
}

/// Groups whose required affinity nothing can ever satisfy: no such pod, or only pods that wait for each other.
fn lonely(snapshot: &Snapshot, reading: &Reading) -> BTreeMap<usize, String> {
    let needs = |index: usize| {
        reading.profiles[index].owned.iter().filter_map(|owned| match owned {
            Owned::Together { key, pods } => Some((key, *pods)),
            _ => None,
        })
    };
    let count = reading.profiles.len();
    // Pods that can be placed first, and then all that can follow them.
    let mut placeable = vec![false; count];
    let mut available = reading.present();
    let mut changed = true;
    while changed {
        changed = false;
        for (index, placed) in placeable.iter_mut().enumerate() {
            let profile = &reading.profiles[index];
            if !*placed
                && profile.defect.is_none()
                && snapshot.pending[index].names.count() > 0
                && needs(index).all(|(_, pods)| profile.member.contains(pods) || available.contains(pods))
            {
                *placed = true;
                available.union_with(&profile.member);
                changed = true;
            }
        }
    }
    let mut reasons = BTreeMap::new();
    for index in (0..count).filter(|index| !placeable[*index]) {
        let profile = &reading.profiles[index];
        let missing = needs(index).find(|(_, pods)| !profile.member.contains(*pods) && !available.contains(*pods));
        if let Some((key, pods)) = missing {
            let wanted = reading.pod_sets[pods].describe();
            let exists = reading.profiles.iter().any(|profile| profile.member.contains(pods));
            reasons.insert(
                index,
                if exists {
                    format!(
                        "required pod affinity on {key}: the pods it wants ({wanted}) can't be placed before it; one \
                         of them must be able to stand alone"
                    )
                } else {
                    format!("required pod affinity on {key}: no pod matches {wanted}; add such a pod or drop the term")
                },
            );
        }
    }
    reasons
}

/// Most pods of one form that one node may hold by its own rules, when no other like them is placed elsewhere.
fn most_on_a_node(reading: &Reading, places: &Places, form: &Form) -> u32 {
    let ports = form.admissions.iter().any(|index| !reading.admissions[*index].ports.is_empty());
    let mut most = if ports { 1 } else { u32::MAX };
    for owned in &form.owned {
        match owned {
            Owned::Apart { pods, .. } if form.member.contains(*pods) => most = 1,
            Owned::Spread { key, pods, max_skew, min_domains, .. } if form.member.contains(*pods) => {
                let domains = if key == HOSTNAME { usize::MAX } else { places.domains(form, key) };
                if domains > 1 || min_domains.is_some_and(|least| least > 1) {
                    most = most.min(*max_skew);
                }
            }
            _ => {}
        }
    }
    most
}

/// Whether pods of other forms that match can be placed without these: then each of these joins one of them, and they
/// need not share one node.
fn follows_others(reading: &Reading, places: &Places, forms: &[Form], pods: usize) -> bool {
    let rule = Owned::Together { key: HOSTNAME.to_owned(), pods };
    let waits = |form: &Form| form.owned.contains(&rule) && form.member.contains(pods);
    let mut available = reading.present();
    let mut rest: Vec<&Form> = forms.iter().filter(|form| !waits(form) && places.hold(form)).collect();
    loop {
        let (found, left): (Vec<&Form>, Vec<&Form>) = rest.iter().partition(|form| form.finds_company(&available));
        if found.is_empty() || available.contains(pods) {
            return available.contains(pods);
        }
        found.into_iter().for_each(|form| available.union_with(&form.member));
        rest = left;
    }
}

/// Joins pods that must share one node into one unit: required affinity on the host name with pods like themselves,
/// none of which is placed yet.
fn bundle(reading: &Reading, places: &Places, forms: &mut Vec<Form>, refused: &mut Refused) {
    let rules: BTreeSet<usize> = forms
        .iter()
        .flat_map(|form| &form.owned)
        .filter_map(|owned| match owned {
            Owned::Together { key, pods } if key == HOSTNAME => Some(*pods),
            _ => None,
        })
        .collect();
    for pods in rules {
        if follows_others(reading, places, forms, pods) {
            continue;
        }
        let rule = Owned::Together { key: HOSTNAME.to_owned(), pods };
        let (inside, outside): (Vec<Form>, Vec<Form>) =
            forms.drain(..).partition(|form| form.owned.contains(&rule) && form.member.contains(pods));
        *forms = outside;
        let Some(first) = inside.first() else { continue };
        let mut joined = Form { pods: Vec::new(), unit: 0, demand: vec![0; first.demand.len()], ..first.clone() };
        let mut full = false;
        for form in &inside {
            let mut most = most_on_a_node(reading, places, form);
            for unit in form.pods.chunks(form.unit as usize) {
                let mut larger = joined.clone();
                for (sum, more) in larger.demand.iter_mut().zip(&form.demand) {
                    *sum = sum.saturating_add(*more);
                }
                larger.admissions.extend(form.admissions.iter().filter(|one| !joined.admissions.contains(one)));
                larger.required.extend(form.required.iter().filter(|one| !joined.required.contains(one)));
                larger.owned.extend(form.owned.iter().cloned());
                larger.member.union_with(&form.member);
                larger.priority = larger.priority.max(form.priority);
                let first = joined.pods.is_empty();
                if first || (!full && most > 0 && places.hold(&larger)) {
                    most = most.saturating_sub(unit.len() as u32);
                    larger.pods.extend(unit);
                    joined = larger;
                } else {
                    full = true;
                    let reason = format!(
                        "required pod affinity on {HOSTNAME}: all pods that match {} must share one node, and the \
                         largest allowed one holds {} of them; lower their requests or allow larger nodes",
                        reading.pod_sets[pods].describe(),
                        joined.pods.len()
                    );
                    refused.extend(unit.iter().map(|pod| (*pod, reason.clone())));
                }
            }
        }
        joined.unit = joined.pods.len() as u32;
        forms.push(joined);
    }
}
