//! What was measured beside what is asked.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One line of the table.
#[derive(Debug)]
pub struct Finding {
    what: String,
    measured: String,
    asked: String,
    /// Whether it is as it should be.
    pub is_reached: bool,
}

impl Finding {
    /// What has to be done in so many seconds: the time that it took, or what was done in place of it.
    pub fn seconds(what: &str, took: Result<f64, String>, most: f64) -> Self {
        let is_reached = took.as_ref().is_ok_and(|took| *took <= most);
        let measured = took.map_or_else(|failure| failure, |took| format!("{took:.1} s"));
        Finding { what: what.to_owned(), measured, asked: format!("{most:.0} s"), is_reached }
    }

    /// What has to be done, and is told with the time that it took.
    pub fn nothing(what: &str, took: Result<f64, String>) -> Self {
        let is_reached = took.is_ok();
        let measured = took.map_or_else(|failure| failure, |took| format!("all, in {took:.1} s"));
        Finding { what: what.to_owned(), measured, asked: "all".to_owned(), is_reached }
    }

    /// What may take so many MiB.
    pub fn mebibytes(what: &str, taken: f64, most: f64) -> Self {
        let (measured, asked) = (format!("{taken:.0} MiB"), format!("{most:.0} MiB"));
        Finding { what: what.to_owned(), measured, asked, is_reached: taken <= most }
    }

    /// What should not have happened: each kind with how often it has.
    pub fn none(what: &str, happened: &[String]) -> Self {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for one in happened {
            *counts.entry(one).or_default() += 1;
        }
        let told: Vec<String> = counts.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let measured = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
        Finding { what: what.to_owned(), measured, asked: "none".to_owned(), is_reached: happened.is_empty() }
    }
}

/// All of them, in columns.
pub fn table(found: &[Finding]) -> String {
    let width = |cell: fn(&Finding) -> &str, head: &str| {
        found.iter().map(|one| cell(one).chars().count()).chain([head.len()]).max().unwrap_or_default()
    };
    let what = width(|one| &one.what, "What");
    let measured = width(|one| &one.measured, "Measured");
    let asked = width(|one| &one.asked, "Asked");
    let mut out = String::new();
    let mut line = |cells: [&str; 4]| {
        let [first, second, third, last] = cells;
        let _ = writeln!(out, "{first:what$}  {second:>measured$}  {third:>asked$}  {last}");
    };
    line(["What", "Measured", "Asked", ""]);
    for one in found {
        line([&one.what, &one.measured, &one.asked, if one.is_reached { "ok" } else { "failed" }]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_told_as_failed() {
        let reached = |finding: Finding| finding.is_reached;
        assert!(reached(Finding::seconds("a", Ok(2.0), 2.0)) && !reached(Finding::seconds("a", Ok(2.1), 2.0)));
        assert!(!reached(Finding::seconds("a", Err("3 of 4".into()), 2.0)));
        assert!(reached(Finding::nothing("a", Ok(9.0))) && !reached(Finding::nothing("a", Err("left: 1 node".into()))));
        assert!(reached(Finding::mebibytes("a", 300.0, 300.0)) && !reached(Finding::mebibytes("a", 301.0, 300.0)));
        assert!(reached(Finding::none("a", &[])));
        let asked = ["list pods", "get nodes", "list pods"].map(str::to_owned);
        let page = table(&[Finding::none("requests", &asked)]);
        assert!(page.ends_with("requests  1 get nodes, 2 list pods   none  failed\n"), "{page}");
    }
}
