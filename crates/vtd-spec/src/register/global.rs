//! The global command and global status registers.

/// GCMD (018): what software asks for.
///
/// SRTP, SFL, WBF and SIRTP are one-shot commands. The other bits hold a state and are rewritten with every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct GlobalCommand {
    /// TE (31): translation is enabled.
    pub te: bool,
    /// SRTP (30), one-shot: latch the root table address.
    pub srtp: bool,
    /// SFL (29), one-shot: latch the advanced fault log.
    pub sfl: bool,
    /// EAFL (28): the advanced fault log is enabled.
    pub eafl: bool,
    /// WBF (27), one-shot: flush the write buffer.
    pub wbf: bool,
    /// QIE (26): queued invalidation is enabled.
    pub qie: bool,
    /// IRE (25): interrupt remapping is enabled.
    pub ire: bool,
    /// SIRTP (24), one-shot: latch the interrupt remapping table address.
    pub sirtp: bool,
    /// CFI (23): compatibility-format interrupts pass.
    pub cfi: bool,
}

impl GlobalCommand {
    /// The command of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        let [te, srtp, sfl, eafl, wbf, qie, ire, sirtp, cfi] = from_top_bits(raw);
        Self { te, srtp, sfl, eafl, wbf, qie, ire, sirtp, cfi }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let Self { te, srtp, sfl, eafl, wbf, qie, ire, sirtp, cfi } = self;
        to_top_bits([te, srtp, sfl, eafl, wbf, qie, ire, sirtp, cfi])
    }
}

/// GSTS (01C): what the unit has done; each bit answers the bit of [`GlobalCommand`] in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct GlobalStatus {
    /// TES (31): translation is enabled.
    pub tes: bool,
    /// RTPS (30): the root table address is latched.
    pub rtps: bool,
    /// FLS (29): the advanced fault log is latched.
    pub fls: bool,
    /// AFLS (28): the advanced fault log is enabled.
    pub afls: bool,
    /// WBFS (27): the write buffer is being flushed.
    pub wbfs: bool,
    /// QIES (26): queued invalidation is enabled.
    pub qies: bool,
    /// IRES (25): interrupt remapping is enabled.
    pub ires: bool,
    /// IRTPS (24): the interrupt remapping table address is latched.
    pub irtps: bool,
    /// CFIS (23): compatibility-format interrupts pass.
    pub cfis: bool,
}

impl GlobalStatus {
    /// The status of a register value.
    #[must_use]
    pub const fn from_bits(raw: u32) -> Self {
        let [tes, rtps, fls, afls, wbfs, qies, ires, irtps, cfis] = from_top_bits(raw);
        Self { tes, rtps, fls, afls, wbfs, qies, ires, irtps, cfis }
    }

    /// The register value.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let Self { tes, rtps, fls, afls, wbfs, qies, ires, irtps, cfis } = self;
        to_top_bits([tes, rtps, fls, afls, wbfs, qies, ires, irtps, cfis])
    }
}

/// Bits 31 to 23, the highest first.
const fn from_top_bits(raw: u32) -> [bool; 9] {
    [
        raw >> 31 & 1 == 1,
        raw >> 30 & 1 == 1,
        raw >> 29 & 1 == 1,
        raw >> 28 & 1 == 1,
        raw >> 27 & 1 == 1,
        raw >> 26 & 1 == 1,
        raw >> 25 & 1 == 1,
        raw >> 24 & 1 == 1,
        raw >> 23 & 1 == 1,
    ]
}

const fn to_top_bits([b31, b30, b29, b28, b27, b26, b25, b24, b23]: [bool; 9]) -> u32 {
    (b31 as u32) << 31
        | (b30 as u32) << 30
        | (b29 as u32) << 29
        | (b28 as u32) << 28
        | (b27 as u32) << 27
        | (b26 as u32) << 26
        | (b25 as u32) << 25
        | (b24 as u32) << 24
        | (b23 as u32) << 23
}
