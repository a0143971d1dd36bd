//! Shares as bars of signs.

use super::Terminal;

/// Signs of an eighth to eight eighths of a cell.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A bar of `cells` signs with its percentage: `████████▎   83 %`; without cells the percentage alone.
pub(super) fn bar(share: f64, cells: usize, terminal: &Terminal) -> String {
    let filled = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    let mut text = String::new();
    if terminal.unicode {
        text.extend(std::iter::repeat_n('█', filled / 8));
        if filled % 8 > 0 {
            text.push(EIGHTHS[filled % 8 - 1]);
        }
        let signs = text.chars().count();
        text.extend(std::iter::repeat_n('░', cells.saturating_sub(signs)));
    } else {
        let whole = (filled + 4) / 8;
        text.extend(std::iter::repeat_n('#', whole));
        text.extend(std::iter::repeat_n('.', cells.saturating_sub(whole)));
    }
    let percent = whole_percent(share);
    if cells == 0 { format!("{percent:>3} %") } else { format!("{text} {percent:>3} %") }
}

/// Whole percent, rounded down so that 100 means full.
pub(super) fn whole_percent(share: f64) -> u64 {
    (share.max(0.0) * 100.0 + 1e-9).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_with_the_share() {
        let unicode = Terminal { width: 80, unicode: true };
        let ascii = Terminal { width: 80, unicode: false };
        assert_eq!(bar(0.0, 4, &unicode), "░░░░   0 %");
        assert_eq!(bar(0.5, 4, &unicode), "██░░  50 %");
        assert_eq!(bar(0.83, 10, &unicode), "████████▎░  83 %");
        assert_eq!(bar(1.0, 4, &unicode), "████ 100 %");
        assert_eq!(bar(0.9999, 4, &ascii), "####  99 %");
        assert_eq!(bar(0.5, 4, &ascii), "##..  50 %");
    }
}
