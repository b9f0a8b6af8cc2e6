//! The audit finds every use after an invalidation, and nothing else.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod device_tlbs;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod story;
