//! What the reader's terminal can show.

use std::env;

/// How wide the text may be and which signs it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: u16,
    /// Whether signs beyond ASCII can be shown.
    pub unicode: bool,
}

/// Width of text that goes to a file or a pipe.
const PLAIN_WIDTH: u16 = 120;
/// Below this no table can be read.
const LEAST_WIDTH: u16 = 60;

impl Default for Terminal {
    fn default() -> Self {
        Terminal { width: PLAIN_WIDTH, unicode: true }
    }
}

impl Terminal {
    /// The terminal that standard output is, or the default for files and pipes.
    ///
    /// Signs beyond ASCII are used unless the locale is one without them
    /// (<https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html#tag_08_02>).
    pub fn of_standard_output() -> Self {
        let width = terminal_size::terminal_size().map_or(PLAIN_WIDTH, |(width, _)| width.0.max(LEAST_WIDTH));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|name| env::var(name).ok())
            .find(|value| !value.is_empty());
        Terminal { width, unicode: locale.is_none_or(|locale| names_utf8(&locale)) }
    }

    /// The sign for `so many times`.
    pub fn times(&self) -> &'static str {
        if self.unicode { "×" } else { "x" }
    }

    /// The sign for something left out.
    pub fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { ".." }
    }

    /// The sign of a line across.
    pub fn rule(&self) -> char {
        if self.unicode { '─' } else { '-' }
    }
}

fn names_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_character_set() {
        assert!(names_utf8("en_US.UTF-8"));
        assert!(names_utf8("C.utf8"));
        assert!(!names_utf8("C"));
        assert!(!names_utf8("de_DE.ISO-8859-1"));
    }
}
