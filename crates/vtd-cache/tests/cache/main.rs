//! What the ledger and the caches remember, for guest tables in raw integers.

#[cfg(test)]
mod budget;
#[cfg(test)]
mod caches;
#[cfg(test)]
mod failure;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod host;
#[cfg(test)]
mod interrupt_entry_cache;
#[cfg(test)]
mod pasid_map;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod random_tables;
#[cfg(test)]
mod range_requests;
#[cfg(test)]
mod reconciliation;
#[cfg(test)]
mod saved;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod shadow_host;
#[cfg(test)]
mod shadow_random;
#[cfg(test)]
mod shadow_saved;
#[cfg(test)]
mod stage_one;
#[cfg(test)]
mod tags;
#[cfg(test)]
mod torn_entry;
#[cfg(test)]
mod wanted;
