//! Preferences: honoured where they cost nothing, else given up one by one, the lightest first.
//!
//! A preference is a rule more, so the plan without preferences bounds the plan with them. All are tried at once; where
//! that costs, the stronger half is tried, and so on down to single wishes: those that cost nothing beside the stronger
//! ones that are kept are kept too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::levels::leaves_room;
use super::time::Verdict;
use super::transfer::{transfer, unplaced};
use super::{Answer, PlanError, Planner};
use crate::problem::build::{Built, Model, Options, Part, PodRef, Preference};
use crate::solver::Slice;
use crate::solver::{Control, Outcome, Settings, Status};

/// The most problems that are tried where time has no end.
const TRIES: u32 = 64;

/// Wishes named in a note.
const NAMED: usize = 6;

/// The plan with the preferences that cost nothing, and what is to be said of the others.
pub(super) struct Honoured<'a> {
    pub answer: Answer<'a>,
    pub kept: BTreeSet<Preference>,
    pub dear: Vec<Preference>,
    pub untried: Vec<Preference>,
}

impl Honoured<'_> {
    /// What is to be said of those that are not kept.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.dear.is_empty() {
            let words = "not all preferences are honoured, because no plan as cheap was found that honours them";
            notes.push(format!("{words}: {}", listed(&self.dear)));
        }
        if !self.untried.is_empty() {
            notes.push(format!("there was no time to try all preferences: {}", listed(&self.untried)));
        }
        notes
    }
}

/// Which wishes can be kept beside the plan without any.
struct Search<'p, 'a> {
    planner: &'p Planner<'a>,
    options: &'p Options,
    control: &'p dyn Control,
    /// The plan without preferences: what is right to pay, and the bound.
    bare: Answer<'a>,
    /// By pod: weight of the pools it may use.
    weights: HashMap<PodRef, Option<i32>>,
    /// The plan with those that are kept.
    best: Option<Answer<'a>>,
    kept: BTreeSet<Preference>,
    dear: Vec<Preference>,
    untried: Vec<Preference>,
    tries: u32,
    /// Whether a plan with preferences placed more pods than the one without, which was made again for that.
    placed_more: bool,
}

/// Tries the preferences on top of a plan without them.
pub(super) fn honour<'a>(
    planner: &Planner<'a>,
    options: &Options,
    bare: Answer<'a>,
    wishes: &BTreeSet<Preference>,
    control: &dyn Control,
) -> Result<Honoured<'a>, PlanError> {
    let weights = weights(&bare.model, &bare.built);
    let (kept, dear, untried) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut search = Search {
        planner,
        options,
        control,
        bare,
        weights,
        best: None,
        kept,
        dear,
        untried,
        tries: 0,
        placed_more: false,
    };
    let strongest_first: Vec<Preference> = wishes.iter().rev().cloned().collect();
    search.add(&strongest_first)?;
    let answer = match search.best {
        None => search.bare,
        Some(mut best) => {
            best.outcome = judged(&best, &search.bare.outcome);
            best
        }
    };
    let Search { kept, dear, untried, .. } = search;
    Ok(Honoured { answer, kept, dear, untried })
}

/// A solution with preferences, with the bound of the problem without them.
fn judged(best: &Answer, bare: &Outcome) -> Outcome {
    let cost = best.built.problem.cost(&best.outcome.solution);
    let status = Status::of(cost, bare.lower_bound);
    Outcome { solution: best.outcome.solution.clone(), status, ..bare.clone() }
}

/// `Deployment shop/web (preferred node affinity of weight 7), ...`.
fn listed(wishes: &[Preference]) -> String {
    let mut words: Vec<String> =
        wishes.iter().take(NAMED).map(|wish| format!("{} ({})", wish.workload, wish.wish)).collect();
    if wishes.len() > NAMED {
        words.push(format!("and {} more", wishes.len() - NAMED));
    }
    words.join(", ")
}

/// By pod: weight of the pools that it is planned in.
pub(super) fn weights(model: &Model, built: &Built) -> HashMap<PodRef, Option<i32>> {
    let parts = built.parts.iter().chain(&built.refused_parts);
    let pods = |part: &Part| &model.forms[part.form].pods[part.first..][..part.pods];
    parts.flat_map(|part| pods(part).iter().map(|pod| (*pod, part.weight))).collect()
}

impl<'a> Search<'_, 'a> {
    /// Keeps those of the wishes (strongest first) that cost nothing.
    fn add(&mut self, wishes: &[Preference]) -> Result<(), PlanError> {
        if wishes.is_empty() {
            return Ok(());
        }
        let endless = !self.control.remaining_seconds().is_finite();
        if self.control.exhausted() || (endless && self.tries >= TRIES) {
            self.untried.extend_from_slice(wishes);
            return Ok(());
        }
        if self.accepts(wishes)? {
            self.kept.extend(wishes.iter().cloned());
        } else if let [wish] = wishes {
            self.dear.push(wish.clone());
        } else {
            let (stronger, weaker) = wishes.split_at(wishes.len().div_ceil(2));
            self.add(stronger)?;
            self.add(weaker)?;
        }
        Ok(())
    }

    /// Whether there is a plan with these wishes beside those that are kept, that places the same pods and costs no more;
    /// it is the best one then.
    fn accepts(&mut self, wishes: &[Preference]) -> Result<bool, PlanError> {
        self.tries += 1;
        let preferences = self.kept.iter().chain(wishes).cloned().collect();
        let existing_only = self.bare.existing_only;
        let options = Options { preferences, existing_only, ..self.options.clone() };
        let model = Rc::new(self.planner.model(&options)?);
        let Some(parts) = parts_by_weight(&model, &self.weights) else { return Ok(false) };
        let built = self.planner.assemble(&model, &parts, existing_only);
        if built.refused.len() > self.bare.built.refused.len() {
            return Ok(false);
        }
        let best = self.best.as_ref().unwrap_or(&self.bare);
        let start = Some(transfer(&best.built, &best.outcome.solution, &built));
        let settings = Settings { start, ..self.planner.settings.clone() };
        // The first try is the likeliest to be the last.
        let share = Slice::of(self.control, if self.tries == 1 { 0.6 } else { 0.4 });
        // Counted rounds must give the same answer always, so nothing is cut short then.
        let target = settings.iterations.is_none().then_some(best.worth().1);
        let outcome = (self.planner.solve)(&built.problem, &settings, &Verdict::new(&share, target));
        let found = Answer { model, built, existing_only, outcome };
        let more = !self.placed_more && found.worth().0 < self.bare.worth().0;
        if more {
            self.place_more(&found);
        }
        let best = self.best.as_ref().unwrap_or(&self.bare);
        let same =
            unplaced(&found.built, &found.outcome.solution, &self.bare.built) == self.bare.outcome.solution.unplaced;
        // A tighter packing may leave room in heavier pools: then it is none of the pods' own weights.
        let free = same && found.worth() <= best.worth() && !leaves_room(&found);
        if free {
            self.best = Some(found);
        } else if more {
            // What was kept is kept beside a plan that places fewer pods.
            let again: Vec<Preference> = std::mem::take(&mut self.kept).into_iter().rev().collect();
            self.add(&again)?;
        }
        Ok(free)
    }

    /// Solves the problem without preferences again, beginning with a plan that places more pods than it did.
    fn place_more(&mut self, found: &Answer<'a>) {
        let start = Some(transfer(&found.built, &found.outcome.solution, &self.bare.built));
        let settings = Settings { start, ..self.planner.settings.clone() };
        let share = Slice::of(self.control, 0.6);
        let outcome = (self.planner.solve)(&self.bare.built.problem, &settings, &share);
        let former = std::mem::replace(&mut self.bare.outcome, outcome);
        self.placed_more = true;
        self.best = None;
        self.bare.outcome.notes.extend(former.notes);
    }
}

/// The pods of a model in the pools of given weights, without those that have none given; `None` where some that must
/// share a node are in pools of different weights.
pub(super) fn parts_by_weight(model: &Model, weights: &HashMap<PodRef, Option<i32>>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for (index, form) in model.forms.iter().enumerate() {
        let mut by_weight: BTreeMap<Option<i32>, usize> = BTreeMap::new();
        for unit in form.pods.chunks(form.unit as usize) {
            let Some(first) = unit.first().and_then(|pod| weights.get(pod)) else { continue };
            if unit.iter().any(|pod| weights.get(pod) != Some(first)) {
                return None;
            }
            *by_weight.entry(*first).or_default() += unit.len();
        }
        // Which of a form's pods are in which pools makes no difference.
        let mut first = 0;
        for (weight, pods) in by_weight.into_iter().rev() {
            parts.push(Part { form: index, first, pods, weight });
            first += pods;
        }
    }
    Some(parts)
}
