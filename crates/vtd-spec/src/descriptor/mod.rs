//! Invalidation descriptors: what software puts into the invalidation queue.

use core::fmt;

use crate::Capabilities;
use crate::planted::is_planted;

mod address_mask;
mod context_cache;
mod device_tlb;
mod error;
mod form;
mod function_mask;
mod interrupt_entry_cache;
mod iotlb;
mod page_group_response;
mod page_range;
mod pasid_cache;
mod pasid_device_tlb;
mod pasid_iotlb;
mod wait;

pub use address_mask::AddressMask;
pub use context_cache::ContextCacheInvalidation;
pub use device_tlb::DeviceTlbInvalidation;
pub use error::DescriptorError;
pub use function_mask::FunctionMask;
pub use interrupt_entry_cache::InterruptEntryCacheInvalidation;
pub use iotlb::{IotlbInvalidation, IotlbScope};
pub use page_group_response::{PageGroupResponse, ResponseCode};
pub use page_range::PageRange;
pub use pasid_cache::PasidCacheInvalidation;
pub use pasid_device_tlb::{PasidDeviceTlbInvalidation, PasidSelection};
pub use pasid_iotlb::PasidIotlbInvalidation;
pub use wait::{Wait, WaitStatus};

use form::Form;

/// A well-formed invalidation descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// Type 1.
    ContextCache(ContextCacheInvalidation),
    /// Type 2.
    Iotlb(IotlbInvalidation),
    /// Type 3; needs ECAP.DT.
    DeviceTlb(DeviceTlbInvalidation),
    /// Type 4; needs ECAP.IR.
    InterruptEntryCache(InterruptEntryCacheInvalidation),
    /// Type 5.
    Wait(Wait),
    /// Type 6; needs 256-bit descriptors.
    PasidIotlb(PasidIotlbInvalidation),
    /// Type 7; needs 256-bit descriptors.
    PasidCache(PasidCacheInvalidation),
    /// Type 8; needs 256-bit descriptors and ECAP.DT.
    PasidDeviceTlb(PasidDeviceTlbInvalidation),
    /// Type 9; needs 256-bit descriptors and ECAP.PRS.
    PageGroupResponse(PageGroupResponse),
}

impl Descriptor {
    /// Decodes a descriptor of a queue whose IQA.DW is `wide`.
    ///
    /// A 128-bit descriptor is the first two quadwords; the others are ignored then.
    ///
    /// # Errors
    /// [`DescriptorError`] says what is wrong; [`DescriptorError::info`] is what IQERCD reports.
    pub fn decode(raw: [u64; 4], wide: bool, caps: &Capabilities) -> Result<Self, DescriptorError> {
        let form = Form::of(raw[0]).ok_or(DescriptorError::UnknownType { raw: raw[0] })?;
        form.check(raw, wide, caps)?;
        let [qw0, qw1, ..] = raw;
        // Planted (row 21): a page group response without PASID is malformed.
        if is_planted(21) && form == Form::PageGroupResponse && qw0 >> 4 & 1 == 0 {
            return Err(DescriptorError::UnknownType { raw: qw0 });
        }
        Ok(match form {
            Form::ContextCache => Self::ContextCache(ContextCacheInvalidation::decode(qw0)?),
            Form::Iotlb => Self::Iotlb(IotlbInvalidation::decode(qw0, qw1, caps)?),
            Form::DeviceTlb => Self::DeviceTlb(DeviceTlbInvalidation::decode(qw0, qw1)),
            Form::InterruptEntryCache => {
                Self::InterruptEntryCache(InterruptEntryCacheInvalidation::decode(qw0, caps)?)
            }
            Form::Wait => Self::Wait(Wait::decode(qw0, qw1)?),
            Form::PasidIotlb => Self::PasidIotlb(PasidIotlbInvalidation::decode(qw0, qw1)?),
            Form::PasidCache => Self::PasidCache(PasidCacheInvalidation::decode(qw0)?),
            Form::PasidDeviceTlb => {
                Self::PasidDeviceTlb(PasidDeviceTlbInvalidation::decode(qw0, qw1))
            }
            Form::PageGroupResponse => Self::PageGroupResponse(PageGroupResponse::decode(qw0, qw1)),
        })
    }

    /// The descriptor's quadwords; a 128-bit one is the first two.
    ///
    /// What a field cannot hold is cut off, except that an address mask above 63 becomes 63.
    #[must_use]
    pub fn encode(&self) -> [u64; 4] {
        let [qw0, qw1] = match self {
            Self::ContextCache(invalidation) => invalidation.encode(),
            Self::Iotlb(invalidation) => invalidation.encode(),
            Self::DeviceTlb(invalidation) => invalidation.encode(),
            Self::InterruptEntryCache(invalidation) => invalidation.encode(),
            Self::Wait(wait) => wait.encode(),
            Self::PasidIotlb(invalidation) => invalidation.encode(),
            Self::PasidCache(invalidation) => invalidation.encode(),
            Self::PasidDeviceTlb(invalidation) => invalidation.encode(),
            Self::PageGroupResponse(response) => response.encode(),
        };
        [self.form().type_number() | qw0, qw1, 0, 0]
    }

    const fn form(&self) -> Form {
        match self {
            Self::ContextCache(_) => Form::ContextCache,
            Self::Iotlb(_) => Form::Iotlb,
            Self::DeviceTlb(_) => Form::DeviceTlb,
            Self::InterruptEntryCache(_) => Form::InterruptEntryCache,
            Self::Wait(_) => Form::Wait,
            Self::PasidIotlb(_) => Form::PasidIotlb,
            Self::PasidCache(_) => Form::PasidCache,
            Self::PasidDeviceTlb(_) => Form::PasidDeviceTlb,
            Self::PageGroupResponse(_) => Form::PageGroupResponse,
        }
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.form())?;
        match self {
            Self::ContextCache(invalidation) => invalidation.fmt(f),
            Self::Iotlb(invalidation) => invalidation.fmt(f),
            Self::DeviceTlb(invalidation) => invalidation.fmt(f),
            Self::InterruptEntryCache(invalidation) => invalidation.fmt(f),
            Self::Wait(wait) => wait.fmt(f),
            Self::PasidIotlb(invalidation) => invalidation.fmt(f),
            Self::PasidCache(invalidation) => invalidation.fmt(f),
            Self::PasidDeviceTlb(invalidation) => invalidation.fmt(f),
            Self::PageGroupResponse(response) => response.fmt(f),
        }
    }
}
