//! A linear program with whole-number columns as plain data: what the formulations produce and any solver can take.
//!
//! The text formats are CPLEX's LP format (<https://www.ibm.com/docs/en/icos/22.1.1?topic=cplex-lp-file-format-algebraic-representation>)
//! and free MPS (<https://lpsolve.sourceforge.net/5.5/mps-format.htm>), which HiGHS, SCIP, CBC, Gurobi and others read.

use std::fmt::Write as _;

use good_lp::{Constraint, Expression, ProblemVariables, SolverModel, Variable, variable};

/// A column: a variable of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, free of white space and operators.
    pub name: String,
    /// Its coefficient in the objective (dollars an hour).
    pub cost: f64,
    /// Its least value.
    pub lower: f64,
    /// Its greatest value; infinite for none.
    pub upper: f64,
    /// Whether it takes whole numbers only.
    pub integer: bool,
}

/// A row: `lower <= sum of coefficient x column <= upper`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name, free of white space and operators.
    pub name: String,
    /// Its least value; minus infinity for none.
    pub lower: f64,
    /// Its greatest value; infinity for none.
    pub upper: f64,
    /// Column index and coefficient.
    pub terms: Vec<(usize, f64)>,
}

/// A program to be minimised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinearModel {
    /// For people: what it is, one or more lines.
    pub title: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A name that every reader of LP and MPS takes: letters, digits, `_` and `.`, not starting like a number.
pub fn plain_name(text: &str) -> String {
    let mut name: String =
        text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).take(120).collect();
    if name.starts_with(|first: char| first.is_ascii_digit() || first == 'e' || first == 'E') || name.is_empty() {
        name.insert(0, '_');
    }
    name
}

impl LinearModel {
    /// Adds a column and tells its index.
    pub fn column(&mut self, name: String, cost: f64, bounds: (f64, f64), integer: bool) -> usize {
        self.columns.push(Column { name, cost, lower: bounds.0, upper: bounds.1, integer });
        self.columns.len() - 1
    }

    /// Adds a row and tells its index.
    pub fn row(&mut self, name: String, bounds: (f64, f64), terms: Vec<(usize, f64)>) -> usize {
        self.rows.push(Row { name, lower: bounds.0, upper: bounds.1, terms });
        self.rows.len() - 1
    }

    /// The value of the objective.
    pub fn objective(&self, values: &[f64]) -> f64 {
        self.columns.iter().zip(values).map(|(column, value)| column.cost * value).sum()
    }

    /// The largest amount by which a bound, a row or a whole number is missed.
    pub fn infeasibility(&self, values: &[f64]) -> f64 {
        let outside = |value: f64, lower: f64, upper: f64| (lower - value).max(value - upper).max(0.0);
        let columns = self.columns.iter().zip(values).map(|(column, &value)| {
            let fraction = if column.integer { (value - value.round()).abs() } else { 0.0 };
            outside(value, column.lower, column.upper).max(fraction)
        });
        let rows = self.rows.iter().map(|row| {
            let sum = row.terms.iter().map(|&(column, factor)| factor * values[column]).sum();
            outside(sum, row.lower, row.upper)
        });
        columns.chain(rows).fold(0.0, f64::max)
    }

    /// The program in good_lp's terms: the variables, the objective, the constraints, and a handle of each variable in
    /// the order of the columns.
    pub fn to_good_lp(&self) -> (ProblemVariables, Expression, Vec<Constraint>, Vec<Variable>) {
        let mut variables = ProblemVariables::new();
        let handles: Vec<Variable> = self
            .columns
            .iter()
            .map(|column| {
                let definition = variable().min(column.lower).max(column.upper);
                variables.add(if column.integer { definition.integer() } else { definition })
            })
            .collect();
        let mut objective = Expression::with_capacity(self.columns.len());
        for (column, &handle) in self.columns.iter().zip(&handles) {
            objective.add_mul(column.cost, handle);
        }
        let mut constraints = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut sum = Expression::with_capacity(row.terms.len());
            for &(column, factor) in &row.terms {
                sum.add_mul(factor, handles[column]);
            }
            if row.lower == row.upper {
                constraints.push(sum.eq(row.lower));
                continue;
            }
            if row.lower.is_finite() {
                constraints.push(sum.clone().geq(row.lower));
            }
            if row.upper.is_finite() {
                constraints.push(sum.leq(row.upper));
            }
        }
        (variables, objective, constraints, handles)
    }

    /// Solves the program with any of good_lp's solvers and tells the values of the columns.
    ///
    /// # Errors
    /// What the solver says where it finds no solution.
    pub fn solve_with<S: good_lp::Solver>(
        &self,
        solver: S,
    ) -> Result<Vec<f64>, <<S as good_lp::Solver>::Model as SolverModel>::Error> {
        use good_lp::Solution as _;
        let (variables, objective, constraints, handles) = self.to_good_lp();
        let solution = variables.minimise(objective).using(solver).with_all(constraints).solve()?;
        Ok(handles.iter().map(|&handle| solution.value(handle)).collect())
    }

    /// The program in LP format.
    pub fn to_lp(&self) -> String {
        let mut text = String::new();
        for line in self.title.lines() {
            let _ = writeln!(text, "\\ {line}");
        }
        text.push_str("Minimize\n obj:");
        let costs = self.columns.iter().enumerate().filter(|(_, column)| column.cost != 0.0);
        self.write_terms(&mut text, costs.map(|(index, column)| (index, column.cost)));
        text.push_str("\nSubject To\n");
        for row in &self.rows {
            let both = row.lower.is_finite() && row.upper.is_finite() && row.lower != row.upper;
            let mut line = |name: &str, sign: &str, side: f64| {
                let _ = write!(text, " {name}:");
                self.write_terms(&mut text, row.terms.iter().copied());
                let _ = writeln!(text, " {sign} {side}");
            };
            if row.lower == row.upper {
                line(&row.name, "=", row.lower);
            } else if both {
                line(&format!("{}_least", row.name), ">=", row.lower);
                line(&format!("{}_most", row.name), "<=", row.upper);
            } else if row.lower.is_finite() {
                line(&row.name, ">=", row.lower);
            } else if row.upper.is_finite() {
                line(&row.name, "<=", row.upper);
            }
        }
        text.push_str("Bounds\n");
        for column in &self.columns {
            if column.upper.is_finite() {
                let _ = writeln!(text, " {} <= {} <= {}", column.lower, column.name, column.upper);
            } else if column.lower != 0.0 {
                let _ = writeln!(text, " {} >= {}", column.name, column.lower);
            }
        }
        if self.columns.iter().any(|column| column.integer) {
            text.push_str("General\n");
            for column in self.columns.iter().filter(|column| column.integer) {
                let _ = writeln!(text, " {}", column.name);
            }
        }
        text.push_str("End\n");
        text
    }

    fn write_terms(&self, text: &mut String, terms: impl Iterator<Item = (usize, f64)>) {
        let mut written = 0;
        for (column, factor) in terms {
            // Readers limit the length of a line (CPLEX: 560 letters).
            if written > 0 && written % 6 == 0 {
                text.push_str("\n   ");
            }
            let sign = if factor < 0.0 { '-' } else { '+' };
            let _ = write!(text, " {sign} {} {}", factor.abs(), self.columns[column].name);
            written += 1;
        }
        if written == 0 {
            // A sum of nothing is not valid in the format.
            if let Some(first) = self.columns.first() {
                let _ = write!(text, " 0 {}", first.name);
            }
        }
    }

    /// The program in free MPS.
    pub fn to_mps(&self) -> String {
        let mut text = String::new();
        for line in self.title.lines() {
            let _ = writeln!(text, "* {line}");
        }
        text.push_str("NAME supercargo\nROWS\n N obj\n");
        for row in &self.rows {
            let kind = match (row.lower.is_finite(), row.upper.is_finite()) {
                _ if row.lower == row.upper => 'E',
                (true, _) => 'G',
                (false, true) => 'L',
                (false, false) => 'N',
            };
            let _ = writeln!(text, " {kind} {}", row.name);
        }
        let mut by_column: Vec<Vec<(usize, f64)>> = vec![Vec::new(); self.columns.len()];
        for (index, row) in self.rows.iter().enumerate() {
            for &(column, factor) in &row.terms {
                by_column[column].push((index, factor));
            }
        }
        text.push_str("COLUMNS\n");
        let mut whole = false;
        for (column, terms) in self.columns.iter().zip(&by_column) {
            if column.integer != whole {
                let marker = if column.integer { "INTORG" } else { "INTEND" };
                let _ = writeln!(text, " M 'MARKER' '{marker}'");
                whole = column.integer;
            }
            let _ = writeln!(text, " {} obj {}", column.name, column.cost);
            for &(row, factor) in terms {
                let _ = writeln!(text, " {} {} {}", column.name, self.rows[row].name, factor);
            }
        }
        if whole {
            text.push_str(" M 'MARKER' 'INTEND'\n");
        }
        text.push_str("RHS\n");
        for row in &self.rows {
            let side = if row.lower.is_finite() { row.lower } else { row.upper };
            if side.is_finite() && side != 0.0 {
                let _ = writeln!(text, " rhs {} {side}", row.name);
            }
        }
        text.push_str("RANGES\n");
        for row in &self.rows {
            if row.lower.is_finite() && row.upper.is_finite() && row.lower != row.upper {
                let _ = writeln!(text, " range {} {}", row.name, row.upper - row.lower);
            }
        }
        text.push_str("BOUNDS\n");
        for column in &self.columns {
            if column.lower != 0.0 {
                let _ = writeln!(text, " LO bound {} {}", column.name, column.lower);
            }
            if column.upper.is_finite() {
                let _ = writeln!(text, " UP bound {} {}", column.name, column.upper);
            } else if column.integer {
                // Without a bound many readers take whole numbers for binaries.
                let _ = writeln!(text, " PL bound {}", column.name);
            }
        }
        text.push_str("ENDATA\n");
        text
    }
}
