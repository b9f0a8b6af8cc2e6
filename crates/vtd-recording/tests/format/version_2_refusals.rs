//! Bad lines of version 2 and the field that each message names.

use crate::text::{HEADER_2, refusal};

const NUMBER: &str = "a hexadecimal number of at most 64 bits";

#[test]
fn bad_lines_are_refused() {
    let letters = "then any of `x` and `p` in this order";
    let table = [
        // Accesses.
        (
            "dma 00:03.0 - rpx 0 fault",
            "ACCESS",
            "rpx",
            "`r` or `w`, then any of `x`, `p` and `z` in this order",
        ),
        (
            "translated 00:03.0 - rxx 0 ok",
            "ACCESS",
            "rxx",
            "`r` or `w`, then any of `x`, `p` and `z` in this order",
        ),
        (
            "dma 00:03.0 - x 0 fault",
            "ACCESS",
            "x",
            "`r` or `w`, then any of `x`, `p` and `z` in this order",
        ),
        ("dma 00:03.0 - wx 0 fault", "ACCESS", "wx", "a read, which alone can have `x`"),
        ("dma 00:03.0 - wz 0 fault", "ACCESS", "wz", "a read, which alone can have `z`"),
        ("translated 00:03.0 - wxp 0 ok", "ACCESS", "wxp", "a read, which alone can have `x`"),
        ("fault 00:03.0 - wx 0 reason 82", "ACCESS", "wx", "a read, which alone can have `x`"),
        (
            "fault 00:03.0 - wx 0 reason 82 translated",
            "ACCESS",
            "wx",
            "a read, which alone can have `x`",
        ),
        ("fault 00:03.0 - rz 0 reason 82", "ACCESS", "rz", &format!("`r` or `w`, {letters}")),
        ("translate 00:03.0 - rz 0 none", "ACCESS", "rz", &format!("`r` or `w`, {letters}")),
        ("translate 00:03.0 - rw 0 none", "ACCESS", "rw", &format!("`r` or `w`, {letters}")),
        // Faults.
        (
            "fault 00:03.0 - r 0 reason 82 dma",
            "KIND",
            "dma",
            "`translation`, `translated`, `page-request` or `interrupt`, or nothing",
        ),
        (
            "fault 00:03.0 1 w 0 reason 22 interrupt",
            "PASID",
            "1",
            "`-`, as an interrupt request has none",
        ),
        (
            "fault 00:03.0 - w 10000 reason 22 interrupt",
            "ADDR",
            "10000",
            "the index of an interrupt, at most ffff",
        ),
        // Translation requests.
        (
            "translate 00:03.0 - r 0 nothing",
            "GPA",
            "nothing",
            "a hexadecimal number of at most 64 bits, `none` or `fault`",
        ),
        ("translate 00:03.0 - r zz none", "IOVA", "zz", NUMBER),
        ("translate 00:03.0 - r 0 800 fff r", "GPA", "800", "4 KiB aligned"),
        ("translate 00:03.0 - r 0 0 7ff r", "MASK", "7ff", "a power of two less 1, at least fff"),
        (
            "translate 00:03.0 - r 0 1000 ffffffffffffffff r",
            "MASK",
            "ffffffffffffffff",
            "a mask that ends within the address space",
        ),
        ("translate 00:03.0 - r 0 0 fff x", "PERM", "x", &format!("`r`, `w` or `rw`, {letters}")),
        (
            "translate 00:03.0 - r 0 0 fff rpx",
            "PERM",
            "rpx",
            &format!("`r`, `w` or `rw`, {letters}"),
        ),
        ("translate 00:03.0 - r 0 0 fff wr", "PERM", "wr", &format!("`r`, `w` or `rw`, {letters}")),
        ("translate 00:03.0 - r 0 0 fff r n", "u", "n", "`u`, `g` or nothing"),
        ("translate 00:03.0 - r 0 0 fff r u u", "g", "u", "`g` or nothing"),
        ("translated 00:03.0 - r 0 done", "ok", "done", "`ok` or `fault`"),
        // Device TLBs.
        ("endpoint 3", "BDF", "3", "a device such as 00:03.0"),
        ("endpoint 00:03.0 soon", "later", "soon", "`later` or nothing"),
        (
            "device-tlb 00:03.0 ** 0 all",
            "PASID",
            "**",
            "a hexadecimal number of at most 20 bits, `-` or `*`",
        ),
        (
            "device-tlb 00:03.0 100000 0 all",
            "PASID",
            "100000",
            "a hexadecimal number of at most 20 bits, `-` or `*`",
        ),
        ("device-tlb 00:03.0 - 800 1", "ADDR", "800", "4 KiB aligned"),
        (
            "device-tlb 00:03.0 - 0 0",
            "PAGES",
            "0",
            "a number of pages, not 0, that end within the address space",
        ),
        (
            "device-tlb 00:03.0 - 1000 all",
            "PAGES",
            "all",
            "a hexadecimal number of at most 64 bits, or `all` after address 0",
        ),
        ("device-tlb-done -", "BDF", "-", "a device such as 00:03.0"),
        ("device-tlb-timeout 0:0.8", "BDF", "0:0.8", "a device such as 00:03.0"),
        // Page requests.
        (
            "page-request 00:03.0 - x 0 0",
            "ACCESS",
            "x",
            &format!("`r`, `w`, `rw` or `-`, {letters}"),
        ),
        (
            "page-request 00:03.0 - r- 0 0",
            "ACCESS",
            "r-",
            &format!("`r`, `w`, `rw` or `-`, {letters}"),
        ),
        (
            "page-request 00:03.0 - rz 0 0",
            "ACCESS",
            "rz",
            &format!("`r`, `w`, `rw` or `-`, {letters}"),
        ),
        ("page-request 00:03.0 - r 1 0", "ADDR", "1", "4 KiB aligned"),
        ("page-request 00:03.0 - r 0 200", "GROUP", "200", "a group of 9 bits, at most 1ff"),
        (
            "page-request 00:03.0 - r 0 10000",
            "GROUP",
            "10000",
            "a hexadecimal number of at most 16 bits",
        ),
        ("page-request 00:03.0 - r 0 0 first", "last", "first", "`last` or nothing"),
        ("page-response 00:03.0 - 200 0", "GROUP", "200", "a group of 9 bits, at most 1ff"),
        ("page-response 00:03.0 - 0 2", "CODE", "2", "0, 1 or f"),
        // Interrupts.
        (
            "interrupt 00:03.0 0 100000000 blocked",
            "DATA",
            "100000000",
            "a hexadecimal number of at most 32 bits",
        ),
        (
            "interrupt 00:03.0 0 0 fault",
            "MSI-ADDR",
            "fault",
            "a hexadecimal number of at most 64 bits, or `blocked`",
        ),
        (
            "interrupt 00:03.0 0 0 0 100000000",
            "MSI-DATA",
            "100000000",
            "a hexadecimal number of at most 32 bits",
        ),
        (
            "interrupt-entries 10000 1",
            "INDEX",
            "10000",
            "a hexadecimal number of at most 16 bits, or `all`",
        ),
        (
            "interrupt-entries 0 0",
            "COUNT",
            "0",
            "a number of entries, not 0, that end at index ffff or before",
        ),
        (
            "interrupt-entries 0 10001",
            "COUNT",
            "10001",
            "a number of entries, not 0, that end at index ffff or before",
        ),
        (
            "interrupt-entries ffff 2",
            "COUNT",
            "2",
            "a number of entries, not 0, that end at index ffff or before",
        ),
        // Source-ids and the host.
        ("renumber 00:03.0 3", "NEW", "3", "a device such as 00:03.0"),
        ("host bind 00:03.0 - ss2 0 0", "MODE", "ss2", "`fs4`, `fs5`, `ss3`, `ss4`, `ss5` or `pt`"),
        ("host bind 00:03.0 - ss4 10 0", "TABLE", "10", "4 KiB aligned"),
        ("host map 00:03.0 - 1 0 1 r", "IOVA", "1", "4 KiB aligned"),
        ("host map 00:03.0 - 0 1 1 r", "GPA", "1", "4 KiB aligned"),
        ("host map 00:03.0 - 0 0 1 rx", "PERM", "rx", "`r`, `w` or `rw`"),
        (
            "host map 00:03.0 - fffffffffffff000 0 2 r",
            "PAGES",
            "2",
            "a number of pages, not 0, that end within the address space",
        ),
        (
            "host map 00:03.0 - 0 fffffffffffff000 2 r",
            "PAGES",
            "2",
            "a number of pages, not 0, that end within the address space",
        ),
        ("host unmap 00:03.0 - 800 1", "IOVA", "800", "4 KiB aligned"),
        (
            "host unmap 00:03.0 - 0 0",
            "PAGES",
            "0",
            "a number of pages, not 0, that end within the address space",
        ),
    ];
    for (line, field, found, expected) in table {
        let message = refusal(format!("{HEADER_2}{line}\nreset\n").as_bytes());
        assert_eq!(message, format!("line 5: field {field}: {found:?} is not {expected}"));
    }
}
