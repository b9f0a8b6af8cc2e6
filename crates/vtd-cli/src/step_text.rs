//! One step of a replay, for people.

use std::fmt;

use vtd_recording::replay::StepView;

use crate::printable::Printable;

/// A line of a recording, and below it what the unit did.
pub(crate) struct StepText<'s>(pub(crate) &'s StepView);

/// How many characters of each text are shown.
const WIDTH: usize = 100;

impl fmt::Display for StepText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepView { line, event, did, answer, .. } = self.0;
        writeln!(f, "{line:>7}  {}", Printable::new(event, WIDTH))?;
        for did in did {
            writeln!(f, "{:11}{}", "", Printable::new(did, WIDTH))?;
        }
        match answer {
            // An answer that the line ends with says nothing new.
            Some(answer) if !event.ends_with(&format!(" {answer}")) => {
                writeln!(f, "{:11}answer: {}", "", Printable::new(answer, WIDTH))
            }
            _ => Ok(()),
        }
    }
}
