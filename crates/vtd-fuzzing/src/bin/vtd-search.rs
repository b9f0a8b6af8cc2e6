//! What `cargo xtask fuzz` runs inputs with: each way of it prints a line or a file that xtask reads.
//!
//! `search SEED EXECUTIONS TARGET`: looks for an input that an oracle objects to, from nothing, and says now and then how far it
//! is. `explore SEED SECONDS TARGET FILE…`: does so for a time, from these inputs. `replay TARGET FILE…`, `rate TARGET SECONDS
//! [FILE…]`: executions a second, `minimise TARGET FILE TO`, `list TARGET FILE`, `record TARGET FILE TO`, `seeds FOLDER`, `targets`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use vtd_fuzzing::program::{RECORD, decode};
use vtd_fuzzing::search::{Inputs, message_of, minimise, outcome, search};
use vtd_fuzzing::seeds;
use vtd_fuzzing::targets::{TARGETS, Target};
use vtd_fuzzing::whole_unit::Setup;

/// Operations in an input.
const MOST_RECORDS: usize = 24;
/// After so many executions each a search says how far it is.
const TOLD: u64 = 5_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match work(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn target(name: &str) -> Result<Target, String> {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("there is no target {name}"))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{file}: {error}"))
}

fn work(words: &[&str]) -> Result<ExitCode, String> {
    match words {
        ["targets"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["search", seed, executions, name] => {
            let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
            let run = target(name)?.run;
            let tell = |executions: u64| {
                if executions > 0 && executions.is_multiple_of(TOLD) {
                    println!("at {executions}");
                }
            };
            match search(run, number(seed)?, MOST_RECORDS, number(executions)?, tell) {
                Some(found) => {
                    let input: String =
                        found.input.iter().map(|byte| format!("{byte:02x}")).collect();
                    println!("found {} {input} {}", found.executions, found.message);
                }
                None => println!("nothing"),
            }
        }
        ["explore", seed, seconds, name, files @ ..] => {
            let number = |text: &str| text.parse().map_err(|_| format!("no number: {text}"));
            let files: Result<Vec<_>, _> = files.iter().map(|file| read(file)).collect();
            let time = Duration::from_secs(number(seconds)?);
            explore(target(name)?, number(seed)?, time, files?);
        }
        ["replay", name, files @ ..] => {
            let run = target(name)?.run;
            for file in files {
                if let Some(message) = outcome(run, &read(file)?) {
                    println!("{file}: {message}");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        ["rate", name, seconds, files @ ..] => {
            let inputs: Result<Vec<_>, _> = files.iter().map(|file| read(file)).collect();
            let seconds = seconds.parse().map_err(|_| format!("no number: {seconds}"))?;
            rate(target(name)?, Duration::from_secs(seconds), inputs?);
        }
        ["minimise", name, file, to] => {
            let target = target(name)?;
            // What drives a unit is made of records; all else of bytes.
            let grain = if target.record.is_some() { RECORD } else { 1 };
            let small = minimise(target.run, &read(file)?, grain);
            fs::write(to, small).map_err(|error| format!("{to}: {error}"))?;
        }
        ["list", "whole_unit", file] => list(&read(file)?),
        ["list", name, _] => return Err(format!("an input of {name} is not a list of operations")),
        ["record", name, file, to] => record(target(name)?, &read(file)?, to)?,
        ["seeds", folder] => {
            for (target, name, bytes) in seeds::all() {
                let folder = Path::new(folder).join(target);
                let written =
                    fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), bytes));
                written.map_err(|error| format!("{}: {error}", folder.display()))?;
            }
        }
        _ => {
            return Err(
                "search, explore, replay, rate, minimise, list, record, seeds or targets".into()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs these inputs, then others for a time; prints how many, and the one that an oracle objects to.
fn explore(target: Target, seed: u64, time: Duration, files: Vec<Vec<u8>>) {
    let start = Instant::now();
    let mut made = Inputs::new(seed, MOST_RECORDS);
    let mut files = files.into_iter();
    let mut input = Vec::new();
    let mut executions = 0_u64;
    loop {
        match files.next() {
            Some(file) => {
                made.keep(file.clone());
                input = file;
            }
            None if start.elapsed() >= time => break println!("nothing {executions}"),
            None => made.next(&mut input),
        }
        executions += 1;
        if outcome(target.run, &input).is_some() {
            let input: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            break println!("found {executions} {input}");
        }
    }
}

/// How many inputs of a search are run before more are made.
const AT_ONCE: usize = 1024;

/// Executions a second over these inputs, or over those of a search, the making of which does not count.
fn rate(target: Target, time: Duration, files: Vec<Vec<u8>>) {
    let mut made = Inputs::new(1, MOST_RECORDS);
    let mut inputs = files;
    let is_search = inputs.is_empty();
    let (mut executions, mut operations, mut spent) = (0_u64, 0_u64, Duration::ZERO);
    while spent < time {
        if is_search {
            inputs.resize(AT_ONCE, Vec::new());
            for input in &mut inputs {
                made.next(input);
                // As many operations, of whatever width they are, as a program has records.
                input.truncate(input.len() / RECORD * target.width);
            }
        }
        let before = processor_time();
        let start = Instant::now();
        inputs.iter().for_each(|input| (target.run)(input));
        // Of the processor, where that is known: others may be at work beside.
        let of_processor = before.zip(processor_time()).map(|(before, after)| after - before);
        spent += of_processor.unwrap_or_else(|| start.elapsed());
        executions += inputs.len() as u64;
        let records = inputs.iter().map(|input| input.len() / target.width);
        operations += records.sum::<usize>() as u64;
    }
    let each = spent.as_nanos() / u128::from(executions.max(1));
    println!(
        "{} executions a second, of {} operations on average",
        1_000_000_000 / each.max(1),
        operations / executions.max(1)
    );
}

/// How long this process has been running on a processor.
fn processor_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// Writes down what an input does to the unit, for `vtd replay`: all of it, or what came before an oracle objects.
fn record(target: Target, input: &[u8], to: &str) -> Result<(), String> {
    let name = target.name;
    let Some(record) = target.record else {
        return Err(format!("an input of {name} drives no unit: there is nothing to record"));
    };
    let failed = |error: std::io::Error| format!("{to}: {error}");
    let file = File::create(to).map_err(failed)?;
    let mut end = file.try_clone().map_err(failed)?;
    let output = Cell::new(Some(file));
    let message = message_of(|| {
        if let Some(file) = output.take() {
            record(input, Box::new(BufWriter::new(file)));
        }
    });
    if let Some(message) = message {
        // The recording has been written by now, and both write at the same place.
        writeln!(end, "# note: {}", message.lines().next().unwrap_or_default()).map_err(failed)?;
    }
    Ok(())
}

/// The program that the bytes are for the target of the whole unit.
fn list(bytes: &[u8]) {
    let (setup, rest) = match bytes.split_first_chunk::<RECORD>() {
        Some((record, rest)) => (Setup::decode(*record), rest),
        None => (Setup::default(), &[][..]),
    };
    println!("  0  {setup:?}");
    for (number, operation) in (1..).zip(decode(rest)) {
        println!("{number:3}  {operation}");
    }
}
