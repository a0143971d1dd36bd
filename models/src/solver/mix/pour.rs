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

/// What pouring onto a mix came to.
pub(super) struct Poured {
    /// The share of the middle mix that is wanting; 0 where the mix suffices.
    pub missing: f64,
    /// Duals of the master problem's rows.
    pub duals: Vec<f64>,
    /// By shape: bins, each with the units poured there.
    pub units: Vec<Vec<(usize, f64)>>,
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
    /// By shape: bins, each with the column of the units poured there.
    units: Vec<Vec<(usize, usize)>>,
}

impl Pour {
    /// The program over some bins, `middle` nodes of each in the middle mix.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn new(master: &Master, pricing: &Pricing, bins: &[usize], middle: &[f64]) -> Result<Self, HighsError> {
        let mut program = Program::new(master);
        for &bin in bins {
            program.add(bin);
            program.limit(bin, &pricing.most_units(bin));
        }
        // A mix obeys these by itself.
        for row in master.node_rows() {
            program.rows[row] = (f64::NEG_INFINITY, f64::INFINITY);
        }
        program.place_all();
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
        let mut units = vec![Vec::new(); master.problem.shapes.len()];
        for part in &program.parts {
            for &(shape, column) in &part.units {
                let before = bought[..column].iter().filter(|bought| **bought).count();
                units[shape].push((part.bin, column - before));
            }
        }
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
        Ok(Pour { lp, rows: program.rows, nodes, masters: master.rows.len(), units })
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
        let mut duals = solution.duals.clone();
        duals.truncate(self.masters);
        let poured = |parts: &Vec<(usize, usize)>| {
            let units = parts.iter().map(|&(bin, column)| (bin, solution.columns[column]));
            units.filter(|(_, units)| *units > 1e-9).collect()
        };
        Ok(Poured { missing, duals, units: self.units.iter().map(poured).collect() })
    }
}
