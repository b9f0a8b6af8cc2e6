//! Fault reasons against the codes of the reference.

use vtd_spec::FaultReason::{self, *};

/// Every code there is, with its reason.
const CODES: &[(u8, FaultReason)] = &[
    (0x01, LegacyRootNotPresent),
    (0x02, LegacyContextNotPresent),
    (0x03, LegacyContextInvalid),
    (0x04, LegacyBeyondWidth),
    (0x05, LegacyNoWrite),
    (0x06, LegacyNoRead),
    (0x07, LegacyTablePointer),
    (0x08, LegacyRootAccess),
    (0x09, LegacyContextAccess),
    (0x0a, LegacyRootReserved),
    (0x0b, LegacyContextReserved),
    (0x0c, LegacyPageReserved),
    (0x0d, LegacyTranslationBlocked),
    (0x0e, LegacyInterruptRange),
    (0x20, InterruptRequestReserved),
    (0x21, InterruptIndexBeyondTable),
    (0x22, InterruptEntryNotPresent),
    (0x23, InterruptTableAccess),
    (0x24, InterruptEntryReserved),
    (0x25, CompatibilityBlocked),
    (0x26, InterruptSourceRefused),
    (0x27, PostedDescriptorAccess),
    (0x28, PostedDescriptorReserved),
    (0x29, UntranslatedInterruptInvalid),
    (0x30, RootTablePointer),
    (0x31, PasidUnderLegacy),
    (0x32, PageGroupUnderLegacy),
    (0x38, RootAccess),
    (0x39, RootNotPresent),
    (0x3a, RootReserved),
    (0x40, ContextAccess),
    (0x41, ContextNotPresent),
    (0x42, ContextReserved),
    (0x43, ContextInvalid),
    (0x44, TranslationRequestDisabled),
    (0x45, PasidDisabled),
    (0x46, PasidBeyondDirectory),
    (0x47, PageRequestDisabled),
    (0x48, PageRequestForRidPasid),
    (0x50, PasidDirectoryAccess),
    (0x51, PasidDirectoryNotPresent),
    (0x52, PasidDirectoryReserved),
    (0x58, PasidTableAccess),
    (0x59, PasidEntryNotPresent),
    (0x5a, PasidEntryReserved),
    (0x5b, PasidEntryInvalid),
    (0x5c, ExecuteDisabled),
    (0x5d, SupervisorDisabled),
    (0x70, FirstStageAccess),
    (0x71, FirstStageNotPresent),
    (0x72, FirstStageReserved),
    (0x73, FirstStagePointer),
    (0x74, NestedBeyondWidth),
    (0x75, NestedTableNoRead),
    (0x76, NestedEntryNoRead),
    (0x77, NestedEntryNoWrite),
    (0x78, SecondStageAccess),
    (0x79, SecondStageNotPresent),
    (0x7a, SecondStageReserved),
    (0x7b, SecondStagePointer),
    (0x7c, SecondStageNotSnooped),
    (0x7d, SecondStageUpdateFailed),
    (0x80, NotCanonical),
    (0x81, UserSupervisor),
    (0x82, ExecuteRefused),
    (0x83, BeyondWidth),
    (0x84, SecondStageBeyondWidth),
    (0x85, NoWrite),
    (0x86, NoRead),
    (0x87, InterruptRange),
    (0x90, FirstStageNotSnooped),
    (0x91, FirstStageUpdateFailed),
];

/// The codes that are qualified, as the reference lists them.
const QUALIFIED: &[u8] = &[
    0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0b, 0x0c, 0x0d, 0x0e, 0x22, 0x24, 0x26, 0x27, 0x28, 0x41,
    0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x51, 0x52, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x70, 0x71,
    0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x79, 0x7a, 0x7b, 0x7c, 0x7d, 0x80, 0x81, 0x82, 0x83, 0x84,
    0x85, 0x86, 0x87, 0x90, 0x91,
];

// feature: 2.fault codes: scalable mode
#[test]
fn every_code() {
    for code in 0..=u8::MAX {
        let expected = CODES.iter().find(|row| row.0 == code).map(|row| row.1);
        assert_eq!(FaultReason::from_code(code), expected, "{code:x}");
    }
    for (code, reason) in CODES {
        assert_eq!(reason.code(), *code, "{reason:?}");
    }
    assert!(FaultReason::ALL.iter().eq(CODES.iter().map(|(_, reason)| reason)));
}

// feature: 2.fault processing disable (FPD) of every entry
#[test]
fn every_qualified_code() {
    for (code, reason) in CODES {
        assert_eq!(reason.is_qualified(), QUALIFIED.contains(code), "{code:x}");
    }
    assert_eq!(QUALIFIED.len(), 53);
}

#[test]
fn reasons_are_readable() {
    let rows = [
        (LegacyRootNotPresent, "root entry not present (1)"),
        (PasidEntryNotPresent, "PASID-table entry not present (59)"),
        (FirstStageUpdateFailed, "first-stage accessed or dirty update failed (91)"),
    ];
    for (reason, text) in rows {
        assert_eq!(reason.to_string(), text);
    }
}

// feature: 2.fault codes: translation requests
/// The columns for translation requests of the architecture's table of fault conditions: "success" or not.
#[test]
fn which_faults_a_translation_request_recovers_from() {
    let recoverable = [
        0x04, 0x05, 0x06, 0x51, 0x59, 0x5c, 0x5d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
        0x79, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x90, 0x91,
    ];
    for reason in FaultReason::ALL {
        let code = reason.code();
        assert_eq!(reason.is_recoverable(), recoverable.contains(&code), "{code:x}");
        assert_eq!(reason.is_reported_too(), code == 0x91, "{code:x}");
    }
}
