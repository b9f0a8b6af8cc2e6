//! Races that are planted on purpose (vtd-spec/src/planted.rs) are found.

use std::process::Command;

const INVALIDATION: &str = "dma::a_transfer_and_an_invalidation";
const COMMAND: &str = "dma::a_transfer_and_a_command";
const INTERRUPT: &str = "interrupts::an_interrupt_and_an_invalidation";

/// The number, what it is, and the test that finds it. Those of the table of known failures have its numbers, the others are for
/// this test alone.
const RACES: [(u16, &str, &str); 8] = [
    (129, "a wait completes whatever is still under way", INVALIDATION),
    (1001, "a guard asks whether it is waited for before it is gone", INVALIDATION),
    (1002, "guards are looked at before it is said that they are waited for", INVALIDATION),
    (1003, "a translation is entered whatever was invalidated meanwhile", INVALIDATION),
    (1004, "the root table is taken, and the moment of the look-up after it", COMMAND),
    (1005, "a wake is taken in two pieces", INVALIDATION),
    (1006, "an interrupt counts as under way once it is answered", INTERRUPT),
    (1007, "an interrupt entry is entered whatever was invalidated meanwhile", INTERRUPT),
];

#[test]
fn planted_races_are_found() {
    let mut missed = Vec::new();
    for (number, what, test) in RACES {
        let this = std::env::current_exe().unwrap();
        let ran = Command::new(this)
            .args(["--exact", test])
            .env("VTD_PLANTED", number.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&ran.stderr);
        let text = format!("{}{text}", String::from_utf8_lossy(&ran.stdout));
        let finder = |line: &&str| line.contains("panicked at");
        // What the first panic says is on the line behind it.
        let said = text.lines().skip_while(|line| !finder(line)).nth(1).unwrap_or_default();
        println!("{number}: {what}: {}", if ran.status.success() { "missed" } else { said });
        if ran.status.success() {
            missed.push(number);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
