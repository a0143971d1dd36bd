//! Whether what is wanted can be poured onto the nodes of a mix, and what is worth how much where it can't.
//!
//! The fluid relaxation with the nodes of a mix given. Where they don't suffice, more of everything is bought in the
//! proportions of a mix in the middle of all good ones; the duals of the least share of it that suffices give a cut that
//! is good for all mixes and not only for this one (M. Conforti and L. A. Wolsey, "'Facet' separation with one linear
//! program", Mathematical Programming 178, 2019).

use crate::solver::Control;
use crate::solver::columns::Pricing;
use crate::solver::columns::master::Master;
use crate::solver::fluid::program::Program;
use crate::solver::highs::{HighsError, Lp, LpColumn};

/// A unit that leaves so much of a node unused when the node holds as many of it as it can has a row of its own.
const WASTE: f64 = 0.1;

/// What pouring onto a mix came to.
pub(super) struct Poured {
    /// The share of the middle mix that is wanting; 0 where the mix suffices.
    pub missing: f64,
    /// Duals of the master problem's rows.
    pub duals: Vec<f64>,
}

/// The linear program, kept warm from mix to mix.
pub(super) struct Pour {
    lp: Lp,
    /// Sides of the rows without nodes.
    rows: Vec<(f64, f64)>,
    /// By bin of the program: what one node adds to the rows; the shares that the slack lessens come last.
    nodes: Vec<Vec<(usize, f64)>>,
    /// The master problem's rows come first.
    masters: usize,
}

impl Pour {
    /// The program over some bins, `middle` nodes of each in the middle mix.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn new(master: &Master, pricing: &Pricing, bins: &[usize], middle: &[f64]) -> Result<Self, HighsError> {
        let problem = master.problem;
        let mut program = Program::new(master);
        for &bin in bins {
            program.add(bin);
            let holds = pricing.most_units(bin).into_iter().filter(|&(shape, most)| {
                let full = (0..problem.resources.len())
                    .map(|resource| {
                        let room = problem.capacity[[bin, resource]].max(1) as f64;
                        problem.demand[[shape, resource]] as f64 / room
                    })
                    .fold(0.0, f64::max);
                // A shape with less demand than that is limited by its cover row.
                most < problem.shapes[shape].count && full * f64::from(most) < 1.0 - WASTE
            });
            program.limit(bin, holds);
        }
        // A mix obeys these by itself.
        for row in master.node_rows() {
            program.rows[row] = (f64::NEG_INFINITY, f64::INFINITY);
        }
        for extra in &mut program.columns[..problem.shapes.len()] {
            extra.upper = 0.0;
        }
        let nodes: Vec<Vec<(usize, f64)>> = bins
            .iter()
            .map(|&bin| {
                let part = program.parts.iter().find(|part| part.bin == bin);
                part.map_or_else(Vec::new, |part| program.columns[part.nodes].terms.clone())
            })
            .collect();
        let mut all = vec![0.0; program.rows.len()];
        for (terms, share) in nodes.iter().zip(middle) {
            terms.iter().for_each(|&(row, factor)| all[row] += share * factor);
        }
        let mut bought = vec![false; program.columns.len()];
        program.parts.iter().for_each(|part| bought[part.nodes] = true);
        let mut columns: Vec<LpColumn> = program
            .columns
            .into_iter()
            .zip(bought)
            .filter(|(_, bought)| !bought)
            .map(|(column, _)| LpColumn { cost: 0.0, ..column })
            .collect();
        let terms = all.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0).collect();
        columns.push(LpColumn { cost: 1.0, lower: 0.0, upper: f64::INFINITY, terms });
        let mut lp = Lp::new(&program.rows)?;
        lp.add_columns(&columns)?;
        Ok(Pour { lp, rows: program.rows, nodes, masters: master.rows.len() })
    }

    /// Pours onto a mix (nodes by bin of the program) of which every node offers a share `slack` less.
    ///
    /// # Errors
    /// What HiGHS says.
    pub fn onto(&mut self, mix: &[f64], slack: f64, control: &dyn Control) -> Result<Poured, HighsError> {
        let mut added = vec![0.0; self.rows.len()];
        for (terms, nodes) in self.nodes.iter().zip(mix).filter(|(_, nodes)| **nodes > 0.0) {
            for &(row, factor) in terms {
                added[row] += nodes * factor * if row < self.masters { 1.0 } else { 1.0 - slack };
            }
        }
        for (row, (&(lower, upper), added)) in self.rows.iter().zip(&added).enumerate() {
            self.lp.bound_row(row, lower - added, upper - added)?;
        }
        let solution = self.lp.solve(control)?;
        let missing = solution.objective.max(0.0);
        let mut duals = solution.duals;
        duals.truncate(self.masters);
        Ok(Poured { missing, duals })
    }
}
