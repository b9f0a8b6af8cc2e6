//! Interrupt requests in raw integers.

use vtd_spec::InterruptRequest::{self, Compatibility, Remappable};

#[test]
fn requests() {
    let remappable = |index, reserved| Some(Remappable { index, reserved });
    let table = [
        (0xfee0_0000, 0, Some(Compatibility)),
        (0xfeef_ffef, u32::MAX, Some(Compatibility)),
        (0xfee0_0010, 0, remappable(0, false)),
        (0xfeef_fff0, 0xffff, remappable(0x7fff, false)),
        (0xfee0_0014, 0x1_0000, remappable(0x8000, true)),
        (0xfee0_0038, 0x8000, remappable(0x8001, false)),
        (0xfeef_ffff, 0xffff_ffff, remappable(0x1_fffe, true)),
        (0xfedf_fffc, 0, None),
        (0xfef0_0010, 0, None),
        (0x1_fee0_0010, 0, None),
        (u64::MAX, u32::MAX, None),
    ];
    for (address, data, expected) in table {
        assert_eq!(InterruptRequest::decode(address, data), expected, "{address:x} {data:x}");
    }
}
