//! Fault reasons: why a request was blocked, with the architecture's codes.

use core::fmt;

macro_rules! reasons {
    ($($code:literal $name:ident $qualified:ident $text:literal;)*) => {
        /// Why the remapping unit blocked a request: the architecture's fault reason codes.
        ///
        /// Codes below 20 are legacy mode's, 20 to 2F interrupt remapping's, 30 and up scalable mode's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FaultReason {
            $(#[doc = $text] $name = $code,)*
        }

        impl FaultReason {
            /// Every reason, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The reason of this code, if there is one.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Whether an FPD bit on the way suppresses the recording ("qualified" in the architecture's terms).
            #[must_use]
            pub const fn is_qualified(self) -> bool {
                match self {
                    $(Self::$name => reasons!(@ $qualified),)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
    (@ qualified) => { true };
    (@ always) => { false };
}

reasons! {
    0x01 LegacyRootNotPresent always "root entry not present";
    0x02 LegacyContextNotPresent qualified "context entry not present";
    0x03 LegacyContextInvalid qualified "context entry invalid";
    0x04 LegacyBeyondWidth qualified "address beyond width";
    0x05 LegacyNoWrite qualified "write without permission";
    0x06 LegacyNoRead qualified "read without permission";
    0x07 LegacyTablePointer qualified "next table pointer invalid";
    0x08 LegacyRootAccess always "root table access failed";
    0x09 LegacyContextAccess always "context table access failed";
    0x0a LegacyRootReserved always "reserved field in root entry";
    0x0b LegacyContextReserved qualified "reserved field in context entry";
    0x0c LegacyPageReserved qualified "reserved field in page-table entry";
    0x0d LegacyTranslationBlocked qualified "translated or translation request blocked by the translation type";
    0x0e LegacyInterruptRange qualified "address in the interrupt range";
    0x20 InterruptRequestReserved always "reserved field in interrupt request";
    0x21 InterruptIndexBeyondTable always "interrupt index beyond table";
    0x22 InterruptEntryNotPresent qualified "interrupt remapping entry not present";
    0x23 InterruptTableAccess always "interrupt remapping table access failed";
    0x24 InterruptEntryReserved qualified "reserved field in interrupt remapping entry";
    0x25 CompatibilityBlocked always "compatibility-format interrupt request blocked";
    0x26 InterruptSourceRefused qualified "interrupt source-id check failed";
    0x27 PostedDescriptorAccess qualified "posted interrupt descriptor access failed";
    0x28 PostedDescriptorReserved qualified "reserved field in posted interrupt descriptor";
    0x29 UntranslatedInterruptInvalid always "invalid untranslated interrupt request";
    0x30 RootTablePointer always "root table address invalid";
    0x31 PasidUnderLegacy always "request with PASID under the legacy table";
    0x32 PageGroupUnderLegacy always "page group request under the legacy table";
    0x38 RootAccess always "root table access failed";
    0x39 RootNotPresent always "root entry not present";
    0x3a RootReserved always "reserved field in root entry";
    0x40 ContextAccess always "context table access failed";
    0x41 ContextNotPresent qualified "context entry not present";
    0x42 ContextReserved qualified "reserved field in context entry";
    0x43 ContextInvalid qualified "context entry invalid";
    0x44 TranslationRequestDisabled qualified "translation request with DTE=0";
    0x45 PasidDisabled qualified "request with PASID, PASIDE=0";
    0x46 PasidBeyondDirectory qualified "PASID beyond the PASID directory";
    0x47 PageRequestDisabled qualified "page request with PRE=0";
    0x48 PageRequestForRidPasid qualified "page request for RID_PASID";
    0x50 PasidDirectoryAccess always "PASID directory access failed";
    0x51 PasidDirectoryNotPresent qualified "PASID directory entry not present";
    0x52 PasidDirectoryReserved qualified "reserved field in PASID directory entry";
    0x58 PasidTableAccess always "PASID table access failed";
    0x59 PasidEntryNotPresent qualified "PASID-table entry not present";
    0x5a PasidEntryReserved qualified "reserved field in PASID-table entry";
    0x5b PasidEntryInvalid qualified "PASID-table entry invalid";
    0x5c ExecuteDisabled qualified "execute request not enabled";
    0x5d SupervisorDisabled qualified "supervisor request not enabled";
    0x70 FirstStageAccess qualified "first-stage table access failed";
    0x71 FirstStageNotPresent qualified "first-stage entry not present";
    0x72 FirstStageReserved qualified "reserved field in first-stage entry";
    0x73 FirstStagePointer qualified "first-stage table pointer access failed";
    0x74 NestedBeyondWidth qualified "first-stage entry beyond the second-stage width";
    0x75 NestedTableNoRead qualified "first-stage root table without second-stage read permission";
    0x76 NestedEntryNoRead qualified "first-stage entry without second-stage read permission";
    0x77 NestedEntryNoWrite qualified "first-stage entry without second-stage write permission";
    0x78 SecondStageAccess always "second-stage table access failed";
    0x79 SecondStageNotPresent qualified "second-stage entry not present";
    0x7a SecondStageReserved qualified "reserved field in second-stage entry";
    0x7b SecondStagePointer qualified "second-stage table pointer invalid";
    0x7c SecondStageNotSnooped qualified "second-stage accessed or dirty update not snooped";
    0x7d SecondStageUpdateFailed qualified "second-stage accessed or dirty update failed";
    0x80 NotCanonical qualified "address not canonical";
    0x81 UserSupervisor qualified "user request to a supervisor page";
    0x82 ExecuteRefused qualified "execute refused";
    0x83 BeyondWidth qualified "address beyond width";
    0x84 SecondStageBeyondWidth qualified "address beyond the second-stage width";
    0x85 NoWrite qualified "write without permission";
    0x86 NoRead qualified "read without permission";
    0x87 InterruptRange qualified "address in the interrupt range";
    0x90 FirstStageNotSnooped qualified "first-stage accessed or dirty update not snooped";
    0x91 FirstStageUpdateFailed qualified "first-stage accessed or dirty update failed";
}

impl FaultReason {
    /// The architecture's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Whether a translation request that meets this fault is completed successfully, with nothing granted, for its device to
    /// recover from: by a page request, say. All others are unsuccessful completions.
    ///
    /// As in the table of fault conditions of the architecture, section 7.1.3: what a table lacks or does not permit is recoverable,
    /// and so is whatever goes wrong in a first-stage table. Permissions (5, 6, 82, 85, 86) are completed with those that there are.
    #[must_use]
    pub const fn is_recoverable(self) -> bool {
        matches!(
            self.code(),
            4..=6 | 0x51 | 0x59 | 0x5c | 0x5d | 0x70..=0x77 | 0x79 | 0x80..=0x86 | 0x90 | 0x91
        )
    }

    /// Whether the fault is recorded although a translation request recovers from it.
    #[must_use]
    pub const fn is_reported_too(self) -> bool {
        matches!(self, Self::FirstStageUpdateFailed)
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:x})", self.text(), self.code())
    }
}
