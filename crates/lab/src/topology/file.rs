//! Topology files: TOML, with errors that name the line.

use super::model::Topology;
use super::validate::InvalidTopology;

/// The longest value that an error quotes from a topology file, in bytes.
const QUOTED_BYTES: usize = 60;

impl Topology {
    /// Parses and validates the text of a topology file.
    ///
    /// # Errors
    /// A sentence that names the line, or the first item that is not valid.
    pub fn from_toml(text: &str) -> Result<Self, InvalidTopology> {
        let topology: Self = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let line = text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
            let message = error.message().replace('\n', " ");
            // The parser says what is wrong, and not always which value: one of a single line is quoted.
            let value = text.get(span).unwrap_or_default().trim();
            let is_quotable = (1..=QUOTED_BYTES).contains(&value.len()) && !value.contains('\n');
            InvalidTopology(if is_quotable && !message.contains(value.trim_matches('"')) {
                format!("line {line}: {value}: {message}")
            } else {
                format!("line {line}: {message}")
            })
        })?;
        topology.validate()?;
        Ok(topology)
    }
}
