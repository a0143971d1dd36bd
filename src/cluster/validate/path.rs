//! Where in an object a check stands, and what it found.

use crate::cluster::typed::push_key;

/// The path of a field, built as checks descend and written out only when one fails.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// One broken rule: the field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would put it right.
    pub fix: Option<String>,
}

impl Fault {
    /// The same fault with what would put it right.
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What a check returns.
pub(crate) type Checked = Result<(), Fault>;

impl<'a> Path<'a> {
    /// The object itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A field of this, or an entry of this map.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// An entry of this list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// A fault here.
    pub fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault { field: self.to_string(), problem: problem.into(), fix: None }
    }

    /// A fault here, as the result of a check.
    pub fn fail(&self, problem: impl Into<String>) -> Checked {
        Err(self.fault(problem))
    }

    fn write(&self, text: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(text);
        }
        match self.step {
            Step::Root => {}
            Step::Key(key) => push_key(text, key),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        formatter.write_str(&text)
    }
}
