//! Domains that a problem can't tell apart, such as zones of equal prices: what is known of some bins is true of those in
//! the other domains as well.

use std::collections::BTreeMap;

use crate::problem::{Problem, Rules};

/// More domains of a topology than this are not looked at: their orders are too many.
const MOST_DOMAINS: usize = 4;

/// Ways to exchange some bins that the problem does not notice, other than none: by place, the place of the bin instead.
pub(super) fn exchanges(problem: &Problem, bins: &[usize]) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    for (topology, data) in problem.topologies.iter().enumerate() {
        let domains = data.values.len();
        if !(2..=MOST_DOMAINS).contains(&domains) {
            continue;
        }
        for order in orders(domains) {
            if order.iter().enumerate().any(|(domain, &other)| domain != other)
                && rules_allow(&problem.rules, topology, &order)
            {
                found.extend(exchange(problem, bins, topology, &order));
            }
        }
    }
    found
}

/// All orders of so many domains.
fn orders(domains: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..domains {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let others = (0..domains).filter(|domain| !order.contains(domain)).collect::<Vec<_>>();
                others.into_iter().map(move |domain| order.iter().copied().chain([domain]).collect())
            })
            .collect();
    }
    all
}

/// Whether every rule about a topology's domains says the same once they are exchanged.
fn rules_allow(rules: &Rules, topology: usize, order: &[usize]) -> bool {
    fn same<T: PartialEq>(values: &[T], order: &[usize]) -> bool {
        order.iter().enumerate().all(|(domain, &other)| values.get(domain) == values.get(other))
    }
    rules
        .spreads
        .iter()
        .filter(|rule| rule.topology == topology)
        .all(|rule| same(&rule.eligible, order) && same(&rule.dormant, order) && same(&rule.present, order))
        && rules.domain_caps.iter().filter(|rule| rule.topology == topology).all(|rule| same(&rule.present, order))
        && rules.domain_togethers.iter().filter(|rule| rule.topology == topology).all(|rule| same(&rule.present, order))
}

/// The bins in exchanged domains; `None` where some bin has no fellow there that is like it.
fn exchange(problem: &Problem, bins: &[usize], topology: usize, order: &[usize]) -> Option<Vec<usize>> {
    let rules = &problem.rules;
    let key = |bin: usize, domains: Vec<Option<u16>>| {
        let data = &problem.bins[bin];
        let budgets: Vec<Option<i64>> =
            rules.node_budgets.iter().map(|rule| rule.per_node.get(&bin).copied()).collect();
        let present: Vec<Option<u32>> = (rules.node_caps.iter().map(|rule| &rule.present))
            .chain(rules.node_spreads.iter().map(|rule| &rule.present))
            .map(|present| present.get(&bin).copied())
            .collect();
        let marks: Vec<bool> = (rules.node_togethers.iter().map(|rule| &rule.satisfied))
            .chain(rules.flexibles.iter().map(|rule| &rule.bins))
            .map(|bins| bins.contains(bin))
            .collect();
        let admits: Vec<usize> = data.admits.ones().collect();
        (domains, data.price, data.max_count, problem.capacity.row(bin).to_vec(), admits, budgets, present, marks)
    };
    let mut places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, &bin) in bins.iter().enumerate() {
        places.entry(key(bin, problem.bins[bin].domains.clone())).or_default().push(place);
    }
    let mut used: BTreeMap<usize, usize> = BTreeMap::new();
    let mut exchanged = Vec::with_capacity(bins.len());
    for &bin in bins {
        let mut domains = problem.bins[bin].domains.clone();
        domains[topology] = domains[topology].map(|domain| order[usize::from(domain)] as u16);
        let fellows = places.get(&key(bin, domains))?;
        let next = used.entry(fellows[0]).or_default();
        exchanged.push(*fellows.get(*next)?);
        *next += 1;
    }
    Some(exchanged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::solver::greedy::greedy;
    use crate::solver::mix;
    use crate::solver::test_problems::{Patient, optimum, random};

    /// A random problem whose two domains are alike.
    fn twofold(seed: u64, rules: u32) -> Problem {
        let mut problem = random(seed, rules);
        for place in [0, 2] {
            problem.bins[place + 1].price = problem.bins[place].price;
            problem.bins[place + 1].max_count = problem.bins[place].max_count;
        }
        problem.rules.spreads.iter_mut().for_each(|rule| rule.present.fill(0));
        problem.rules.domain_caps.iter_mut().for_each(|rule| rule.present.fill(0));
        problem.rules.domain_togethers.iter_mut().for_each(|rule| rule.present.fill(false));
        problem.rules.node_budgets.clear();
        problem
    }

    #[test]
    fn domains_are_exchanged_where_nothing_tells_them_apart() {
        let all = [0, 1, 2, 3];
        assert_eq!(exchanges(&twofold(1, 0), &all), [vec![1, 0, 3, 2]]);
        assert_eq!(exchanges(&twofold(1, 8), &all), [vec![1, 0, 3, 2]]);
        assert_eq!(exchanges(&twofold(1, 0), &[0, 1, 2]), Vec::<Vec<usize>>::new());
        let mut dearer = twofold(1, 0);
        dearer.bins[1].price += 1;
        assert!(exchanges(&dearer, &all).is_empty());
        let mut closed = twofold(1, 0);
        closed.bins[1].admits.clear();
        assert!(exchanges(&closed, &all).is_empty());
        let mut inhabited = twofold(1, 8);
        inhabited.rules.spreads[0].present[1] = 1;
        assert!(exchanges(&inhabited, &all).is_empty());
    }

    #[test]
    fn cuts_of_exchanged_domains_never_prove_more_than_the_optimum() {
        let (mut compared, mut proven) = (0, 0);
        for (seed, rules) in (0..80).zip([0, 1, 2, 4, 8, 16, 32, 128, 24, 191].into_iter().cycle()) {
            let problem = twofold(seed, rules);
            let first = greedy(&problem, None, 1, &Patient);
            if first.unplaced.iter().any(|units| *units > 0) {
                continue;
            }
            let best = problem.cost(&optimum(&problem));
            let bound = mix::proven(&problem, first);
            assert!(bound <= best, "seed {seed}: {bound} is above {best}");
            compared += 1;
            proven += usize::from(bound == best);
        }
        assert!(compared > 20 && proven * 4 > compared, "{proven} of {compared} are proven");
    }
}
