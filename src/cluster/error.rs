//! What is wrong with an input, and where.

use std::fmt;

/// One thing wrong with what was read: where it is, what it is, and what would put it right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    /// The file, or `standard input`.
    pub file: Box<str>,
    /// Number of the document in a file of several, from 1.
    pub document: Option<u32>,
    /// Line in the file, from 1, where it is known.
    pub line: Option<u32>,
    /// Kind, namespace and name of the object.
    pub object: Option<Box<str>>,
    /// Path of the field, `spec.template.spec.containers[0].image`.
    pub field: Option<Box<str>>,
    /// What is wrong.
    pub problem: Box<str>,
    /// What would put it right, where that is known.
    pub fix: Option<Box<str>>,
}

impl InputError {
    /// An error that concerns a whole file.
    pub fn of_file(file: impl Into<String>, problem: impl Into<String>) -> Self {
        InputError {
            file: file.into().into(),
            document: None,
            line: None,
            object: None,
            field: None,
            problem: problem.into().into(),
            fix: None,
        }
    }

    /// The same error with what would put it right.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into().into());
        self
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(document) = self.document {
            write!(formatter, ": document {document}")?;
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(formatter, ": {part}")?;
        }
        write!(formatter, ": {}", self.problem)?;
        if let Some(fix) = &self.fix {
            write!(formatter, " ({fix})")?;
        }
        Ok(())
    }
}
