//! What a requester's tables lead to, in raw integers.

#[cfg(test)]
mod context;
#[cfg(test)]
mod first_stage;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod interrupt_entry;
#[cfg(test)]
mod legacy_context;
#[cfg(test)]
mod nested;
#[cfg(test)]
mod pasid;
#[cfg(test)]
mod pasid_range;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod second_stage;
#[cfg(test)]
mod second_stage_range;
#[cfg(test)]
mod translate;
