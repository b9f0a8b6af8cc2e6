//! A guest, its devices, its host and its VMM do anything at any moment, all that the unit knows at once: nothing panics, nothing
//! hangs, nothing that could go on is left lying, and in the end everything can be taken down.
#![cfg(test)]

mod devices;
#[path = "../guest/mod.rs"]
mod guest;
mod world;

use guest::Numbers;
use world::{Style, World};

/// What one thread does to a world of its own.
fn play(seed: u64, style: Style) {
    let name = format!("seed {seed}");
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
    let world = World::new(seed);
    for _ in 0..4 {
        world.attach(&mut numbers);
    }
    world.boot();
    for _ in 0..600 {
        world.act(&mut numbers, style, 0, &name);
    }
    world.take_down(&name);
}

// feature: 3.bounded work and memory
#[test]
fn everything_at_any_moment() {
    (1..=25).for_each(|seed| play(seed, Style::Alone));
}

/// Whatever is left when a step says that it can do no more comes with a wake.
#[test]
fn no_wake_is_missing() {
    (1..=25).for_each(|seed| play(seed, Style::Woken));
}

// feature: 3.bounded work and memory
#[test]
fn several_threads() {
    for seed in 1..=8_u64 {
        let name = format!("seed {seed}");
        let world = World::new(seed);
        world.boot();
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let (world, name) = (&world, &name);
                scope.spawn(move || {
                    let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed * 8 + thread);
                    let mut numbers = Numbers(seed);
                    for _ in 0..400 {
                        world.act(&mut numbers, Style::Together, 0, name);
                    }
                });
            }
        });
        world.take_down(&name);
    }
}
