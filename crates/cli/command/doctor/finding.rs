//! A finding: a facility of the machine, its state, and the cost and remedy of its absence.

use std::borrow::Cow;

use serde::Serialize;

use crate::command::doctor::tries::Try;

/// The state of a facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Yes,
    No,
    Limited,
    Unknown,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) state: State,
    /// The details.
    pub(super) detail: String,
    /// The cost of its absence or limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<Cow<'static, str>>,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<Cow<'static, str>>,
    /// Whether there is no lab without it.
    #[serde(skip)]
    pub(super) essential: bool,
}

impl Finding {
    pub(super) fn yes(what: &'static str, detail: impl Into<String>) -> Finding {
        Finding { what, state: State::Yes, detail: detail.into(), cost: None, remedy: None, essential: false }
    }

    pub(super) fn of(
        what: &'static str,
        state: State,
        detail: impl Into<String>,
        cost: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Finding {
        Finding {
            what,
            state,
            detail: detail.into(),
            cost: Some(cost.into()),
            remedy: Some(remedy.into()),
            essential: false,
        }
    }

    /// Present or not, as tried.
    pub(super) fn tried(
        what: &'static str,
        outcome: &Try,
        cost: impl Into<Cow<'static, str>>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Finding {
        match outcome {
            Try::Works => Finding::yes(what, ""),
            Try::Fails(error) => Finding::of(what, State::No, error.clone(), cost, remedy),
        }
    }

    pub(super) fn essential(self) -> Finding {
        Finding { essential: true, ..self }
    }
}

/// The findings as lines.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    for finding in findings {
        let state = match finding.state {
            State::Yes => "yes",
            State::No => "no",
            State::Limited => "limited",
            State::Unknown => "unknown",
        };
        text += format!("{state:<8} {:<width$}  {}", finding.what, finding.detail).trim_end();
        text.push('\n');
        for (word, sentence) in [("cost", &finding.cost), ("remedy", &finding.remedy)] {
            if let Some(sentence) = sentence {
                text += &format!("         {:<width$}  {word}: {sentence}\n", "");
            }
        }
    }
    text
}
