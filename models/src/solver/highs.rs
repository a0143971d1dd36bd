//! HiGHS (<https://highs.dev>) behind a safe face: linear programs that grow by columns on a kept basis, and programs
//! built with good_lp run under a watch. The only file with `unsafe` code.
//!
//! HiGHS keeps one pool of threads for a process and refuses another count later: every instance here uses one thread,
//! and the solver runs several instances side by side instead.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use good_lp::solvers::highs::HighsProblem;
use highs_sys as sys;
use thiserror::Error;

use super::Control;

/// Why HiGHS gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HighsError {
    /// A call was refused.
    #[error("HiGHS refused {0}")]
    Refused(&'static str),
    /// The program ended without an answer that can be used.
    #[error("HiGHS ended with model status {0}")]
    Status(i32),
    /// Time ran out or someone asked to stop.
    #[error("HiGHS was stopped")]
    Stopped,
    /// The answer holds numbers that are none.
    #[error("HiGHS answered with numbers that are not finite")]
    Nonsense,
}

/// A column of a [`Lp`].
#[derive(Clone, Debug, Default)]
pub struct LpColumn {
    /// Objective coefficient.
    pub cost: f64,
    /// Least value.
    pub lower: f64,
    /// Greatest value.
    pub upper: f64,
    /// Row index and coefficient, ascending, each row once.
    pub terms: Vec<(usize, f64)>,
}

/// An optimal solution of a linear program.
#[derive(Clone, Debug, Default)]
pub struct LpSolution {
    /// Value of the objective.
    pub objective: f64,
    /// Value of each column.
    pub columns: Vec<f64>,
    /// Dual value of each row.
    pub duals: Vec<f64>,
}

/// What watches a running solver: the callback's user data.
struct Watch<'a> {
    control: &'a dyn Control,
    stopped: bool,
}

unsafe extern "C" fn on_callback(
    _kind: c_int,
    _message: *const c_char,
    _out: *const sys::HighsCallbackDataOut,
    data_in: *mut sys::HighsCallbackDataIn,
    user: *mut c_void,
) {
    if user.is_null() || data_in.is_null() {
        return;
    }
    // SAFETY: `user` is the `Watch` that lives on the stack of the running call; HiGHS calls back on that thread only.
    let watch = unsafe { &mut *user.cast::<Watch>() };
    let stop = catch_unwind(AssertUnwindSafe(|| watch.control.exhausted())).unwrap_or(true);
    if stop {
        watch.stopped = true;
        // SAFETY: HiGHS passes a valid record for the interrupt callbacks.
        unsafe { (*data_in).user_interrupt = 1 };
    }
}

fn option_name(name: &str) -> Result<CString, HighsError> {
    CString::new(name).map_err(|_| HighsError::Refused("an option's name"))
}

fn checked(status: sys::HighsInt, what: &'static str) -> Result<(), HighsError> {
    if status == sys::kHighsStatusError { Err(HighsError::Refused(what)) } else { Ok(()) }
}

fn set_int(highs: *mut c_void, name: &str, value: i32) -> Result<(), HighsError> {
    let name = option_name(name)?;
    // SAFETY: a live instance and a string that ends in 0.
    checked(unsafe { sys::Highs_setIntOptionValue(highs, name.as_ptr(), value) }, "an option")
}

fn set_double(highs: *mut c_void, name: &str, value: f64) -> Result<(), HighsError> {
    let name = option_name(name)?;
    // SAFETY: as above.
    checked(unsafe { sys::Highs_setDoubleOptionValue(highs, name.as_ptr(), value) }, "an option")
}

fn set_bool(highs: *mut c_void, name: &str, value: bool) -> Result<(), HighsError> {
    let name = option_name(name)?;
    // SAFETY: as above.
    checked(unsafe { sys::Highs_setBoolOptionValue(highs, name.as_ptr(), i32::from(value)) }, "an option")
}

fn set_text(highs: *mut c_void, name: &str, value: &str) -> Result<(), HighsError> {
    let (name, value) = (option_name(name)?, option_name(value)?);
    // SAFETY: as above.
    checked(unsafe { sys::Highs_setStringOptionValue(highs, name.as_ptr(), value.as_ptr()) }, "an option")
}

/// HiGHS's `simplex_strategy` for "primal or dual, by what the basis is" (HighsOptions.h).
const CHOOSE: i32 = 0;

fn common_options(highs: *mut c_void) -> Result<(), HighsError> {
    set_bool(highs, "output_flag", false)?;
    set_int(highs, "threads", 1)?;
    set_text(highs, "parallel", "off")?;
    set_int(highs, "random_seed", 0)
}

/// Runs an instance under the watch of a control; tells whether the watch stopped it.
fn run(highs: *mut c_void, control: &dyn Control) -> Result<bool, HighsError> {
    let seconds = control.remaining_seconds();
    if control.exhausted() {
        return Err(HighsError::Stopped);
    }
    // SAFETY: a live instance. Its clock counts over all runs, so it is set back first.
    checked(unsafe { sys::Highs_zeroAllClocks(highs) }, "its clock")?;
    set_double(highs, "time_limit", if seconds.is_finite() { seconds } else { f64::INFINITY })?;
    let mut watch = Watch { control, stopped: false };
    let user: *mut c_void = (&raw mut watch).cast();
    let kinds = [sys::kHighsCallbackSimplexInterrupt, sys::kHighsCallbackIpmInterrupt, sys::kHighsCallbackMipInterrupt];
    // SAFETY: a live instance; `watch` outlives the run, and the callbacks end before it is dropped.
    let status = unsafe {
        checked(sys::Highs_setCallback(highs, Some(on_callback), user), "a callback")?;
        for kind in kinds {
            checked(sys::Highs_startCallback(highs, kind), "a callback")?;
        }
        let status = sys::Highs_run(highs);
        for kind in kinds {
            sys::Highs_stopCallback(highs, kind);
        }
        status
    };
    checked(status, "to run")?;
    Ok(watch.stopped)
}

/// A linear program to be minimised that is solved again and again while columns are added: HiGHS keeps its basis.
pub struct Lp {
    highs: *mut c_void,
    columns: usize,
    rows: usize,
}

// SAFETY: an instance owns all its state and is used by one thread at a time.
unsafe impl Send for Lp {}

// SAFETY: nothing that takes a shared reference touches the instance.
unsafe impl Sync for Lp {}

impl Drop for Lp {
    fn drop(&mut self) {
        // SAFETY: created by `Highs_create`, destroyed once.
        unsafe { sys::Highs_destroy(self.highs) }
    }
}

impl Lp {
    /// A program of rows (least and greatest value) and no columns.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn new(rows: &[(f64, f64)]) -> Result<Self, HighsError> {
        // SAFETY: no preconditions.
        let highs = unsafe { sys::Highs_create() };
        if highs.is_null() {
            return Err(HighsError::Refused("to start"));
        }
        let mut lp = Lp { highs, columns: 0, rows: 0 };
        common_options(highs)?;
        // Primal simplex where the basis is feasible, as it is once columns were added, and dual otherwise. HiGHS's default
        // is dual always, which begins anew then: five times slower for hundreds of rows and thousands of columns.
        set_int(highs, "simplex_strategy", CHOOSE)?;
        lp.add_rows(rows)?;
        Ok(lp)
    }

    /// Adds rows (least and greatest value) that no column is in yet behind those that are there.
    ///
    /// # Errors
    /// Where HiGHS refuses.
    pub fn add_rows(&mut self, rows: &[(f64, f64)]) -> Result<(), HighsError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (lower, upper): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
        // SAFETY: the arrays hold as many entries as said; no coefficients yet.
        checked(
            unsafe {
                sys::Highs_addRows(
                    self.highs,
                    rows.len() as i32,
                    lower.as_ptr(),
                    upper.as_ptr(),
                    0,
                    std::ptr::null(),
                    std::ptr::null(),
                    std::ptr::null(),
                )
            },
            "rows",
        )?;
        self.rows += rows.len();
        Ok(())
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Adds columns behind those that are there.
    ///
    /// # Errors
    /// Where a row is out of range or HiGHS refuses.
    pub fn add_columns(&mut self, columns: &[LpColumn]) -> Result<(), HighsError> {
        if columns.is_empty() {
            return Ok(());
        }
        let (mut starts, mut index, mut value) = (Vec::new(), Vec::new(), Vec::new());
        for column in columns {
            starts.push(index.len() as i32);
            for &(row, factor) in &column.terms {
                if row >= self.rows || !factor.is_finite() {
                    return Err(HighsError::Refused("a coefficient"));
                }
                index.push(row as i32);
                value.push(factor);
            }
        }
        let costs: Vec<f64> = columns.iter().map(|column| column.cost).collect();
        let lower: Vec<f64> = columns.iter().map(|column| column.lower).collect();
        let upper: Vec<f64> = columns.iter().map(|column| column.upper).collect();
        // SAFETY: all arrays are as long as said, rows are in range.
        let status = unsafe {
            sys::Highs_addCols(
                self.highs,
                columns.len() as i32,
                costs.as_ptr(),
                lower.as_ptr(),
                upper.as_ptr(),
                index.len() as i32,
                starts.as_ptr(),
                index.as_ptr(),
                value.as_ptr(),
            )
        };
        checked(status, "columns")?;
        self.columns += columns.len();
        Ok(())
    }

    /// Changes the bounds of a column.
    ///
    /// # Errors
    /// Where the column is out of range or HiGHS refuses.
    pub fn bound_column(&mut self, column: usize, lower: f64, upper: f64) -> Result<(), HighsError> {
        if column >= self.columns {
            return Err(HighsError::Refused("a column"));
        }
        // SAFETY: a live instance, a column in range.
        checked(unsafe { sys::Highs_changeColBounds(self.highs, column as i32, lower, upper) }, "bounds")
    }

    /// Changes the bounds of a row.
    ///
    /// # Errors
    /// Where the row is out of range or HiGHS refuses.
    pub fn bound_row(&mut self, row: usize, lower: f64, upper: f64) -> Result<(), HighsError> {
        if row >= self.rows {
            return Err(HighsError::Refused("a row"));
        }
        // SAFETY: a live instance, a row in range.
        checked(unsafe { sys::Highs_changeRowBounds(self.highs, row as i32, lower, upper) }, "bounds")
    }

    /// Solves the program from the basis it has.
    ///
    /// # Errors
    /// [`HighsError::Stopped`] where the control ended it, another one where there is no optimum to be told.
    pub fn solve(&mut self, control: &dyn Control) -> Result<LpSolution, HighsError> {
        let stopped = run(self.highs, control)?;
        // SAFETY: a live instance.
        let status = unsafe { sys::Highs_getModelStatus(self.highs) };
        if status != sys::kHighsModelStatusOptimal {
            return Err(if stopped || status == sys::kHighsModelStatusTimeLimit {
                HighsError::Stopped
            } else {
                HighsError::Status(status)
            });
        }
        let mut columns = vec![0.0; self.columns];
        let mut reduced = vec![0.0; self.columns];
        let mut rows = vec![0.0; self.rows];
        let mut duals = vec![0.0; self.rows];
        // SAFETY: the arrays are as long as the program has columns and rows.
        let (status, objective) = unsafe {
            let status = sys::Highs_getSolution(
                self.highs,
                columns.as_mut_ptr(),
                reduced.as_mut_ptr(),
                rows.as_mut_ptr(),
                duals.as_mut_ptr(),
            );
            (status, sys::Highs_getObjectiveValue(self.highs))
        };
        checked(status, "to tell its solution")?;
        if !objective.is_finite() || columns.iter().chain(&duals).any(|value| !value.is_finite()) {
            return Err(HighsError::Nonsense);
        }
        Ok(LpSolution { objective, columns, duals })
    }
}

/// How long an integer program may run.
#[derive(Clone, Debug)]
pub struct MipLimits {
    /// Stop where (objective - bound) / objective is at most this.
    pub relative_gap: f64,
    /// Stop where objective - bound is at most this (dollars an hour).
    pub absolute_gap: f64,
    /// At most so many nodes of the search tree, for answers that don't hang on the clock.
    pub nodes: Option<u64>,
}

/// What an integer program came to. Values are HiGHS's word: they must be checked in integers.
#[derive(Clone, Debug)]
pub struct MipOutcome {
    /// Value of each column of the best solution, if one was found.
    pub values: Option<Vec<f64>>,
    /// The objective HiGHS claims for it.
    pub objective: f64,
    /// The lower bound HiGHS claims.
    pub dual_bound: f64,
    /// Whether HiGHS claims to be done (optimal within the gaps).
    pub finished: bool,
    /// Whether HiGHS claims that there is no solution.
    pub infeasible: bool,
}

/// With more columns a row than this HiGHS's presolve, which compares columns and fixes each on trial (probing), takes longer
/// than the search, and looks at the clock too seldom: five thousand patterns on thirty rows were proven in 1.7 s without
/// it, and were 4.8 s in presolve with it.
const WIDE: usize = 20;

/// Runs a program that good_lp built, from an optional first solution, under the watch of a control.
///
/// # Errors
/// Where HiGHS refuses the program or ends in an error.
pub fn solve_mip(
    program: HighsProblem,
    start: Option<&[f64]>,
    limits: &MipLimits,
    control: &dyn Control,
) -> Result<MipOutcome, HighsError> {
    let mut model = program.try_into_inner().map_err(|_| HighsError::Refused("the program"))?;
    let highs = model.as_mut_ptr();
    common_options(highs)?;
    set_double(highs, "mip_rel_gap", limits.relative_gap)?;
    set_double(highs, "mip_abs_gap", limits.absolute_gap)?;
    set_double(highs, "mip_feasibility_tolerance", 1e-7)?;
    // It takes a good part of the time of small programs, for which a solution is known or soon found.
    set_bool(highs, "mip_heuristic_run_feasibility_jump", false)?;
    if let Some(nodes) = limits.nodes {
        set_int(highs, "mip_max_nodes", i32::try_from(nodes).unwrap_or(i32::MAX))?;
    }
    // SAFETY: a live instance.
    let (columns, rows) = unsafe { (sys::Highs_getNumCol(highs) as usize, sys::Highs_getNumRow(highs) as usize) };
    if columns > WIDE * rows {
        set_text(highs, "presolve", "off")?;
    }
    if let Some(values) = start {
        if values.len() != columns {
            return Err(HighsError::Refused("a first solution of another length"));
        }
        // SAFETY: `values` has one entry a column; the other parts may be null.
        let status = unsafe {
            sys::Highs_setSolution(highs, values.as_ptr(), std::ptr::null(), std::ptr::null(), std::ptr::null())
        };
        checked(status, "a first solution")?;
    }
    run(highs, control)?;
    let mut found: sys::HighsInt = 0;
    let mut dual_bound = f64::NEG_INFINITY;
    let (primal_name, bound_name) = (option_name("primal_solution_status")?, option_name("mip_dual_bound")?);
    // SAFETY: a live instance, strings that end in 0, and room for one value each.
    let (status, objective) = unsafe {
        sys::Highs_getIntInfoValue(highs, primal_name.as_ptr(), &raw mut found);
        sys::Highs_getDoubleInfoValue(highs, bound_name.as_ptr(), &raw mut dual_bound);
        (sys::Highs_getModelStatus(highs), sys::Highs_getObjectiveValue(highs))
    };
    let mut values = None;
    if found == sys::kHighsSolutionStatusFeasible {
        let (mut primal, mut reduced) = (vec![0.0; columns], vec![0.0; columns]);
        let (mut activity, mut duals) = (vec![0.0; rows], vec![0.0; rows]);
        // SAFETY: the arrays are as long as the program has columns and rows.
        let status = unsafe {
            sys::Highs_getSolution(
                highs,
                primal.as_mut_ptr(),
                reduced.as_mut_ptr(),
                activity.as_mut_ptr(),
                duals.as_mut_ptr(),
            )
        };
        checked(status, "to tell its solution")?;
        if primal.iter().any(|value| !value.is_finite()) {
            return Err(HighsError::Nonsense);
        }
        values = Some(primal);
    }
    Ok(MipOutcome {
        values,
        objective,
        dual_bound,
        finished: status == sys::kHighsModelStatusOptimal,
        infeasible: status == sys::kHighsModelStatusInfeasible,
    })
}
