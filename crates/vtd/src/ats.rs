//! Requests of devices with a device TLB: translation requests, and requests whose address has been translated before (ATS).
//!
//! Which fault of a translation request is an unsuccessful completion and which a successful one that grants nothing is the
//! architecture's ([`FaultReason::is_recoverable`]).

use vtd_spec::planted::is_planted;
use vtd_spec::table::{ContextEntry, LegacyContextEntry, LegacyTranslation, PageSize};
use vtd_spec::{AddressType, Capabilities, FaultReason, Gpa, Iova, Pasid};
use vtd_walk::{Access, Fault, Granted, RootTable, Translated};

use crate::DmaError;
use crate::device::Device;
use crate::shared::Shared;
use crate::translation::{Mode, Request, untranslated};

/// What a translation request asks for, beside the translation of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TranslationRequest {
    /// NW: the device means to read only. It counts where ECAP.NWFS is shown.
    pub no_write: bool,
    /// The device means to fetch instructions, which takes a PASID.
    pub execute: bool,
    /// The device asks with supervisor privilege. Without PASID the context entry (RID_PRIV) decides.
    pub privileged: bool,
}

impl TranslationRequest {
    /// Reads and writes with user privilege.
    pub const READ_WRITE: Self = Self { no_write: false, execute: false, privileged: false };
    /// Reads alone (NW is 1), with user privilege.
    pub const READ: Self = Self { no_write: true, ..Self::READ_WRITE };

    /// The same, for fetching instructions too.
    #[must_use]
    pub const fn executing(self) -> Self {
        Self { execute: true, ..self }
    }

    /// The same, with supervisor privilege.
    #[must_use]
    pub const fn with_privilege(self) -> Self {
        Self { privileged: true, ..self }
    }
}

/// The answer to a translation request that succeeded: a translation completion with data.
///
/// It is good until the device is told to drop it. A device model enters it into its device TLB inside the guard that it was made
/// in: the device is told of no invalidation that concerns it before that guard is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// The first byte of the page in guest memory; 0 where nothing is granted, and what was asked for with
    /// [`untranslated_only`](Self::untranslated_only).
    pub page: Gpa,
    /// The size of the page in bytes: a power of two, 4 KiB or more. The page holds the address asked for at the same offset.
    pub size: u64,
    /// R, W and EXE. With none of them the fault is one that the device may have mended by a page request.
    pub granted: Granted,
    /// PRIV: what is granted is granted to requests with supervisor privilege. As asked; never without PASID.
    pub privileged: bool,
    /// U: the page is to be reached by untranslated requests alone. So it is with writes to the interrupt range.
    pub untranslated_only: bool,
    /// G: the translation is that of all PASIDs of the device. The architecture never says so.
    pub global: bool,
    /// N: translated requests that use this have to snoop processor caches.
    pub snoop: bool,
}

impl Completion {
    fn nothing(privileged: bool) -> Self {
        Self {
            page: Gpa(0),
            size: PageSize::Size4K.bytes(),
            granted: Granted { read: false, write: false, execute: false },
            privileged,
            untranslated_only: false,
            global: false,
            snoop: false,
        }
    }

    /// What was found for this access, no more of it than was asked for. A page that holds part of the interrupt range is cut
    /// down to the 4 KiB of the address, which lie outside.
    fn of(found: &Translated, access: Access, privileged: bool) -> Self {
        let (page, size) = match overlaps_interrupts(found.page, found.size.bytes()) {
            true => (found.address.page(), PageSize::Size4K),
            false => (found.page, found.size),
        };
        let granted = Granted {
            read: found.granted.read,
            write: access.write && found.granted.write,
            execute: access.execute && found.granted.execute,
        };
        let snoop = found.snoop;
        Self { page, size: size.bytes(), granted, snoop, ..Self::nothing(privileged) }
    }

    /// The interrupt range: it is written to untranslated, and a device may ask before it sends its interrupts.
    fn interrupts(iova: Iova, access: Access) -> Self {
        let nothing = Self::nothing(false);
        if !access.write {
            return nothing;
        }
        let granted = Granted { write: true, ..nothing.granted };
        Self { page: Gpa(iova.page().0), granted, untranslated_only: true, ..nothing }
    }

    /// Whether anything is granted.
    #[must_use]
    pub const fn grants_any(&self) -> bool {
        self.granted.read || self.granted.write || self.granted.execute
    }
}

impl Shared {
    /// Answers a translation request, and records a fault that is not recoverable.
    pub(crate) fn translation_request(
        &self,
        device: &Device,
        pasid: Option<Pasid>,
        iova: Iova,
        asked: TranslationRequest,
    ) -> Result<Completion, DmaError> {
        let mut access = Access::READ;
        access.write = !(asked.no_write && self.caps().no_write_flag());
        access.execute = asked.execute;
        access.privileged = asked.privileged;
        let address_type = AddressType::TranslationRequest;
        let request = Request { pasid, iova, access, address_type };
        let privileged = asked.privileged && pasid.is_some();
        // What is refused alone leaves the rest: each turn asks for less.
        loop {
            let fault = match self.answer(device, Request { access, ..request }) {
                Ok(found) => {
                    return self
                        .admit(found)
                        .map(|found| Completion::of(&found, access, privileged));
                }
                Err(DmaError::Interrupt) => return Ok(Completion::interrupts(iova, access)),
                Err(DmaError::Fault(fault)) => fault,
                Err(other) => return Err(other),
            };
            match fault.reason {
                FaultReason::NoWrite | FaultReason::LegacyNoWrite if access.write => {
                    access.write = false;
                }
                FaultReason::ExecuteRefused | FaultReason::UserSupervisor if access.execute => {
                    access.execute = false;
                }
                reason => {
                    let is_recoverable = reason.is_recoverable();
                    // Planted (row 9): recoverable faults of translation requests are recorded.
                    if !is_recoverable || reason.is_reported_too() || is_planted(209) {
                        self.record_fault_of(device, request, &fault);
                    }
                    return match is_recoverable {
                        true => Ok(Completion::nothing(privileged)),
                        false => Err(DmaError::Fault(fault)),
                    };
                }
            }
        }
    }

    /// Checks a translated request, and records its fault.
    pub(crate) fn translated(
        &self,
        device: &Device,
        pasid: Option<Pasid>,
        address: Gpa,
        access: Access,
    ) -> Result<Gpa, DmaError> {
        // The guest has started, even if this needs no table.
        let _shown = self.caps();
        let request =
            Request { pasid, iova: Iova(address.0), access, address_type: AddressType::Translated };
        let checked = self.check_translated(device, &request);
        let checked = checked.and_then(|()| self.admit(untranslated(request.iova)).map(|_| ()));
        if let Err(DmaError::Fault(fault)) = &checked {
            self.record_fault_of(device, request, fault);
        }
        checked.map(|()| address)
    }

    fn check_translated(&self, device: &Device, request: &Request) -> Result<(), DmaError> {
        if device.is_released() {
            return Err(DmaError::Released);
        }
        let (mode, lookup) = {
            let translator = self.translator();
            (translator.mode, translator.caches.begin())
        };
        let (fpd, beyond_width, interrupt_range) = match mode {
            Mode::Off | Mode::On(RootTable::Abort) => return Err(DmaError::Blocked),
            // No capability shows that translated requests may have a PASID.
            Mode::On(_) if request.pasid.is_some() => return Err(DmaError::Blocked),
            Mode::On(RootTable::Unusable) => {
                return Err(Fault::new(FaultReason::RootTablePointer).into());
            }
            Mode::On(RootTable::Legacy(root)) => {
                let context = self.legacy_context(device, root, lookup)?;
                allow_legacy(&context)?;
                (context.fpd, FaultReason::LegacyBeyondWidth, FaultReason::LegacyInterruptRange)
            }
            Mode::On(RootTable::Scalable(root)) => {
                let context = self.scalable_context(device, root, lookup)?;
                allow(&context)?;
                (context.fpd, FaultReason::BeyondWidth, FaultReason::InterruptRange)
            }
        };
        let fault = |reason| Err(DmaError::Fault(Fault { reason, fpd, field: "" }));
        let address = Gpa(request.iova.0);
        if address.0 >> self.caps().host_address_width() != 0 {
            return fault(beyond_width);
        }
        if address.is_interrupt() {
            return fault(interrupt_range);
        }
        Ok(())
    }
}

/// Lets untranslated requests on, and translation requests of a device that may have a device TLB, unless they are to the
/// interrupt range: those are told so.
pub(crate) fn admit_legacy(
    context: &LegacyContextEntry,
    request: &Request,
) -> Result<(), DmaError> {
    admit_if(request, || allow_legacy(context))
}

/// As [`admit_legacy`], in scalable mode.
pub(crate) fn admit(context: &ContextEntry, request: &Request) -> Result<(), DmaError> {
    admit_if(request, || allow(context))
}

fn admit_if(request: &Request, allow: impl Fn() -> Result<(), Fault>) -> Result<(), DmaError> {
    if request.address_type == AddressType::Untranslated {
        return Ok(());
    }
    allow()?;
    if request.is_to_interrupts() { Err(DmaError::Interrupt) } else { Ok(()) }
}

/// Whether TT lets the device have a device TLB.
fn allow_legacy(context: &LegacyContextEntry) -> Result<(), Fault> {
    match context.translation {
        LegacyTranslation::SecondStageWithDeviceTlb(_) => Ok(()),
        LegacyTranslation::SecondStage(_) | LegacyTranslation::PassThrough { .. } => {
            let reason = FaultReason::LegacyTranslationBlocked;
            Err(Fault { reason, fpd: context.fpd, field: "TT" })
        }
    }
}

/// Whether DTE lets the device have a device TLB.
fn allow(context: &ContextEntry) -> Result<(), Fault> {
    // Planted (row 6): DTE is ignored.
    if context.device_tlb || is_planted(206) {
        return Ok(());
    }
    let reason = FaultReason::TranslationRequestDisabled;
    Err(Fault { reason, fpd: context.fpd, field: "DTE" })
}

/// The largest page of this unit's tables that holds what passes through, and with it nothing beyond the host address width and
/// nothing of the interrupt range.
pub(crate) fn widened(caps: &Capabilities, found: Translated) -> Translated {
    let sizes = [
        (caps.second_stage_1g() || caps.first_stage_1g(), PageSize::Size1G),
        (caps.second_stage_2m() || caps.first_stage(), PageSize::Size2M),
    ];
    let width = caps.host_address_width();
    for (is_shown, size) in sizes {
        let page = Gpa(found.address.0 & !(size.bytes() - 1));
        let last = page.0 | (size.bytes() - 1);
        if is_shown && last >> width == 0 && !overlaps_interrupts(page, size.bytes()) {
            return Translated { page, size, ..found };
        }
    }
    found
}

/// Whether `size` bytes from the start of a page hold part of FEE0_0000 to FEEF_FFFF.
pub(crate) fn overlaps_interrupts(page: Gpa, size: u64) -> bool {
    page.0 <= 0xfeef_ffff && page.0 | (size - 1) >= 0xfee0_0000
}
