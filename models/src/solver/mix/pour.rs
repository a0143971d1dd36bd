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

/// The linear program, kept warm from mix to mix. Bins join it with the first mix that holds them.
pub(super) struct Pour<'a> {
    pricing: &'a Pricing<'a>,
    program: Program<'a>,
    lp: Lp,
    /// By bin of the problem, once it has joined: what one node adds to the rows; the shares that the slack lessens come last.
    nodes: Vec<Option<Vec<(usize, f64)>>>,
    /// The bin of each column of units, and its shape.
    units: Vec<(usize, usize)>,
    /// Columns before those of units.
    first: usize,
}

impl<'a> Pour<'a> {
    /// The program over the bins of a middle mix (nodes by bin of the problem).
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn new(master: &'a Master<'a>, pricing: &'a Pricing<'a>, middle: &[f64]) -> Result<Self, HighsError> {
        let mut program = Program::new(master);
        // A mix obeys these by itself.
        for row in master.node_rows() {
            program.rows[row] = (f64::NEG_INFINITY, f64::INFINITY);
        }
        program.place_all();
        let mut lp = Lp::new(&program.rows)?;
        let extras = program.columns.len();
        lp.add_columns(&program.columns)?;
        let bins = master.problem.bins.len();
        let mut pour = Pour { pricing, program, lp, nodes: vec![None; bins], units: Vec::new(), first: extras + 1 };
        let joining: Vec<usize> = (0..bins).filter(|&bin| middle[bin] > 0.0).collect();
        let columns = pour.rows_of(&joining)?;
        let mut all = vec![0.0; pour.program.rows.len()];
        for &bin in &joining {
            let terms = pour.nodes[bin].iter().flatten();
            terms.for_each(|&(row, factor)| all[row] += middle[bin] * factor);
        }
        let terms = all.into_iter().enumerate().filter(|(_, factor)| *factor != 0.0).collect();
        pour.lp.add_columns(&[LpColumn { cost: 1.0, lower: 0.0, upper: f64::INFINITY, terms }])?;
        pour.lp.add_columns(&columns)?;
        Ok(pour)
    }

    /// Adds the rows of some bins; the columns of their units.
    fn rows_of(&mut self, bins: &[usize]) -> Result<Vec<LpColumn>, HighsError> {
        let (rows, parts) = (self.program.rows.len(), self.program.parts.len());
        for &bin in bins {
            self.program.add(bin);
            self.program.limit(bin, &self.pricing.most_units(bin));
            self.nodes[bin] = Some(Vec::new());
        }
        self.lp.add_rows(&self.program.rows[rows..])?;
        let mut columns = Vec::new();
        for part in &self.program.parts[parts..] {
            self.nodes[part.bin] = Some(self.program.columns[part.nodes].terms.clone());
            for &(shape, column) in &part.units {
                self.units.push((part.bin, shape));
                columns.push(LpColumn { cost: 0.0, ..self.program.columns[column].clone() });
            }
        }
        Ok(columns)
    }

    /// Pours onto a mix (nodes by bin of the problem) of which every node offers a share `slack` less.
    ///
    /// # Errors
    /// What HiGHS says.
    pub fn onto(&mut self, mix: &[u32], slack: f64, control: &dyn Control) -> Result<Poured, HighsError> {
        let held = |bin: &usize| mix[*bin] > 0;
        let joining: Vec<usize> = (0..mix.len()).filter(held).filter(|&bin| self.nodes[bin].is_none()).collect();
        let columns = self.rows_of(&joining)?;
        self.lp.add_columns(&columns)?;
        let masters = self.program.master.rows.len();
        let mut added = vec![0.0; self.program.rows.len()];
        for bin in (0..mix.len()).filter(held) {
            for &(row, factor) in self.nodes[bin].iter().flatten() {
                added[row] += f64::from(mix[bin]) * factor * if row < masters { 1.0 } else { 1.0 - slack };
            }
        }
        for (row, (&(lower, upper), added)) in self.program.rows.iter().zip(&added).enumerate() {
            self.lp.bound_row(row, lower - added, upper - added)?;
        }
        let solution = self.lp.solve(control)?;
        let missing = solution.objective.max(0.0);
        let mut duals = solution.duals.clone();
        duals.truncate(masters);
        let mut units = vec![Vec::new(); self.program.master.problem.shapes.len()];
        for (&(bin, shape), &poured) in self.units.iter().zip(&solution.columns[self.first..]) {
            if poured > 1e-9 {
                units[shape].push((bin, poured));
            }
        }
        Ok(Poured { missing, duals, units })
    }
}
