//! Replaying a recording: its inputs go to a remapping unit of ours, and every answer is compared.

mod assigned_dma;
mod comparison;
mod departure;
mod device_tlb;
mod error;
mod guest_tables;
mod host_state;
mod machine;
mod options;
mod report;
mod run;
mod tap;

pub use departure::Departure;
pub use error::ReplayError;
pub use options::{Assign, Options, UnknownPages};
pub use report::{CacheFigures, Difference, HostCallFigures, Kind, Report, Tally};
pub use run::{StepView, replay};
