//! Whether a solution obeys its problem, in integers: the solver's own conscience (the plan's independent checker is
//! `plan::verify`).

use thiserror::Error;

use super::types::{Pattern, Problem, Solution};

/// A rule of the problem that a solution breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// The units placed and unplaced of a shape are not its count.
    #[error("shape {shape}: {found} units accounted for, {count} wanted")]
    Count {
        /// Shape index.
        shape: usize,
        /// Units placed and unplaced.
        found: u64,
        /// Units wanted.
        count: u32,
    },
    /// A node holds what it can't.
    #[error("a node of bin {bin}: {reason}")]
    Node {
        /// Bin index.
        bin: usize,
        /// Which rule, in words.
        reason: String,
    },
    /// A rule across nodes is broken.
    #[error("{rule}: {reason}")]
    Across {
        /// The rule's name.
        rule: String,
        /// What is wrong, in words.
        reason: String,
    },
}

/// Whether one node of the pattern's bin holds the pattern: admission, capacity and all rules of one node.
pub fn fits(problem: &Problem, pattern: &Pattern) -> Result<(), String> {
    let bin = pattern.bin as usize;
    let mut used = vec![0_i64; problem.resources.len()];
    let mut held = vec![0_u32; problem.shapes.len()];
    for &(shape, units) in &pattern.counts {
        let shape = shape as usize;
        if !problem.bins[bin].admits.contains(shape) {
            return Err(format!("{} is not admitted", problem.shapes[shape].name));
        }
        held[shape] += units;
        for (sum, &take) in used.iter_mut().zip(problem.demand.row(shape)) {
            *sum += take * i64::from(units);
        }
    }
    for (resource, &sum) in used.iter().enumerate() {
        if sum > problem.capacity[[bin, resource]] {
            return Err(format!("{} is over capacity", problem.resources[resource]));
        }
    }
    let rules = &problem.rules;
    let sum_of = |set: &fixedbitset::FixedBitSet| -> u32 {
        let members = pattern.counts.iter().filter(|(shape, _)| set.contains(*shape as usize));
        members.map(|&(shape, units)| units * problem.shapes[shape as usize].unit.pods).sum()
    };
    for cap in &rules.node_caps {
        let pods = sum_of(&cap.members);
        let present = cap.present.get(&bin).copied().unwrap_or(0);
        if pods > 0 && pods + present > cap.limit {
            return Err(cap.name.clone());
        }
    }
    for spread in &rules.node_spreads {
        if sum_of(&spread.owners) > 0 && i64::from(sum_of(&spread.members)) > spread.room(bin) {
            return Err(spread.name.clone());
        }
    }
    for exclusive in &rules.node_exclusives {
        if sum_of(&exclusive.left) > 0 && sum_of(&exclusive.right) > 0 {
            return Err(exclusive.name.clone());
        }
    }
    for together in &rules.node_togethers {
        if sum_of(&together.members) > 0 && !together.satisfied.contains(bin) && sum_of(&together.anchors) == 0 {
            return Err(together.name.clone());
        }
    }
    for flexible in rules.flexibles.iter().filter(|flexible| flexible.bins.contains(bin)) {
        let hosts: Vec<_> = flexible
            .hosts
            .iter()
            .filter(|host| {
                pattern.counts.iter().all(|(shape, _)| host.admits.contains(*shape as usize))
                    && used.iter().zip(&host.capacity).all(|(sum, room)| sum <= room)
            })
            .collect();
        for (index, &minimum) in flexible.minimum.iter().enumerate() {
            let mut values: Vec<u32> = hosts.iter().map(|host| host.values[index]).collect();
            values.sort_unstable();
            values.dedup();
            if (values.len() as u32) < minimum {
                return Err(flexible.name.clone());
            }
        }
    }
    Ok(())
}

impl Problem {
    /// Units placed by the solution, by shape.
    pub fn placed(&self, solution: &Solution) -> Vec<u64> {
        let mut placed = vec![0_u64; self.shapes.len()];
        for (pattern, copies) in &solution.nodes {
            for &(shape, units) in &pattern.counts {
                placed[shape as usize] += u64::from(units) * u64::from(*copies);
            }
        }
        placed
    }

    /// Price of the solution in billionths of a dollar an hour.
    pub fn cost(&self, solution: &Solution) -> i64 {
        solution.nodes.iter().map(|(pattern, copies)| self.bins[pattern.bin as usize].price * i64::from(*copies)).sum()
    }

    /// All that is wrong with a solution; empty where it is feasible.
    pub fn violations(&self, solution: &Solution) -> Vec<Violation> {
        let mut found = Vec::new();
        let placed = self.placed(solution);
        for (index, shape) in self.shapes.iter().enumerate() {
            let unplaced = solution.unplaced.get(index).copied().unwrap_or(0);
            let sum = placed[index] + u64::from(unplaced);
            if sum != u64::from(shape.count) {
                found.push(Violation::Count { shape: index, found: sum, count: shape.count });
            }
        }
        let opened = self.opened(solution);
        for (pattern, _) in &solution.nodes {
            if let Err(reason) = fits(self, pattern) {
                found.push(Violation::Node { bin: pattern.bin as usize, reason });
            }
        }
        for (bin, &copies) in opened.iter().enumerate() {
            if self.bins[bin].max_count.is_some_and(|most| copies > u64::from(most)) {
                found.push(Violation::Node { bin, reason: format!("{copies} copies are more than there are") });
            }
        }
        self.check_domains(solution, &mut found);
        for budget in &self.rules.node_budgets {
            let sum = budget.taken(&opened);
            // A limit below 0 (the pool is over it already) forbids more, not what is there.
            if sum > budget.limit.max(0) {
                found.push(across(&budget.name, format!("{sum} taken of {}", budget.limit)));
            }
        }
        found
    }

    /// By bin: nodes of a solution.
    pub(crate) fn opened(&self, solution: &Solution) -> Vec<u64> {
        let mut opened = vec![0_u64; self.bins.len()];
        solution.nodes.iter().for_each(|(pattern, copies)| opened[pattern.bin as usize] += u64::from(*copies));
        opened
    }

    /// Whether some of limits is to be used ([`Exhausted`](super::Exhausted)), and a solution leaves nothing of it.
    pub fn uses_up(&self, solution: &Solution) -> bool {
        !self.rules.exhausted.is_empty() && !self.leaves_room(solution)
    }

    /// Whether a solution leaves of limits what was to be used ([`Exhausted`](super::Exhausted)).
    pub fn leaves_room(&self, solution: &Solution) -> bool {
        let opened = self.opened(solution);
        let left: Vec<i64> =
            self.rules.node_budgets.iter().map(|budget| budget.limit - budget.taken(&opened)).collect();
        self.rules.exhausted.iter().any(|wish| wish.leaves_room(&left))
    }

    /// Pods of a set of shapes by domain of a topology.
    fn by_domain(&self, solution: &Solution, topology: usize, set: &fixedbitset::FixedBitSet) -> Vec<u64> {
        let mut sums = vec![0_u64; self.topologies[topology].values.len()];
        for (pattern, copies) in &solution.nodes {
            let Some(domain) = self.bins[pattern.bin as usize].domains[topology] else { continue };
            for &(shape, units) in &pattern.counts {
                if set.contains(shape as usize) {
                    let pods = self.shapes[shape as usize].unit.pods;
                    sums[domain as usize] += u64::from(units) * u64::from(pods) * u64::from(*copies);
                }
            }
        }
        sums
    }

    fn check_domains(&self, solution: &Solution, found: &mut Vec<Violation>) {
        for rule in &self.rules.spreads {
            let owners = self.by_domain(solution, rule.topology, &rule.owners);
            let mut counts = self.by_domain(solution, rule.topology, &rule.members);
            for (count, &present) in counts.iter_mut().zip(&rule.present) {
                *count += u64::from(present);
            }
            let mut awake = rule.eligible.clone();
            for (pattern, _) in &solution.nodes {
                let bin = &self.bins[pattern.bin as usize];
                if let Some(domain) = bin.domains[rule.topology].map(usize::from)
                    && rule.is_dormant(domain)
                {
                    awake[domain] = true;
                }
            }
            let eligible: Vec<u64> =
                counts.iter().zip(&awake).filter(|(_, awake)| **awake).map(|(count, _)| *count).collect();
            let short = rule.min_domains.is_some_and(|least| (eligible.len() as u32) < least);
            let minimum = if short { 0 } else { eligible.iter().copied().min().unwrap_or(0) };
            for (domain, &count) in counts.iter().enumerate() {
                if owners[domain] > 0 && count > minimum + u64::from(rule.max_skew) {
                    found.push(across(&rule.name, format!("{count} in domain {domain}, the least has {minimum}")));
                }
            }
        }
        for rule in &self.rules.domain_caps {
            for (domain, &count) in self.by_domain(solution, rule.topology, &rule.members).iter().enumerate() {
                if count > 0 && count + u64::from(rule.present[domain]) > u64::from(rule.limit) {
                    found.push(across(&rule.name, format!("{count} more in domain {domain}")));
                }
            }
        }
        for rule in &self.rules.domain_exclusives {
            let left = self.by_domain(solution, rule.topology, &rule.left);
            let right = self.by_domain(solution, rule.topology, &rule.right);
            for domain in 0..left.len() {
                if left[domain] > 0 && right[domain] > 0 {
                    found.push(across(&rule.name, format!("both in domain {domain}")));
                }
            }
        }
        for rule in &self.rules.domain_togethers {
            let members = self.by_domain(solution, rule.topology, &rule.members);
            let anchors = self.by_domain(solution, rule.topology, &rule.anchors);
            let free = rule.anchors.is_clear() && !rule.present.contains(&true);
            let astray = solution.nodes.iter().any(|(pattern, _)| {
                self.bins[pattern.bin as usize].domains[rule.topology].is_none()
                    && pattern.counts.iter().any(|(shape, _)| rule.members.contains(*shape as usize))
            });
            if astray {
                found.push(across(&rule.name, "on a node outside of any domain".to_owned()));
            }
            if free {
                if members.iter().filter(|count| **count > 0).count() > 1 {
                    found.push(across(&rule.name, "in more than one domain".to_owned()));
                }
            } else {
                for domain in 0..members.len() {
                    if members[domain] > 0 && anchors[domain] == 0 && !rule.present[domain] {
                        found.push(across(&rule.name, format!("alone in domain {domain}")));
                    }
                }
            }
        }
    }
}

fn across(rule: &str, reason: String) -> Violation {
    Violation::Across { rule: rule.to_owned(), reason }
}
