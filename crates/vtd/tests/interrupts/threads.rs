//! Interrupts remapped on several threads while entries are changed and invalidated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vtd::memory::GuestMemory;
use vtd::spec::{Gpa, SourceId};

use crate::guest::STATUS;
use crate::machine::*;

/// The vector of a round, and its destination: they belong together, so a torn entry shows.
fn entry_of(round: u64) -> [u64; 2] {
    let vector = 0x20 + round % 200;
    [1 | vector << 16 | vector << 40, 2 << 18 | vector]
}

// feature: 6.listener: after a wait nobody gets an old interrupt
#[test]
fn after_a_waits_status_nobody_gets_the_old_result() {
    const ROUNDS: u64 = 2_000;
    let mut guest = on(|_| {});
    put_entry(&guest, 3, entry_of(0));
    let done = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (unit, memory) = (guest.unit.clone(), Arc::clone(&guest.memory));
            let (done, answers) = (Arc::clone(&done), Arc::clone(&answers));
            let status = move || memory.load_u64(Gpa(STATUS)).unwrap() & 0xffff_ffff;
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let before = status();
                    let delivered = unit.deliver_interrupt(SourceId(0), request(3), 0, |found| {
                        assert_eq!(u32::from(found.vector), found.destination, "one copy");
                        // While it is delivered no later round's wait is over.
                        (u64::from(found.vector), status())
                    });
                    // The entry may be absent for a moment, or change under every copy.
                    let Ok((vector, during)) = delivered else { continue };
                    answers.fetch_add(1, Ordering::Relaxed);
                    let round = (0..=ROUNDS).filter(|round| 0x20 + round % 200 == vector);
                    let fits = |round: u64| round >= before && round >= during;
                    assert!(round.into_iter().any(fits), "{vector:x} of before {before} {during}");
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        // Absent, then the new one, as a guest replaces an entry that others use.
        let new = entry_of(round);
        guest.put(TABLE + 48, &[0]);
        guest.put(TABLE + 56, &[new[1]]);
        guest.put(TABLE + 48, &[new[0]]);
        let mut is_done = guest.invalidate(&[interrupts(3, 0)]);
        while !is_done {
            std::thread::yield_now();
            let _step = guest.unit.run();
            is_done = guest.get(STATUS) & 0xffff_ffff == round;
        }
        // On a machine that is busy the rounds are over before the threads have had a turn.
        let before = answers.load(Ordering::Relaxed);
        while round % 16 == 0
            && answers.load(Ordering::Relaxed) == before
            && threads.iter().any(|thread| !thread.is_finished())
        {
            std::thread::yield_now();
        }
    }
    done.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(answers.load(Ordering::Relaxed) > 100);
}
