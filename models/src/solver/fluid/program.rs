//! Rows and columns of the fluid relaxation over some bins.

use crate::problem::Problem;
use crate::solver::columns::master::{Master, dollars};
use crate::solver::highs::LpColumn;
use crate::solver::model::LinearModel;

/// A unit that leaves so much of a node unused when the node holds as many of it as it can has a row of its own.
const WASTE: f64 = 0.1;

/// A bin of the program: where its rows and columns stand.
pub(in crate::solver) struct Part {
    pub bin: usize,
    /// Column of the number of nodes.
    pub nodes: usize,
    /// Shapes that may stand there, each with the column of its units.
    pub units: Vec<(usize, usize)>,
    /// The row by resource; `None` for one that no unit takes.
    capacity: Vec<Option<usize>>,
    /// Caps of one node that could bind: index of the rule, its row, and the room a node has.
    caps: Vec<(usize, usize, u32)>,
}

/// The rows of the master problem, and for each bin rows for what its nodes offer together.
pub(in crate::solver) struct Program<'a> {
    pub master: &'a Master<'a>,
    pub rows: Vec<(f64, f64)>,
    pub columns: Vec<LpColumn>,
    pub parts: Vec<Part>,
}

impl<'a> Program<'a> {
    /// The rows of the master problem and its extras; what no bin holds is left unplaced at a penalty.
    pub fn new(master: &'a Master<'a>) -> Self {
        let rows = master.rows.iter().map(|row| (row.lower, row.upper)).collect();
        let columns = master
            .extras
            .iter()
            .map(|extra| LpColumn {
                cost: extra.cost,
                lower: extra.lower,
                upper: extra.upper,
                terms: extra.terms.clone(),
            })
            .collect();
        Program { master, rows, columns, parts: Vec::new() }
    }

    /// Adds rows and columns of a bin.
    pub fn add(&mut self, bin: usize) {
        let problem = self.master.problem;
        let shapes: Vec<usize> = problem.bins[bin].admits.ones().filter(|&shape| self.holds(bin, shape)).collect();
        if shapes.is_empty() {
            return;
        }
        let resources = problem.resources.len();
        let below_zero = (f64::NEG_INFINITY, 0.0);
        let capacity: Vec<Option<usize>> = (0..resources)
            .map(|resource| {
                let taken = shapes.iter().any(|&shape| problem.demand[[shape, resource]] > 0);
                taken.then(|| self.row(below_zero))
            })
            .collect();
        let caps: Vec<(usize, usize, u32)> = (0..problem.rules.node_caps.len())
            .filter_map(|rule| cap_that_binds(problem, rule, bin, &shapes).map(|room| (rule, room)))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(rule, room)| (rule, self.row(below_zero), room))
            .collect();
        let mut terms = self.master.node_terms(bin);
        terms.extend(capacity.iter().flatten().map(|&row| (row, -1.0)));
        terms.extend(caps.iter().filter(|(_, _, room)| *room > 0).map(|&(_, row, room)| (row, -f64::from(room))));
        let nodes = self.columns.len();
        self.columns.push(LpColumn {
            cost: dollars(problem.bins[bin].price),
            lower: 0.0,
            upper: problem.bins[bin].max_count.map_or(f64::INFINITY, f64::from),
            terms,
        });
        let mut units = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let mut terms = self.master.unit_terms(bin, shape);
            terms.sort_unstable_by_key(|term| term.0);
            terms.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1 += later.1;
                }
                same
            });
            for (resource, row) in capacity.iter().enumerate() {
                let take = problem.demand[[shape, resource]];
                if let (Some(row), true) = (row, take > 0) {
                    terms.push((*row, take as f64 / problem.capacity[[bin, resource]] as f64));
                }
            }
            for &(rule, row, _) in &caps {
                if problem.rules.node_caps[rule].members.contains(shape) {
                    terms.push((row, f64::from(problem.shapes[shape].unit.pods.max(1))));
                }
            }
            units.push((shape, self.columns.len()));
            self.columns.push(LpColumn { cost: 0.0, lower: 0.0, upper: f64::INFINITY, terms });
        }
        self.parts.push(Part { bin, nodes, units, capacity, caps });
    }

    /// Leaves no unit unplaced.
    pub fn place_all(&mut self) {
        for extra in &mut self.columns[..self.master.problem.shapes.len()] {
            extra.upper = 0.0;
        }
    }

    /// Rows for how many units of a shape the nodes of a bin hold, where as many as one can hold leave much of it unused.
    pub fn limit(&mut self, bin: usize, most: &[(usize, u32)]) {
        let problem = self.master.problem;
        let Some(part) = self.parts.iter().position(|part| part.bin == bin) else { return };
        for &(shape, most) in most {
            let share = |resource: usize| {
                let room = problem.capacity[[bin, resource]].max(1) as f64;
                problem.demand[[shape, resource]] as f64 / room
            };
            let full = (0..problem.resources.len()).map(share).fold(0.0, f64::max);
            // A shape with less demand than that is limited by its cover row.
            if most >= problem.shapes[shape].count || full * f64::from(most) >= 1.0 - WASTE {
                continue;
            }
            let found = self.parts[part].units.iter().find(|(other, _)| *other == shape);
            let Some(&(_, units)) = found else { continue };
            let row = self.row((f64::NEG_INFINITY, 0.0));
            self.columns[units].terms.push((row, 1.0));
            let nodes = self.parts[part].nodes;
            self.columns[nodes].terms.push((row, -f64::from(most)));
        }
    }

    /// A row by which all nodes together are worth at least so much, `worth` by bin.
    pub fn demand_worth(&mut self, worth: &[f64], least: f64) {
        let scale = worth.iter().fold(least.abs(), |most, worth| most.max(worth.abs())).max(1e-12);
        let row = self.row((least / scale, f64::INFINITY));
        for part in &self.parts {
            if worth[part.bin] != 0.0 {
                self.columns[part.nodes].terms.push((row, worth[part.bin] / scale));
            }
        }
    }

    /// Lessens all that a node offers by a share of itself.
    pub fn lessen(&mut self, slack: f64) {
        let first = self.master.rows.len();
        for part in &self.parts {
            for (_, factor) in self.columns[part.nodes].terms.iter_mut().filter(|(row, _)| *row >= first) {
                *factor *= 1.0 - slack;
            }
        }
    }

    fn row(&mut self, sides: (f64, f64)) -> usize {
        self.rows.push(sides);
        self.rows.len() - 1
    }

    fn holds(&self, bin: usize, shape: usize) -> bool {
        let problem = self.master.problem;
        problem.demand.row(shape).iter().zip(problem.capacity.row(bin)).all(|(&take, &room)| take == 0 || room > 0)
    }

    /// The program with whole nodes and all that a node offers lessened by a share of itself.
    pub fn model(&self, slack: f64) -> LinearModel {
        let mut model = LinearModel { title: "The fluid relaxation with whole nodes".to_owned(), ..Default::default() };
        for (index, &sides) in self.rows.iter().enumerate() {
            model.row(format!("r{index}"), sides, Vec::new());
        }
        let mut nodes = vec![false; self.columns.len()];
        self.parts.iter().for_each(|part| nodes[part.nodes] = true);
        let first = self.master.rows.len();
        for (index, column) in self.columns.iter().enumerate() {
            let whole = nodes[index] || self.master.extras.get(index).is_some_and(|extra| extra.integer);
            let name = if nodes[index] { format!("n_{index}") } else { format!("u_{index}") };
            let handle = model.column(name, column.cost, (column.lower, column.upper), whole);
            for &(row, factor) in &column.terms {
                let factor = if nodes[index] && row >= first { factor * (1.0 - slack) } else { factor };
                model.rows[row].terms.push((handle, factor));
            }
        }
        model.rows.retain(|row| !row.terms.is_empty());
        model
    }
}

impl Part {
    /// What the duals say that the resources of one unit of a shape are worth on the bin, in dollars an hour. No pattern
    /// whose units are worth no more than they take is worth more than its node offers.
    pub fn take(&self, problem: &Problem, duals: &[f64], shape: usize) -> f64 {
        self.capacity
            .iter()
            .enumerate()
            .filter_map(|(resource, row)| row.map(|row| (resource, row)))
            .map(|(resource, row)| {
                let share =
                    problem.demand[[shape, resource]] as f64 / problem.capacity[[self.bin, resource]].max(1) as f64;
                (-duals[row]).max(0.0) * share
            })
            .sum()
    }

    /// By cap: what the duals say that one of its members takes.
    pub fn cap_prices<'d>(&'d self, duals: &'d [f64]) -> impl Iterator<Item = (usize, f64)> + 'd {
        self.caps.iter().map(|&(rule, row, _)| (rule, (-duals[row]).max(0.0)))
    }

    /// What the duals say that a whole node offers, in dollars an hour.
    pub fn offer(&self, duals: &[f64]) -> f64 {
        let resources: f64 = self.capacity.iter().flatten().map(|&row| (-duals[row]).max(0.0)).sum();
        let caps: f64 = self.caps.iter().map(|&(_, row, room)| f64::from(room) * (-duals[row]).max(0.0)).sum();
        resources + caps
    }
}

/// The room that a cap leaves on a node, where the units that it counts could exceed it.
fn cap_that_binds(problem: &Problem, rule: usize, bin: usize, shapes: &[usize]) -> Option<u32> {
    let cap = &problem.rules.node_caps[rule];
    let room = cap.limit.saturating_sub(cap.present.get(&bin).copied().unwrap_or(0));
    let most: u64 = shapes
        .iter()
        .filter(|&&shape| cap.members.contains(shape))
        .map(|&shape| {
            let by_room = problem
                .demand
                .row(shape)
                .iter()
                .zip(problem.capacity.row(bin))
                .filter(|(take, _)| **take > 0)
                .map(|(take, room)| u64::try_from(room / take).unwrap_or(0))
                .min();
            let units = by_room.unwrap_or(u64::MAX).min(u64::from(problem.shapes[shape].count));
            units * u64::from(problem.shapes[shape].unit.pods.max(1))
        })
        .sum();
    (most > u64::from(room)).then_some(room)
}
