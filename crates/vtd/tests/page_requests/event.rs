//! PRS and the page request event.

use super::machine::{Machine, PAGE_DATA, PECTL, PQH, PRS};
use crate::guest::card::page_request;

#[derive(Clone, Copy, Debug)]
enum Do {
    /// A request; whether it is queued.
    Ask(bool),
    Prs(u64),
    Mask(u64),
    Head(u64),
}
use Do::{Ask, Head, Mask, Prs};

// feature: 4.page requests: event (PRS.PPR, PECTL)
#[test]
fn an_event_is_sent_only_if_ppr_and_pro_were_both_clear() {
    const IM: u64 = 0x8000_0000;
    // Each step with what PRS and PECTL read after it, and how many events it has sent.
    let scripts: [&[(Do, u64, u64, usize)]; 6] = [
        // One event for many requests, until PPR is cleared.
        &[
            (Ask(true), 1, 0, 1),
            (Ask(true), 1, 0, 0),
            (Prs(2), 1, 0, 0),
            (Ask(true), 1, 0, 0),
            (Prs(1), 0, 0, 0),
            (Ask(true), 1, 0, 1),
        ],
        // PRO raises it if nothing did before.
        &[(Head(0x20), 0, 0, 0), (Ask(false), 2, 0, 1), (Ask(false), 2, 0, 0)],
        // PRO after PPR does not; PPR after PRO neither.
        &[
            (Ask(true), 1, 0, 1),
            (Head(0x40), 1, 0, 0),
            (Ask(false), 3, 0, 0),
            (Prs(1), 2, 0, 0),
            (Head(0), 2, 0, 0),
            (Ask(false), 2, 0, 0),
            (Prs(2), 0, 0, 0),
            (Ask(true), 1, 0, 1),
        ],
        // Masked it is held, and sent when the mask is cleared.
        &[
            (Mask(IM), 0, IM, 0),
            (Ask(true), 1, 0xc000_0000, 0),
            (Ask(true), 1, 0xc000_0000, 0),
            (Mask(0), 1, 0, 1),
            (Mask(IM), 1, IM, 0),
            (Ask(true), 1, IM, 0),
            (Mask(0), 1, 0, 0),
        ],
        // Held, it goes with its causes, both of them.
        &[
            (Mask(IM), 0, IM, 0),
            (Ask(true), 1, 0xc000_0000, 0),
            (Head(0x40), 1, 0xc000_0000, 0),
            (Ask(false), 3, 0xc000_0000, 0),
            (Prs(1), 2, 0xc000_0000, 0),
            (Prs(2), 0, IM, 0),
            (Mask(0), 0, 0, 0),
        ],
        // Writing 0 clears nothing.
        &[(Ask(true), 1, 0, 1), (Prs(0), 1, 0, 0), (Prs(0xffff_fffc), 1, 0, 0)],
    ];
    for (number, script) in scripts.iter().enumerate() {
        let machine = Machine::new();
        let guest = &machine.guest;
        for (step, (what, status, control, events)) in script.iter().enumerate() {
            match *what {
                Ask(queued) => {
                    let request = page_request(None, 0x1000, 1);
                    let asked = guest.unit.page_request(machine.device, request);
                    assert_eq!(asked.is_ok(), queued, "{number} {step}");
                }
                Prs(value) => guest.write(PRS, 4, value),
                Mask(value) => guest.write(PECTL, 4, value),
                Head(value) => guest.write(PQH, 8, value),
            }
            let name = format!("script {number}, step {step}: {what:?}");
            assert_eq!((guest.read(PRS, 4), guest.read(PECTL, 4)), (*status, *control), "{name}");
            assert_eq!(guest.interrupts(), vec![PAGE_DATA; *events], "{name}");
        }
    }
}

#[test]
fn a_blocked_request_sends_no_page_request_event() {
    let machine = Machine::new();
    // PRE=0.
    machine.guest.put(0x2000 + 3 * 8 * 32, &[0x1_0009]);
    let refused = machine.guest.unit.page_request(machine.device, page_request(None, 0x1000, 1));
    assert!(refused.is_err());
    assert_eq!(machine.guest.read(PRS, 4), 0);
    assert_eq!(machine.guest.interrupts(), [0x21], "the fault event alone");
}
