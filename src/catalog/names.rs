//! The names nearest to one that isn't there, for messages.

/// At most `limit` of `known`, the nearest to `wanted` first; none that would need more than half of it changed.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>, limit: usize) -> Vec<&'a str> {
    let lower = wanted.to_lowercase();
    let allowed = (lower.chars().count() / 2).max(2);
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            // What begins or ends with the wanted text is what was meant, however much longer.
            let inside = lower.len() >= 2 && (candidate.starts_with(&lower) || candidate.ends_with(&lower));
            let distance = if inside { 0 } else { edits(&lower, &candidate) };
            (distance <= allowed).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().take(limit).map(|(_, name)| name).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours that make one text of the other.
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let change = usize::from(left[row - 1] != right[column - 1]);
            let mut best = (last[column] + 1).min(current[column - 1] + 1).min(last[column - 1] + change);
            let swapped =
                row > 1 && column > 1 && left[row - 1] == right[column - 2] && left[row - 2] == right[column - 1];
            if swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current[column] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("m5.large", "m5.large"), 0);
        assert_eq!(edits("m5.lagre", "m5.large"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn the_nearest_come_first_and_strangers_never() {
        let known = ["m5.large", "m5a.large", "c7g.16xlarge", "m5.xlarge"];
        assert_eq!(nearest("m5.lrge", known, 2), ["m5.large", "m5.xlarge"]);
        assert!(nearest("zzzzzz", known, 3).is_empty());
        assert_eq!(nearest("M5.", known, 3), ["m5.large", "m5.xlarge"]);
    }
}
