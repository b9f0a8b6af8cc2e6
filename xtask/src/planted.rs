//! `cargo xtask planted`: whether the tests of the known failures find those failures.
//!
//! The tests are built once with the feature `planted`, which compiles a wrong behaviour into the crates for each row of the
//! table of known failures. They have to pass while none is switched on. Then each is switched on by itself
//! (`VTD_PLANTED`), and a test of its row has to fail. What makes a unit answer with what is invalid also has to be found in the
//! unit's own recordings, by those who have only them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A fault that is compiled into the crates, to be switched on.
struct Fault {
    /// What `is_planted` is asked for: the row, with 100 more for each further fault of a row.
    number: u16,
    what: &'static str,
    /// Whose tests have to find it.
    package: &'static str,
}

/// The packages whose tests find faults.
const PACKAGES: [&str; 2] = ["vtd", "vtd-recording"];

impl Fault {
    const fn row(&self) -> u16 {
        self.number % 100
    }
}

const fn fault(number: u16, what: &'static str) -> Fault {
    Fault { number, what, package: "vtd" }
}

/// A fault that is planted again, to be found in recordings of the unit.
const fn recorded(number: u16, what: &'static str) -> Fault {
    Fault { number, what, package: "vtd-recording" }
}

/// What is planted under a number; nothing else than these is planted for a row.
#[allow(clippy::panic, reason = "it is asked at compile time")]
pub(crate) const fn what(number: u16) -> &'static str {
    let mut faults = FAULTS;
    while let [first, rest @ ..] = faults {
        if first.number == number {
            return first.what;
        }
        faults = rest;
    }
    panic!("nothing is planted under this number")
}

/// Every planted fault, by row.
const FAULTS: &[Fault] = &[
    fault(1, "an entry that replaced another is not stored"),
    fault(101, "a context-cache invalidation leaves PASID entries cached"),
    fault(2, "P=0 is ignored where other fields are stale"),
    fault(3, "8 bytes for a 4-byte register end the process"),
    fault(4, "AM is a shift of 32 bits"),
    fault(5, "a write hits what a read has filled, without D"),
    fault(105, "A and D are written plainly"),
    fault(6, "PDTS is ignored"),
    fault(106, "PASIDE is ignored"),
    fault(206, "DTE is ignored"),
    fault(7, "reserved bits of PASID entries are ignored"),
    fault(107, "XD counts without NXE"),
    fault(8, "canonical by the second-stage width"),
    fault(9, "a zeroed PASID entry is 5b"),
    fault(109, "legacy codes for second-stage tables in scalable mode"),
    fault(209, "recoverable faults of translation requests are recorded"),
    fault(10, "no PASID in faults of directory and entry"),
    fault(110, "PASIDs of fault records cut to 16 bits"),
    fault(11, "FPD of the PASID directory is ignored"),
    fault(111, "FPD of an entry that is not present is ignored"),
    fault(12, "TTM=11 translates"),
    fault(13, "the queue closes behind a wait only"),
    fault(14, "nothing is fetched after IQE until the tail is written"),
    fault(114, "IQERCD reads 0"),
    fault(15, "IQA counts while the queue is enabled"),
    fault(16, "PFSID is reserved although DIT is shown"),
    fault(17, "a PASID entry is read twice in one translation"),
    fault(18, "an assertion on a guest's PASID"),
    fault(19, "the state of an empty slot is kept"),
    fault(20, "effects are not bounded"),
    fault(120, "everything is told, as often as a guest wants"),
    fault(220, "an event for every page request"),
    fault(21, "a page group response without PASID is malformed"),
    fault(121, "only half of a page request is written"),
    fault(221, "PRO is not honoured"),
    fault(22, "a failed bind counts as bound"),
    fault(23, "a host failure during reset ends the process"),
    fault(24, "IQH is ahead of what is done"),
    fault(124, "a queue is read past its end"),
    fault(25, "DW at another bit"),
    fault(125, "a tail past the end is not noticed"),
    fault(26, "the held domain does not lead to a binding"),
    fault(27, "a slot is freed though the unbind failed"),
    fault(127, "the ledger is ahead of the host's answer"),
    fault(28, "the first copy of a torn entry counts"),
    fault(29, "a PASID-cache descriptor's host calls come after the wait"),
    fault(129, "a wait completes whatever is still under way"),
    fault(229, "a wait completes before the devices have answered"),
    fault(329, "the interrupt listener is told after the wait"),
    fault(201, "a shadow is not filled after a replace"),
    fault(219, "mappings have no quota"),
    fault(227, "pages are forgotten though the unmap failed"),
    fault(429, "a type 2 descriptor's mappings come after the wait"),
    recorded(101, "recorded: a PASID entry is used after its context went"),
    recorded(4, "recorded: a page is used after an invalidation by AM 32"),
];

/// How long the tests of a row may take. An endless loop is cut here, and was found.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of running the tests of a row.
struct Outcome {
    failed: Vec<String>,
    ran: usize,
    end: End,
    took: Duration,
}

enum End {
    Exit(ExitStatus),
    OutOfTime,
}

impl Outcome {
    fn is_clean(&self) -> bool {
        matches!(&self.end, End::Exit(status) if status.success())
    }

    /// Who found the fault, for people; `None` where nobody did.
    fn finder(&self) -> Option<String> {
        match (&self.failed[..], &self.end) {
            ([], End::OutOfTime) => Some(format!("cut after {} s", PATIENCE.as_secs())),
            ([], End::Exit(status)) if !status.success() => {
                Some(format!("the tests ended by themselves: {status}"))
            }
            ([], _) => None,
            ([one], _) => Some(one.clone()),
            ([first, others @ ..], _) => Some(format!("{first} and {} more", others.len())),
        }
    }
}

/// Plants each fault, or those of one row, and expects it to be found.
pub(crate) fn run(row: Option<u16>) -> Result<(), String> {
    let faults: Vec<_> =
        FAULTS.iter().filter(|fault| row.is_none_or(|row| fault.row() == row)).collect();
    if faults.is_empty() {
        return Err(format!("no fault is planted for row {}", row.unwrap_or(0)));
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/planted");
    let tests = build(&target)?;

    let filter = row.map_or("known_failure_".into(), filter);
    for tests in &tests {
        let clean = run_tests(&tests.executable, &target, &filter, None)?;
        if !clean.is_clean() {
            let found = clean.finder().unwrap_or_default();
            return Err(format!("with nothing planted the tests have to pass: {found}"));
        }
        let (package, ran, took) = (tests.package, clean.ran, clean.took.as_secs_f32());
        println!("{package}: {ran} tests pass with nothing planted, {took:.1} s");
    }
    println!();

    println!("{:>3}  {:<60} {:<6} {:>5}  test that fails", "row", "planted", "caught", "s");
    let mut missed = Vec::new();
    for fault in faults {
        let tests = tests.iter().find(|tests| tests.package == fault.package);
        let tests = tests.ok_or_else(|| format!("{} has no tests", fault.package))?;
        let filter = filter_of(fault);
        let outcome = run_tests(&tests.executable, &target, &filter, Some(fault.number))?;
        if outcome.ran == 0 && matches!(outcome.end, End::Exit(_)) {
            return Err(format!("row {} has no test", fault.row()));
        }
        let finder = outcome.finder();
        println!(
            "{:>3}  {:<60} {:<6} {:>5.1}  {}",
            fault.row(),
            fault.what,
            if finder.is_some() { "yes" } else { "NO" },
            outcome.took.as_secs_f32(),
            finder.as_deref().unwrap_or("none"),
        );
        if finder.is_none() {
            missed.push(format!("row {}: {}", fault.row(), fault.what));
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(format!("not caught:\n  {}", missed.join("\n  ")))
}

fn filter_of(fault: &Fault) -> String {
    filter(fault.row())
}

fn filter(row: u16) -> String {
    format!("known_failure_{row:02}")
}

/// The tests of the known failures of a package.
struct Tests {
    package: &'static str,
    executable: PathBuf,
}

/// Builds the tests in a target directory of their own, so that other builds stay as they are.
fn build(target: &Path) -> Result<Vec<Tests>, String> {
    let output = Command::new("cargo")
        .arg("test")
        .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
        .args(["--test", "known_failures", "--features", "planted"])
        .args(["--no-run", "--message-format", "json-render-diagnostics", "--target-dir"])
        .arg(target)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be run: {error}"))?;
    if !output.status.success() {
        return Err("the known failures could not be built".into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let built: Vec<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message.pointer("/target/name").is_some_and(|name| name == "known_failures")
        })
        .collect();
    let tests = PACKAGES.map(|package| {
        let executable = built.iter().find_map(|message| {
            let manifest = Path::new(message.get("manifest_path")?.as_str()?);
            let is_its = manifest.parent()?.file_name()? == package;
            let executable = message.get("executable")?.as_str()?;
            is_its.then(|| PathBuf::from(executable))
        });
        let executable =
            executable.ok_or_else(|| format!("cargo names no executable of {package}"))?;
        Ok(Tests { package, executable })
    });
    tests.into_iter().collect()
}

/// Runs the tests that the filter names, with a fault planted or with none.
fn run_tests(
    tests: &Path,
    target: &Path,
    filter: &str,
    planted: Option<u16>,
) -> Result<Outcome, String> {
    let failed = |error: io::Error| format!("the tests could not be run: {error}");
    // Into a file, so that a test that prints without end does not stop at a full pipe.
    let printed = target.join("known_failures.txt");
    let mut command = Command::new(tests);
    command.arg(filter).env_remove("VTD_PLANTED").env("RUST_BACKTRACE", "0");
    if let Some(number) = planted {
        command.env("VTD_PLANTED", number.to_string());
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(File::create(&printed).map_err(failed)?);
    let start = Instant::now();
    let mut child = command.spawn().map_err(failed)?;
    let end = wait(&mut child).map_err(failed)?;
    let took = start.elapsed();
    let lines = std::fs::read_to_string(&printed).map_err(failed)?;
    let verdicts: Vec<_> =
        lines.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... ")).collect();
    let name = |test: &str| test.rsplit("::").next().unwrap_or(test).to_string();
    let fails = verdicts.iter().filter(|(_, verdict)| verdict.starts_with("FAILED"));
    Ok(Outcome {
        failed: fails.map(|(test, _)| name(test)).collect(),
        ran: verdicts.len(),
        end,
        took,
    })
}

fn wait(child: &mut Child) -> io::Result<End> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Exit(status));
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(End::OutOfTime);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
