//! Nodes that would wake a dormant domain, left out where others do as well: every node of such a domain binds its
//! shapes to the spread that it wakes, so that nothing could be solved apart.

use std::borrow::Cow;

use crate::problem::{Bin, BinSource, Problem, ShapeSet, Spread};

/// Whether a node on this bin wakes a domain of a spread.
pub(super) fn wakes(spread: &Spread, bin: &Bin) -> bool {
    let domain = bin.domains[spread.topology].map(usize::from);
    domain.is_some_and(|domain| spread.is_dormant(domain) && !spread.eligible[domain])
}

/// The problem without its [`needless_wakers`], and without the dormant domains that no bin wakes any more.
pub(super) fn without_needless_wakers(problem: &Problem) -> Cow<'_, Problem> {
    let mut thinned = Cow::Borrowed(problem);
    let waking = needless_wakers(problem);
    if !waking.is_empty() {
        let thinned = thinned.to_mut();
        waking.into_iter().for_each(|bin| thinned.bins[bin].admits.clear());
    }
    if thinned.rules.spreads.iter().any(|spread| awake(spread, &thinned.bins).dormant != spread.dormant) {
        let Problem { bins, rules, .. } = thinned.to_mut();
        rules.spreads.iter_mut().for_each(|spread| *spread = awake(spread, bins));
    }
    thinned
}

/// A spread without the dormant domains in which no bin takes any shape: none of them will ever be woken.
pub(super) fn awake(spread: &Spread, bins: &[Bin]) -> Spread {
    let mut dormant = vec![false; spread.dormant.len()];
    for bin in bins.iter().filter(|bin| !bin.admits.is_clear()) {
        if let Some(domain) = bin.domains[spread.topology].map(usize::from).filter(|domain| spread.is_dormant(*domain))
        {
            dormant[domain] = true;
        }
    }
    if !dormant.contains(&true) {
        dormant.clear();
    }
    Spread { dormant, ..spread.clone() }
}

/// The bins that wake a domain and have a twin that wakes none: no dearer, no smaller, admitting no fewer shapes, and
/// alike in every domain that a rule of those shapes looks at.
///
/// Without them no solution is lost but for one at the same cost or less: each node on such a bin can stand on the twin
/// instead, and a domain that stays asleep only makes a minimum larger. Where a spread has fewer eligible domains than it
/// asks for, its domains may be worth waking, and the bins that do so are needed.
pub(crate) fn needless_wakers(problem: &Problem) -> Vec<usize> {
    let (mut waking, mut quiet) = (Vec::new(), Vec::new());
    for (index, bin) in problem.bins.iter().enumerate() {
        if !matches!(bin.source, BinSource::Offering(_)) || named_by_a_rule(problem, index) {
            continue;
        }
        let mut woken = problem.rules.spreads.iter().filter(|spread| wakes(spread, bin)).peekable();
        if woken.peek().is_none() {
            if bin.max_count.is_none() {
                quiet.push(index);
            }
        } else if woken.all(has_domains_enough) {
            waking.push(index);
        }
    }
    waking.retain(|bin| quiet.iter().any(|twin| stands_in(problem, *twin, *bin)));
    waking
}

/// Whether a spread's minimum counts whatever else wakes up.
fn has_domains_enough(spread: &Spread) -> bool {
    let eligible = spread.eligible.iter().filter(|eligible| **eligible).count();
    spread.min_domains.is_none_or(|least| least as usize <= eligible)
}

/// Whether a rule speaks of this bin by its number, in another way than what a node of it takes of a budget.
fn named_by_a_rule(problem: &Problem, bin: usize) -> bool {
    let rules = &problem.rules;
    rules.node_caps.iter().any(|rule| rule.present.contains_key(&bin))
        || rules.node_spreads.iter().any(|rule| rule.present.contains_key(&bin))
        || rules.node_togethers.iter().any(|rule| rule.satisfied.contains(bin))
        || rules.flexibles.iter().any(|rule| rule.bins.contains(bin))
}

/// Whether a node on `twin` does all that one on `bin` does, for no more.
fn stands_in(problem: &Problem, twin: usize, bin: usize) -> bool {
    let (own, other) = (&problem.bins[bin], &problem.bins[twin]);
    let no_smaller =
        || problem.capacity.row(twin).iter().zip(problem.capacity.row(bin)).all(|(has, needed)| has >= needed);
    if other.price > own.price || !no_smaller() || !other.admits.is_superset(&own.admits) {
        return false;
    }
    let frugal = problem.rules.node_budgets.iter().all(|budget| {
        let takes = |bin: usize| budget.per_node.get(&bin).copied().unwrap_or_default();
        takes(twin) <= takes(bin)
    });
    frugal
        && (0..own.domains.len()).all(|topology| {
            own.domains[topology] == other.domains[topology] || !looked_at(problem, topology, &own.admits)
        })
}

/// Whether a rule of some of these shapes looks at the domains of a topology.
fn looked_at(problem: &Problem, topology: usize, shapes: &ShapeSet) -> bool {
    let rules = &problem.rules;
    let some = |set: &ShapeSet| !set.is_disjoint(shapes);
    rules.spreads.iter().any(|rule| rule.topology == topology && (some(&rule.owners) || some(&rule.members)))
        || rules.domain_caps.iter().any(|rule| rule.topology == topology && some(&rule.members))
        || rules
            .domain_exclusives
            .iter()
            .any(|rule| rule.topology == topology && (some(&rule.left) || some(&rule.right)))
        || rules
            .domain_togethers
            .iter()
            .any(|rule| rule.topology == topology && (some(&rule.members) || some(&rule.anchors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Shape, Unit};
    use crate::solver::parts::independent;
    use crate::solver::test_problems::Patient;

    fn set(shapes: &[usize]) -> ShapeSet {
        let mut set = ShapeSet::with_capacity(2);
        set.extend(shapes.iter().copied());
        set
    }

    /// Shape 0 must spread over domain 0, the only one where it can stand; shape 1 has a bin there and one in domain 1.
    fn problem() -> Problem {
        let mut problem = Problem { resources: vec!["cpu".to_owned()], ..Problem::default() };
        for name in ["spread", "other"] {
            problem.shapes.push(Shape { name: name.to_owned(), count: 2, priority: 0, unit: Unit { pods: 1 } });
        }
        for (index, (domain, shape)) in [(0, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            problem.bins.push(Bin {
                name: format!("bin-{index}"),
                source: BinSource::Offering(index),
                price: 5,
                max_count: None,
                admits: set(&[shape]),
                domains: vec![Some(domain)],
            });
        }
        problem.demand = ndarray::Array2::from_elem((2, 1), 1);
        problem.capacity = ndarray::Array2::from_elem((3, 1), 4);
        let values = vec!["a".to_owned(), "b".to_owned()];
        problem.topologies.push(crate::problem::Topology { key: "zone".to_owned(), values });
        problem.rules.spreads.push(Spread {
            name: "zones".to_owned(),
            topology: 0,
            owners: set(&[0]),
            members: set(&[0]),
            max_skew: 1,
            min_domains: None,
            eligible: vec![true, false],
            dormant: vec![false, true],
            present: vec![0, 0],
        });
        problem
    }

    fn left_out(problem: &Problem) -> bool {
        let thinned = without_needless_wakers(problem);
        let sleeps = thinned.rules.spreads[0].is_dormant(1);
        assert_eq!(sleeps, thinned.bins.iter().any(|bin| bin.domains[0] == Some(1) && !bin.admits.is_clear()));
        assert_eq!(thinned.bins[0].admits, problem.bins[0].admits);
        assert_eq!(thinned.bins[1].admits, problem.bins[1].admits);
        thinned.bins[2].admits.is_clear()
    }

    #[test]
    fn a_twin_that_wakes_nothing_is_enough_and_leaves_the_shapes_apart() {
        let problem = problem();
        assert_eq!(independent(&problem).len(), 1);
        assert!(left_out(&problem));
        assert_eq!(independent(&without_needless_wakers(&problem)).len(), 2);
    }

    #[test]
    fn a_domain_that_stays_asleep_holds_nobody_back() {
        let settings = crate::solver::Settings { iterations: Some(20), ..Default::default() };
        let outcome = crate::solver::solve(&problem(), &settings, &Patient);
        assert_eq!(outcome.solution.unplaced, [0, 0]);
        // A node for each shape.
        assert_eq!(outcome.lower_bound, Some(10));
    }

    #[test]
    fn a_twin_may_admit_more_but_not_less() {
        let mut more = problem();
        more.bins[1].admits = set(&[0, 1]);
        assert!(left_out(&more));
        more.bins[2].admits = set(&[0, 1]);
        more.bins[1].admits = set(&[1]);
        assert!(!left_out(&more));
    }

    #[test]
    fn no_bin_is_left_out_for_one_that_is_worse() {
        let mut dearer = problem();
        dearer.bins[1].price = 6;
        assert!(!left_out(&dearer));
        let mut smaller = problem();
        smaller.capacity[[1, 0]] = 3;
        assert!(!left_out(&smaller));
        let mut few = problem();
        few.bins[1].max_count = Some(1);
        assert!(!left_out(&few));
        let mut budgeted = problem();
        let per_node = [(1, 2), (2, 1)].into_iter().collect();
        budgeted.rules.node_budgets.push(crate::problem::NodeBudget { name: "limit".to_owned(), per_node, limit: 4 });
        assert!(!left_out(&budgeted));
    }

    #[test]
    fn a_domain_that_its_own_shapes_or_a_minimum_of_domains_look_at_stays() {
        let mut looked_at = problem();
        let own = Spread { owners: set(&[1]), members: set(&[1]), ..looked_at.rules.spreads[0].clone() };
        looked_at.rules.spreads.push(Spread { eligible: vec![true, true], dormant: Vec::new(), ..own });
        assert!(!left_out(&looked_at));
        let mut wanted = problem();
        wanted.rules.spreads[0].min_domains = Some(2);
        assert!(!left_out(&wanted));
        wanted.rules.spreads[0].min_domains = Some(1);
        assert!(left_out(&wanted));
    }
}
