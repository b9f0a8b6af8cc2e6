//! A plain search for inputs that an oracle objects to: from nothing, without coverage, the same for the same seed.
//!
//! It shows what the grammar and the oracles find by themselves. What makes it find things quickly is that the bytes of one input
//! come from a small palette, so that the operations of a program are about the same few things, and that a part of all inputs are
//! changes of the last ones.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::program::RECORD;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many inputs had been run, this one included.
    pub executions: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What the oracle said.
    pub message: String,
}

/// Makes inputs.
#[derive(Debug)]
pub struct Inputs {
    numbers: u64,
    palette: [u8; 16],
    kept: Vec<Vec<u8>>,
    most: usize,
}

/// How many inputs are kept to be changed.
const KEPT: usize = 32;

impl Inputs {
    /// Inputs from nothing, of a setup and so many records at most.
    #[must_use]
    pub fn new(seed: u64, most: usize) -> Self {
        let numbers = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut inputs = Self { numbers, palette: [0; 16], kept: Vec::new(), most: most.max(1) };
        for _ in 0..8 {
            inputs.number();
        }
        inputs
    }

    /// Has this input be changed as well, until others have taken its place.
    pub fn keep(&mut self, input: Vec<u8>) {
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(input);
    }

    fn number(&mut self) -> u64 {
        self.numbers ^= self.numbers << 13;
        self.numbers ^= self.numbers >> 7;
        self.numbers ^= self.numbers << 17;
        self.numbers.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number()).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// Fills `bytes` with the next input.
    pub fn next(&mut self, bytes: &mut Vec<u8>) {
        bytes.clear();
        if self.kept.is_empty() || self.number() % 8 < 5 {
            self.fresh(bytes);
        } else {
            self.change(bytes);
        }
        if self.kept.len() < KEPT {
            self.kept.push(bytes.clone());
        } else if self.number().is_multiple_of(4) {
            let at = self.below(KEPT);
            if let Some(kept) = self.kept.get_mut(at) {
                kept.clone_from(bytes);
            }
        }
    }

    fn fresh(&mut self, bytes: &mut Vec<u8>) {
        for at in 0..self.palette.len() {
            let byte = match at {
                0..4 => 0,
                4..8 => self.byte() % 4,
                _ => self.byte(),
            };
            if let Some(place) = self.palette.get_mut(at) {
                *place = byte;
            }
        }
        let records = 2 + self.below(self.most);
        // Half of all units are the one that shows everything, and most are on.
        let zeros = self.number();
        for place in 0..RECORD {
            let byte = self.byte();
            bytes.push(if zeros >> place & 1 == 0 { 0 } else { byte });
        }
        for _ in 0..records {
            for place in 0..RECORD {
                // What an operation is, is as it comes.
                let byte = match place == 0 || self.number().is_multiple_of(4) {
                    true => self.byte(),
                    false => {
                        let at = self.below(self.palette.len());
                        self.palette.get(at).copied().unwrap_or(0)
                    }
                };
                bytes.push(byte);
            }
        }
    }

    /// One of the last inputs, or two of them spliced, with a few changes.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let one = self.below(self.kept.len());
        if let Some(kept) = self.kept.get(one) {
            bytes.extend_from_slice(kept);
        }
        if self.number().is_multiple_of(4) {
            let other = self.below(self.kept.len());
            let cut = RECORD * self.below(bytes.len() / RECORD + 1);
            bytes.truncate(cut);
            if let Some(kept) = self.kept.get(other) {
                bytes.extend_from_slice(kept.get(cut..).unwrap_or(&[]));
            }
        }
        for _ in 0..=self.below(6) {
            let records = bytes.len() / RECORD;
            let at = RECORD * self.below(records);
            match self.number() % 4 {
                0 if records > 2 => drop(bytes.drain(at..at + RECORD)),
                1 if records <= self.most => {
                    let record: Vec<_> = bytes.iter().skip(at).take(RECORD).copied().collect();
                    let to = RECORD * self.below(records + 1);
                    bytes.splice(to..to, record);
                }
                _ => {
                    let place = self.below(bytes.len());
                    let byte = self.byte();
                    if let Some(place) = bytes.get_mut(place) {
                        *place = byte;
                    }
                }
            }
        }
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs an input; what the panic said, if there was one.
pub fn outcome(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    message_of(|| run(input))
}

/// Does something; what the panic said, if there was one.
pub fn message_of(act: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                let payload = info.payload();
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                let text = text.unwrap_or("panicked");
                let place =
                    info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
                MESSAGE.set(format!("{text}{}", place.unwrap_or_default()));
            } else {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(act));
    QUIET.set(false);
    ended.is_err().then(|| MESSAGE.take())
}

/// Searches for an input that an oracle objects to; tells before each how many have been run.
pub fn search(
    run: fn(&[u8]),
    seed: u64,
    most: usize,
    executions: u64,
    mut tell: impl FnMut(u64),
) -> Option<Found> {
    let mut inputs = Inputs::new(seed, most);
    let mut input = Vec::new();
    (1..=executions).find_map(|executions| {
        tell(executions - 1);
        inputs.next(&mut input);
        let message = outcome(run, &input)?;
        Some(Found { executions, input: input.clone(), message })
    })
}

/// The first words of what an oracle said: which oracle it is, and what of it.
#[must_use]
pub fn oracle(message: &str) -> &str {
    let end = message.find([':', ';', '{', '(']).unwrap_or(message.len());
    message.get(..end).unwrap_or(message).trim()
}

/// Makes an input smaller while the same oracle objects to it: pieces of `grain` bytes and more are left out, then bytes are made 0.
pub fn minimise(run: fn(&[u8]), input: &[u8], grain: usize) -> Vec<u8> {
    let Some(message) = outcome(run, input) else { return input.to_vec() };
    let wanted = oracle(&message).to_string();
    let fails = |input: &[u8]| outcome(run, input).is_some_and(|text| oracle(&text) == wanted);
    let mut best = input.to_vec();
    let grain = grain.max(1);
    let mut width = (best.len() / grain / 2).max(1) * grain;
    loop {
        let mut at = 0;
        while at < best.len() {
            let mut smaller = best.clone();
            smaller.drain(at..(at + width).min(best.len()));
            if fails(&smaller) {
                best = smaller;
            } else {
                at += width;
            }
        }
        if width <= grain {
            break;
        }
        width = (width / grain / 2).max(1) * grain;
    }
    for at in 0..best.len() {
        let mut plainer = best.clone();
        if let Some(byte) = plainer.get_mut(at).filter(|byte| **byte != 0) {
            *byte = 0;
            if fails(&plainer) {
                best = plainer;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let made = |seed| {
            let mut inputs = Inputs::new(seed, 8);
            let mut input = Vec::new();
            (0..100)
                .map(|_| {
                    inputs.next(&mut input);
                    input.clone()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn what_matters_is_left() {
        fn run(input: &[u8]) {
            assert!(!input.chunks(RECORD).any(|record| record[0] == 7), "sevens: one");
        }
        let mut input = vec![1; 5 * RECORD];
        input[2 * RECORD] = 7;
        let small = minimise(run, &input, RECORD);
        assert_eq!((small.len(), small[0]), (RECORD, 7));
        assert!(small[1..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn of_bytes_those_that_matter_are_left() {
        fn run(input: &[u8]) {
            assert!(!input.windows(2).any(|pair| pair == [7, 8]), "pairs: one");
        }
        assert_eq!(minimise(run, &[1, 2, 7, 8, 3, 4, 5], 1), [7, 8]);
    }

    #[test]
    fn an_oracle_is_named_by_its_first_words() {
        assert_eq!(oracle("bindings: after a reset: []"), "bindings");
        assert_eq!(oracle("attempt to add"), "attempt to add");
    }
}
