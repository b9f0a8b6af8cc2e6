//! The model held against the reference in raw integers, row by row.

#[cfg(test)]
mod accessed_dirty;
#[cfg(test)]
mod coverage;
#[cfg(test)]
mod desired;
#[cfg(test)]
mod device_tlbs;
#[cfg(test)]
mod fault_codes;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod interrupts;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod page_requests;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod reserved_bits;
