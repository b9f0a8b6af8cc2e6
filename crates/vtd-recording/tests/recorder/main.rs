//! The recorder: what it writes for a VMM that does what the shipped recordings say, and what it does when things go wrong.

#[cfg(test)]
mod card;
#[cfg(test)]
mod chronicle;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod device_tlbs;
#[cfg(test)]
mod failing_output;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod observer;
#[cfg(test)]
mod output;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod version_1;
#[cfg(test)]
mod vmm;
