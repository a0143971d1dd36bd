//! Pods counted by domain, as the rules across nodes count them.

use super::index::Index;

/// One rule across nodes as one shape sees it.
#[derive(Clone, Copy, Debug)]
enum Part {
    Spread { rule: usize, owner: bool, member: bool },
    Cap { rule: usize },
    Left { rule: usize },
    Right { rule: usize },
    Member { rule: usize },
    Anchor { rule: usize },
}

/// What each rule across nodes has counted so far, by domain. `present` counts are in.
#[derive(Clone)]
pub(crate) struct Tally<'i, 'p> {
    index: &'i Index<'p>,
    parts: std::rc::Rc<Vec<Vec<Part>>>,
    spread_members: Vec<Vec<u64>>,
    spread_owners: Vec<Vec<u64>>,
    caps: Vec<Vec<u64>>,
    left: Vec<Vec<u64>>,
    right: Vec<Vec<u64>>,
    members: Vec<Vec<u64>>,
    anchors: Vec<Vec<u64>>,
    /// Members of a together rule that stand where there is no domain.
    astray: Vec<u64>,
}

impl<'i, 'p> Tally<'i, 'p> {
    /// The count before anything is placed.
    pub fn new(index: &'i Index<'p>) -> Self {
        let rules = &index.problem.rules;
        let domains = |topology: usize| index.problem.topologies[topology].values.len();
        let widen = |present: &[u32]| present.iter().map(|count| u64::from(*count)).collect::<Vec<u64>>();
        Tally {
            index,
            parts: std::rc::Rc::new(parts_by_shape(index)),
            spread_members: rules.spreads.iter().map(|rule| widen(&rule.present)).collect(),
            spread_owners: rules.spreads.iter().map(|rule| vec![0; domains(rule.topology)]).collect(),
            caps: rules.domain_caps.iter().map(|rule| widen(&rule.present)).collect(),
            left: rules.domain_exclusives.iter().map(|rule| vec![0; domains(rule.topology)]).collect(),
            right: rules.domain_exclusives.iter().map(|rule| vec![0; domains(rule.topology)]).collect(),
            members: rules.domain_togethers.iter().map(|rule| vec![0; domains(rule.topology)]).collect(),
            anchors: rules.domain_togethers.iter().map(|rule| vec![0; domains(rule.topology)]).collect(),
            astray: vec![0; rules.domain_togethers.len()],
        }
    }

    /// Adds units to a slot.
    pub fn add(&mut self, slot: usize, units: u32) {
        self.change(slot, i64::from(units));
    }

    /// Takes units out of a slot.
    pub fn remove(&mut self, slot: usize, units: u32) {
        self.change(slot, -i64::from(units));
    }

    fn change(&mut self, slot: usize, units: i64) {
        let slot = &self.index.slots[slot];
        let rules = &self.index.problem.rules;
        let units = units * i64::from(self.index.pods(slot.shape));
        let bump = |counts: &mut Vec<u64>, topology: usize| {
            if let Some(domain) = slot.tuple[topology] {
                counts[usize::from(domain)] = counts[usize::from(domain)].saturating_add_signed(units);
            }
        };
        for &part in &self.parts[slot.shape] {
            match part {
                Part::Spread { rule, owner, member } => {
                    if owner {
                        bump(&mut self.spread_owners[rule], rules.spreads[rule].topology);
                    }
                    if member {
                        bump(&mut self.spread_members[rule], rules.spreads[rule].topology);
                    }
                }
                Part::Cap { rule } => bump(&mut self.caps[rule], rules.domain_caps[rule].topology),
                Part::Left { rule } => bump(&mut self.left[rule], rules.domain_exclusives[rule].topology),
                Part::Right { rule } => bump(&mut self.right[rule], rules.domain_exclusives[rule].topology),
                Part::Member { rule } => {
                    let topology = rules.domain_togethers[rule].topology;
                    if slot.tuple[topology].is_none() {
                        self.astray[rule] = self.astray[rule].saturating_add_signed(units);
                    }
                    bump(&mut self.members[rule], topology);
                }
                Part::Anchor { rule } => bump(&mut self.anchors[rule], rules.domain_togethers[rule].topology),
            }
        }
    }

    /// Whether one more unit in the slot leaves it (and whatever it may disturb) within the rules.
    pub fn allows(&self, slot: usize) -> bool {
        let slot = &self.index.slots[slot];
        let rules = &self.index.problem.rules;
        let pods = u64::from(self.index.pods(slot.shape));
        self.parts[slot.shape].iter().all(|&part| match part {
            Part::Spread { rule, owner, member } => {
                let spread = &rules.spreads[rule];
                let Some(domain) = slot.tuple[spread.topology].map(usize::from) else { return !owner };
                if owner && !spread.eligible[domain] {
                    return false;
                }
                let more = if member { pods } else { 0 };
                !(owner || self.spread_owners[rule][domain] > 0)
                    || self.spread_members[rule][domain] + more
                        <= self.least(rule, domain, more) + u64::from(spread.max_skew)
            }
            Part::Cap { rule } => {
                let cap = &rules.domain_caps[rule];
                slot.tuple[cap.topology]
                    .is_none_or(|domain| self.caps[rule][usize::from(domain)] + pods <= u64::from(cap.limit))
            }
            Part::Left { rule } => slot.tuple[rules.domain_exclusives[rule].topology]
                .is_none_or(|domain| self.right[rule][usize::from(domain)] == 0),
            Part::Right { rule } => slot.tuple[rules.domain_exclusives[rule].topology]
                .is_none_or(|domain| self.left[rule][usize::from(domain)] == 0),
            Part::Member { rule } => {
                let together = &rules.domain_togethers[rule];
                let Some(domain) = slot.tuple[together.topology].map(usize::from) else { return false };
                if self.is_free(rule) {
                    self.members[rule].iter().enumerate().all(|(other, count)| other == domain || *count == 0)
                } else {
                    together.present[domain] || self.anchors[rule][domain] > 0
                }
            }
            Part::Anchor { .. } => true,
        })
    }

    /// Whether the members of a together rule may choose their common domain.
    fn is_free(&self, rule: usize) -> bool {
        let together = &self.index.problem.rules.domain_togethers[rule];
        together.anchors.is_clear() && !together.present.contains(&true)
    }

    /// The least count of an eligible domain with `more` units added to `domain`; 0 where too few are eligible.
    fn least(&self, rule: usize, domain: usize, more: u64) -> u64 {
        let spread = &self.index.problem.rules.spreads[rule];
        let eligible = spread.eligible.iter().filter(|eligible| **eligible).count();
        if spread.min_domains.is_some_and(|least| (eligible as u32) < least) {
            return 0;
        }
        let counts = &self.spread_members[rule];
        // A dormant domain is thought of as awake: nodes of others may be opened there.
        let awake = (0..counts.len()).filter(|domain| spread.eligible[*domain] || spread.is_dormant(*domain));
        awake.map(|other| counts[other] + if other == domain { more } else { 0 }).min().unwrap_or(0)
    }

    /// A domain rule that is broken, as what must go: one of these shapes must leave that domain of that topology
    /// (`None`: the nodes without a domain).
    pub fn broken(&self) -> Option<Excess> {
        let problem = self.index.problem;
        let rules = &problem.rules;
        for (index, rule) in rules.domain_togethers.iter().enumerate() {
            let excess =
                |domain, pods| Some(Excess { shapes: rule.members.clone(), topology: rule.topology, domain, pods });
            if self.astray[index] > 0 {
                return excess(None, self.astray[index]);
            }
            let members = &self.members[index];
            let keep = (0..members.len()).max_by_key(|&domain| (members[domain], usize::MAX - domain));
            for (domain, &count) in members.iter().enumerate().filter(|(_, count)| **count > 0) {
                let alone = if self.is_free(index) {
                    Some(domain) != keep
                } else {
                    self.anchors[index][domain] == 0 && !rule.present[domain]
                };
                if alone {
                    return excess(Some(domain as u16), count);
                }
            }
        }
        for (index, rule) in rules.domain_exclusives.iter().enumerate() {
            for domain in 0..self.left[index].len() {
                let (left, right) = (self.left[index][domain], self.right[index][domain]);
                if left > 0 && right > 0 {
                    let (set, pods) = if left < right { (&rule.left, left) } else { (&rule.right, right) };
                    let domain = Some(domain as u16);
                    return Some(Excess { shapes: set.clone(), topology: rule.topology, domain, pods });
                }
            }
        }
        for (index, rule) in rules.domain_caps.iter().enumerate() {
            for (domain, &count) in self.caps[index].iter().enumerate() {
                let most = u64::from(rule.limit.max(rule.present[domain]));
                if count > most {
                    let domain = Some(domain as u16);
                    let pods = count - most;
                    return Some(Excess { shapes: rule.members.clone(), topology: rule.topology, domain, pods });
                }
            }
        }
        for (index, rule) in rules.spreads.iter().enumerate() {
            for domain in 0..rule.present.len() {
                let count = self.spread_members[index][domain];
                let most = self.least(index, domain, 0) + u64::from(rule.max_skew);
                if self.spread_owners[index][domain] > 0 && count > most {
                    let placed = count - u64::from(rule.present[domain]);
                    // Where what was there already is too much, no owner may stay.
                    let (shapes, pods) = if count - most > placed {
                        (rule.owners.clone(), self.spread_owners[index][domain])
                    } else {
                        (rule.members.clone(), count - most)
                    };
                    let domain = Some(domain as u16);
                    return Some(Excess { shapes, topology: rule.topology, domain, pods });
                }
            }
        }
        None
    }
}

/// Pods that must leave a domain.
#[derive(Clone, Debug)]
pub(crate) struct Excess {
    /// Pods of any of these shapes.
    pub shapes: crate::problem::ShapeSet,
    pub topology: usize,
    pub domain: Option<u16>,
    /// So many of them.
    pub pods: u64,
}

fn parts_by_shape(index: &Index) -> Vec<Vec<Part>> {
    let rules = &index.problem.rules;
    let mut parts = vec![Vec::new(); index.problem.shapes.len()];
    for (number, rule) in rules.spreads.iter().enumerate() {
        for (shape, parts) in parts.iter_mut().enumerate() {
            let (owner, member) = (rule.owners.contains(shape), rule.members.contains(shape));
            if owner || member {
                parts.push(Part::Spread { rule: number, owner, member });
            }
        }
    }
    for (rule, cap) in rules.domain_caps.iter().enumerate() {
        cap.members.ones().for_each(|shape| parts[shape].push(Part::Cap { rule }));
    }
    for (rule, exclusive) in rules.domain_exclusives.iter().enumerate() {
        exclusive.left.ones().for_each(|shape| parts[shape].push(Part::Left { rule }));
        exclusive.right.ones().for_each(|shape| parts[shape].push(Part::Right { rule }));
    }
    for (rule, together) in rules.domain_togethers.iter().enumerate() {
        together.members.ones().for_each(|shape| parts[shape].push(Part::Member { rule }));
        together.anchors.ones().for_each(|shape| parts[shape].push(Part::Anchor { rule }));
    }
    parts
}
