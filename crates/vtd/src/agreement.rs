//! What the guest is shown: what the VMM would like, narrowed to what the hosts of assigned devices have, and frozen once the
//! guest has seen it.

use vtd_host::HostCapabilities;
use vtd_spec::{Capabilities, SourceId};

use crate::{AttachError, RemappingUnit};

impl RemappingUnit {
    /// What the guest is shown: what is configured, without what [is not implemented](Capabilities::IMPLEMENTED_ECAP), and
    /// [narrowed](Self::attach) to what the hosts of assigned devices have.
    ///
    /// Does not change any more once the guest has started: from its first register access, its first DMA, or
    /// [`freeze`](Self::freeze) on.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.shared.frozen_caps().copied().unwrap_or_else(|| {
            // Under the registers' lock nothing is narrowed meanwhile.
            *self.shared.registers().capabilities()
        })
    }

    /// From now on [`capabilities`](Self::capabilities) do not change: the guest is told of them in another way than by the
    /// registers (ACPI tables, say), or all devices that narrow them are attached.
    pub fn freeze(&self) {
        let _shown = self.shared.caps();
    }

    /// What the guest is shown once a device of this host is attached, if it is shown this now. The registers are locked, or the
    /// guest has started.
    pub(crate) fn agree(
        &self,
        source_id: SourceId,
        shown: &Capabilities,
        host: &HostCapabilities,
    ) -> Result<Capabilities, AttachError> {
        if self.shared.frozen_caps().is_none() {
            return narrowed(shown, host).ok_or(AttachError::NothingInCommon(source_id));
        }
        match first_missing(shown, host) {
            Some(feature) => Err(AttachError::HostLacks { source_id, feature }),
            None => Ok(*shown),
        }
    }
}

/// Something that the guest may be shown only if the host of every assigned device has it.
struct Feature {
    name: &'static str,
    /// The bits of CAP and ECAP that show it.
    bits: (u64, u64),
    has: fn(&HostCapabilities) -> bool,
}

/// In the order in which the first that is missing is told. A feature comes after those that it is part of.
const FEATURES: [Feature; 16] = [
    Feature {
        name: "ECAP.FSTS (first-stage tables)",
        bits: (0, 1 << 47),
        has: HostCapabilities::binds_first_stage,
    },
    Feature {
        name: "CAP.FS5LP (first-stage tables of five levels)",
        bits: (1 << 60, 0),
        has: |host| host.binds_first_stage() && host.first_stage_five,
    },
    Feature {
        name: "CAP.FS1GP (first-stage pages of 1 GiB)",
        bits: (1 << 56, 0),
        has: |host| host.binds_first_stage() && host.first_stage_1g,
    },
    Feature {
        name: "ECAP.SRS (supervisor requests)",
        bits: (0, 1 << 31),
        has: |host| host.supervisor,
    },
    Feature {
        name: "ECAP.EAFS (extended accessed flag)",
        bits: (0, 1 << 34),
        has: |host| host.binds_first_stage() && host.extended_accessed,
    },
    Feature {
        name: "ECAP.SMPWCS (coherent page walks)",
        bits: (0, 1 << 48),
        // Every other walk is the unit's own.
        has: |host| host.coherent_page_walk || !host.binds_first_stage(),
    },
    Feature { name: "ECAP.PT (pass-through)", bits: (0, 1 << 6), has: |host| host.pass_through },
    Feature { name: "ECAP.SC (snoop control)", bits: (0, 1 << 7), has: |host| host.snoop_control },
    Feature {
        name: "ECAP.SSTS (second-stage tables)",
        bits: (0, 1 << 46),
        has: takes_second_stage,
    },
    Feature {
        name: "ECAP.NEST (nested translation)",
        bits: (0, 1 << 26),
        has: |host| host.nested && host.binds_first_stage() && takes_second_stage(host),
    },
    Feature {
        name: "ECAP.SSADS (second-stage accessed and dirty bits)",
        bits: (0, 1 << 45),
        has: |host| host.second_stage_accessed_dirty && takes_second_stage(host),
    },
    Feature {
        name: "ECAP.ERS (execute requests)",
        bits: (0, 1 << 30),
        has: |host| host.execute_requests,
    },
    Feature {
        name: "CAP.PLMR and PHMR (protected memory regions)",
        bits: (0b11 << 5, 0),
        has: |host| host.protected_memory,
    },
    Feature {
        name: "CAP.SAGAW (second-stage tables of 39 bits)",
        bits: (1 << 9, 0),
        has: |host| shadows_bits(host, 39),
    },
    Feature {
        name: "CAP.SAGAW (second-stage tables of 48 bits)",
        bits: (1 << 10, 0),
        has: |host| shadows_bits(host, 48),
    },
    Feature {
        name: "CAP.SAGAW (second-stage tables of 57 bits)",
        bits: (1 << 11, 0),
        has: |host| shadows_bits(host, 57),
    },
];

/// The one that is a number.
const PASID_BITS: &str = "ECAP.PSS (PASIDs of so many bits)";
const PSS: u64 = 0x1f << 35;

fn takes_second_stage(host: &HostCapabilities) -> bool {
    host.second_stage || host.shadowing && host.second_stage_bits >= 39
}

/// A width matters where tables are shadowed; elsewhere their slots are blocked whatever the width.
fn shadows_bits(host: &HostCapabilities, bits: u8) -> bool {
    !host.shadowing || host.second_stage_bits >= bits
}

impl Feature {
    fn is_shown(&self, shown: &Capabilities) -> bool {
        shown.cap() & self.bits.0 != 0 || shown.ecap() & self.bits.1 != 0
    }

    fn is_missing(&self, shown: &Capabilities, host: &HostCapabilities) -> bool {
        self.is_shown(shown) && !(self.has)(host)
    }
}

/// As many bits of PASIDs as both have. A device without PASIDs has its say elsewhere: in its configuration space.
fn pasid_bits(shown: &Capabilities, host: &HostCapabilities) -> u8 {
    match shown.pasid() && host.pasids > 0 {
        true => shown.pasid_bits().min(host.pasid_bits.max(1)),
        false => shown.pasid_bits(),
    }
}

/// The first feature that is shown and that the host does not have.
pub(crate) fn first_missing(shown: &Capabilities, host: &HostCapabilities) -> Option<&'static str> {
    let missing = FEATURES.iter().find(|feature| feature.is_missing(shown, host));
    let too_wide = pasid_bits(shown, host) < shown.pasid_bits();
    missing.map(|feature| feature.name).or(too_wide.then_some(PASID_BITS))
}

/// What is left of `shown` for a guest with a device of this host; `None` where that is no kind of translation at all.
pub(crate) fn narrowed(shown: &Capabilities, host: &HostCapabilities) -> Option<Capabilities> {
    let (mut cap, mut ecap) = (shown.cap(), shown.ecap());
    for feature in FEATURES.iter().filter(|feature| feature.is_missing(shown, host)) {
        cap &= !feature.bits.0;
        ecap &= !feature.bits.1;
    }
    if shown.pasid() {
        ecap = ecap & !PSS | (u64::from(pasid_bits(shown, host)) - 1) << 35;
    }
    let narrowed = with_registers(shown, cap, ecap)?;
    (translates(&narrowed) || !translates(shown)).then_some(narrowed)
}

/// Whether a PASID-table entry, or in legacy mode a context entry, can be anything but wrong.
fn translates(caps: &Capabilities) -> bool {
    !caps.scalable_mode()
        || caps.first_stage()
        || caps.scalable_second_stage()
        || caps.pass_through()
}

/// What a unit shows of capabilities that somebody asks for: what is not implemented is left out.
pub(crate) fn implemented(asked: &Capabilities) -> Capabilities {
    let cap = asked.cap() & Capabilities::IMPLEMENTED_CAP;
    let ecap = asked.ecap() & Capabilities::IMPLEMENTED_ECAP;
    // Nothing else needs what is left out.
    with_registers(asked, cap, ecap).unwrap_or(*asked)
}

fn with_registers(like: &Capabilities, cap: u64, ecap: u64) -> Option<Capabilities> {
    let caps = Capabilities::new(cap, ecap).ok()?;
    caps.with_host_address_width(like.host_address_width()).ok()
}

/// The saved values of CAP and ECAP, if an agreement can have made them of what is configured; else the register that differs,
/// with its saved and its configured value.
pub(crate) fn restored(
    configured: &Capabilities,
    cap: u64,
    ecap: u64,
) -> Result<Capabilities, (&'static str, u64, u64)> {
    let other_cap = ("CAP", cap, configured.cap());
    let other_ecap = ("ECAP", ecap, configured.ecap());
    let narrowable = FEATURES
        .iter()
        .fold((0, PSS), |bits, feature| (bits.0 | feature.bits.0, bits.1 | feature.bits.1));
    let (cap, ecap) = (cap & Capabilities::IMPLEMENTED_CAP, ecap & Capabilities::IMPLEMENTED_ECAP);
    if cap & !configured.cap() != 0 || (cap ^ configured.cap()) & !narrowable.0 != 0 {
        return Err(other_cap);
    }
    let wider = ecap & !configured.ecap() & !PSS != 0 || ecap & PSS > configured.ecap() & PSS;
    if wider || (ecap ^ configured.ecap()) & !narrowable.1 != 0 {
        return Err(other_ecap);
    }
    with_registers(configured, cap, ecap).ok_or(other_ecap)
}
