//! Required pod affinity and anti-affinity.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>
//!
//! Anti-affinity is symmetric, so it must hold in the final state whatever the order of binding. Affinity depends on the
//! order: a pod needs company that is there before it, except the first of pods that select themselves. It must hold for
//! whatever order kube-scheduler takes, as long as it tries again those for whom there is no place yet.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::broken::{Findings, Rule};
use super::profile::{Identity, Term};
use super::state::{Resident, State};

/// Two pods of one domain that must not be, by the first term found.
pub(super) fn check_anti(state: &State, findings: &mut Findings) {
    for (owner, profile) in state.world.profiles.iter().enumerate() {
        if state.by_profile[owner].is_empty() {
            continue;
        }
        for term in &profile.anti_affinity {
            check_term(state, owner, term, findings);
        }
    }
}

/// Profiles that a term selects.
pub(super) fn selected(state: &State, term: &Term) -> Vec<usize> {
    state.select(term.selector.pivot(), |pod| term.selects(pod, &state.world.namespaces))
}

fn check_term(state: &State, owner: usize, term: &Term, findings: &mut Findings) {
    let mut domains: HashMap<&str, i64> = HashMap::new();
    for resident in state.residents_of(owner) {
        if let Some(domain) = state.machines[resident.machine].labels.get(&term.key) {
            *domains.entry(domain).or_default() += resident.count;
        }
    }
    for other in selected(state, term) {
        // What is bound already is not the plan's doing.
        if !state.waits(owner) && !state.waits(other) {
            continue;
        }
        for resident in state.residents_of(other) {
            let machine = &state.machines[resident.machine];
            let Some(domain) = machine.labels.get(&term.key) else { continue };
            let owners = domains.get(domain).copied().unwrap_or(0);
            if owners > i64::from(other == owner) {
                let (first, second) = (&state.world.profiles[owner].name, &state.world.profiles[other].name);
                let message = format!("{first} must not share {} {domain} with {second}", term.key);
                findings.add(Rule::PodAntiAffinity, machine.name, message);
                break;
            }
        }
    }
}

/// What one profile needs, and where it is so far.
#[derive(Clone)]
struct Needs {
    profile: usize,
    /// Whether it matches all of its own terms.
    selects_itself: bool,
    /// By term: domains with a pod that matches all terms.
    company: Vec<HashSet<String>>,
}

/// Pods with required affinity that an order of binding can leave without company.
///
/// kube-scheduler takes pods in an order of its own and tries those that wait again and again, so a plan must hold for
/// all orders. Company never goes away, so the only thing that an order can spoil is the exception: a pod that selects
/// itself may come first where nobody matches its terms yet. So each such profile is tried as the last one, too.
pub(super) fn check_affinity(state: &State, findings: &mut Findings) {
    let world = state.world;
    let mut needs: Vec<Needs> = Vec::new();
    let mut needs_of: HashMap<usize, usize> = HashMap::new();
    // For each profile: whose company it is.
    let mut company_of: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut late: Vec<Option<usize>> = vec![None];
    for (at, profile) in world.profiles.iter().enumerate().take(world.waiting) {
        if profile.affinity.is_empty() || state.by_profile[at].is_empty() {
            continue;
        }
        needs_of.insert(at, needs.len());
        let all_terms = |pod: Identity| profile.affinity.iter().all(|term| term.selects(pod, &world.namespaces));
        let selects_itself = all_terms(profile.identity);
        for other in state.select(profile.affinity[0].selector.pivot(), all_terms) {
            company_of.entry(other).or_default().push(needs.len());
            if selects_itself && other != at && state.waits(other) && late.last() != Some(&Some(at)) {
                late.push(Some(at));
            }
        }
        let company = vec![HashSet::new(); profile.affinity.len()];
        needs.push(Needs { profile: at, selects_itself, company });
    }
    if needs.is_empty() {
        return;
    }
    let (open, placed): (Vec<Resident>, Vec<Resident>) =
        state.residents.iter().partition(|resident| needs_of.contains_key(&resident.profile));
    for resident in placed {
        arrive(state, resident, &company_of, &mut needs);
    }
    let order = Order { state, needs_of, company_of };
    let mut alone: BTreeSet<(usize, usize)> = BTreeSet::new();
    for late in late {
        let left = order.left_alone(open.clone(), needs.clone(), late);
        alone.extend(left.iter().map(|resident| (resident.machine, resident.profile)));
    }
    for (machine, profile) in alone {
        let message = format!("{} may find none of the pods it requires nearby", world.profiles[profile].name);
        findings.add(Rule::PodAffinity, state.machines[machine].name, message);
    }
}

/// What never changes while orders are tried.
struct Order<'s, 'w> {
    state: &'s State<'w>,
    needs_of: HashMap<usize, usize>,
    company_of: HashMap<usize, Vec<usize>>,
}

impl Order<'_, '_> {
    /// Binds one after the other of `open` while company can be found, those of `late` only when nobody else can be
    /// bound; tells who is left.
    fn left_alone(&self, mut open: Vec<Resident>, mut needs: Vec<Needs>, late: Option<usize>) -> Vec<Resident> {
        let mut waiting: Vec<Resident> = Vec::new();
        if let Some(late) = late {
            (waiting, open) = open.into_iter().partition(|resident| resident.profile == late);
        }
        loop {
            let before = open.len();
            open.retain(|resident| {
                let alone = !is_met(self.state, *resident, &needs[self.needs_of[&resident.profile]]);
                if !alone {
                    arrive(self.state, *resident, &self.company_of, &mut needs);
                }
                alone
            });
            if open.len() < before {
                continue;
            }
            if let Some(first) = open.iter().position(|resident| self.may_be_first(*resident, &needs)) {
                arrive(self.state, open.remove(first), &self.company_of, &mut needs);
            } else if waiting.is_empty() {
                return open;
            } else {
                open.append(&mut waiting);
            }
        }
    }

    /// Whether it needs no company, since nobody matches its terms yet and it would be the first.
    fn may_be_first(&self, resident: Resident, needs: &[Needs]) -> bool {
        let needs = &needs[self.needs_of[&resident.profile]];
        let labels = &self.state.machines[resident.machine].labels;
        let terms = &self.state.world.profiles[needs.profile].affinity;
        needs.selects_itself
            && needs.company.iter().all(HashSet::is_empty)
            && terms.iter().all(|term| labels.get(&term.key).is_some())
    }
}

fn arrive(state: &State, resident: Resident, company_of: &HashMap<usize, Vec<usize>>, needs: &mut [Needs]) {
    let labels = &state.machines[resident.machine].labels;
    for &whose in company_of.get(&resident.profile).into_iter().flatten() {
        let terms = &state.world.profiles[needs[whose].profile].affinity;
        for (term, domains) in terms.iter().zip(&mut needs[whose].company) {
            if let Some(domain) = labels.get(&term.key)
                && !domains.contains(domain)
            {
                domains.insert(domain.to_owned());
            }
        }
    }
}

fn is_met(state: &State, resident: Resident, needs: &Needs) -> bool {
    let labels = &state.machines[resident.machine].labels;
    let terms = &state.world.profiles[needs.profile].affinity;
    terms.iter().zip(&needs.company).all(|(term, domains)| labels.get(&term.key).is_some_and(|at| domains.contains(at)))
}
