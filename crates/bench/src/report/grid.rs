//! A table of text, before a terminal, Markdown or HTML draws it.

/// Head and rows, all of the same number of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) head: Vec<String>,
    /// So many columns on the left are words; the others are numbers.
    pub(crate) words: usize,
    pub(crate) rows: Vec<Vec<String>>,
}
