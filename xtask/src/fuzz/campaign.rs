//! Running targets with libFuzzer.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::Arguments;
use super::lack::{Lack, survey};
use super::progress::{Progress, artifact};
use super::search_program::SearchProgram;
use super::{FuzzError, finding, root};

/// A setup and 24 operations, of 16 bytes each.
const LONGEST: &str = "-max_len=400";
/// Recordings and states are text.
const LONGEST_TEXT: &str = "-max_len=4096";

/// Builds the targets and runs each for its time.
pub(crate) fn run(arguments: &Arguments) -> Result<(), FuzzError> {
    let mut needed = vec![Lack::CargoFuzz, Lack::CppCompiler];
    if arguments.address {
        needed.push(Lack::Nightly);
    }
    let lacks = survey(&needed);
    if !lacks.is_empty() {
        return Err(FuzzError::Lacks(lacks));
    }
    let program = SearchProgram::build(false)?;
    let all = program.targets()?;
    let targets =
        if arguments.targets.is_empty() { all.clone() } else { arguments.targets.clone() };
    if let Some(unknown) = targets.iter().find(|target| !all.contains(target)) {
        return Err(FuzzError::Failed(format!("there is no target {unknown}: {}", all.join(", "))));
    }
    let programs = build(arguments.address)?;
    let mut found = Vec::new();
    for target in &targets {
        let campaign = Campaign::new(&programs, target)?;
        for input in campaign.run(arguments)? {
            found.push(finding::keep(&program, target, &input)?);
        }
        campaign.minimise(arguments.keep)?;
    }
    if found.is_empty() { Ok(()) } else { Err(FuzzError::Found(found.join("\n"))) }
}

/// Builds all targets; where they are.
fn build(address: bool) -> Result<PathBuf, FuzzError> {
    let target = root().join("target/fuzz");
    let mut command = Command::new("cargo");
    if address {
        command.arg("+nightly");
    }
    let sanitizer = if address { "address" } else { "none" };
    command.current_dir(root()).args(["fuzz", "build", "--sanitizer", sanitizer, "--target-dir"]);
    let status =
        command.arg(&target).status().map_err(|error| FuzzError::failed("cargo", error))?;
    if !status.success() {
        return Err(FuzzError::Failed("the targets could not be built".into()));
    }
    let triples = fs::read_dir(&target).map_err(|error| FuzzError::failed("target/fuzz", error))?;
    let mut programs = triples.flatten().map(|triple| triple.path().join("release"));
    let found = programs.find(|folder| folder.join("whole_unit").is_file());
    found.ok_or_else(|| FuzzError::Failed("cargo fuzz has left no programs".into()))
}

/// A target that is run.
struct Campaign {
    target: String,
    program: PathBuf,
    /// What libFuzzer finds, which is nobody's to keep.
    corpus: PathBuf,
    /// What the project keeps.
    kept: PathBuf,
    artifacts: PathBuf,
}

impl Campaign {
    fn new(programs: &Path, target: &str) -> Result<Self, FuzzError> {
        let campaign = Self {
            target: target.into(),
            program: programs.join(target),
            corpus: root().join("fuzz/corpus").join(target),
            kept: root().join("corpus/fuzz").join(target),
            artifacts: root().join("fuzz/artifacts").join(target),
        };
        for folder in [&campaign.corpus, &campaign.kept, &campaign.artifacts] {
            fs::create_dir_all(folder).map_err(|error| FuzzError::failed("a folder", error))?;
        }
        Ok(campaign)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let longest = match self.target.as_str() {
            "recording_parser" | "state_restore" => LONGEST_TEXT,
            _ => LONGEST,
        };
        command.args([longest, "-timeout=10", "-rss_limit_mb=2048"]);
        let dictionary = root().join("fuzz/dictionaries").join(&self.target).with_extension("dict");
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        command.arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Runs it; the inputs that something was wrong with.
    fn run(&self, arguments: &Arguments) -> Result<Vec<PathBuf>, FuzzError> {
        let (sender, lines) = channel();
        let mut children = Vec::new();
        for worker in 0..arguments.workers.max(1) {
            let mut child = self
                .command()
                .arg(format!("-max_total_time={}", arguments.time))
                .arg(format!("-seed={}", worker + 1))
                .args(["-reload=1", "-print_final_stats=0"])
                .args([&self.corpus, &self.kept])
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| FuzzError::failed(&self.target, error))?;
            if let Some(errors) = child.stderr.take() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for line in BufReader::new(errors).lines().map_while(Result::ok) {
                        if sender.send((worker as usize, line)).is_err() {
                            break;
                        }
                    }
                });
            }
            children.push(child);
        }
        drop(sender);
        let found = self.watch(&lines, children.len(), arguments.time);
        wait(&mut children)?;
        Ok(found)
    }

    /// Shows how far it is, until all have ended.
    fn watch(&self, lines: &Receiver<(usize, String)>, workers: usize, time: u64) -> Vec<PathBuf> {
        let bar = ProgressBar::new(time);
        let style = ProgressStyle::with_template("{prefix:18} [{bar:20}] {pos}/{len} s  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(self.target.clone());
        let start = Instant::now();
        let mut progress = vec![Progress::default(); workers];
        let mut found = Vec::new();
        loop {
            match lines.recv_timeout(Duration::from_secs(1)) {
                Ok((worker, line)) => {
                    if let (Some(now), Some(place)) =
                        (Progress::read(&line), progress.get_mut(worker))
                    {
                        *place = now;
                    }
                    found.extend(artifact(&line).map(PathBuf::from));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let all = Progress::together(&progress);
            let seconds = start.elapsed().as_secs();
            bar.set_position(seconds.min(time));
            bar.set_message(said(all, seconds, found.len()));
        }
        bar.finish();
        let all = Progress::together(&progress);
        println!("{:18} {}", self.target, said(all, start.elapsed().as_secs(), found.len()));
        found
    }

    /// Leaves of the inputs those that reach something. With `keep` those that reach what no kept one does are kept.
    fn minimise(&self, keep: bool) -> Result<(), FuzzError> {
        let fresh = self.corpus.with_extension("fresh");
        let failed = |error| FuzzError::failed("minimising", error);
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(failed)?;
        }
        fs::create_dir_all(&fresh).map_err(failed)?;
        self.merge(&fresh, &self.corpus)?;
        fs::remove_dir_all(&self.corpus).map_err(failed)?;
        fs::rename(&fresh, &self.corpus).map_err(failed)?;
        if keep { self.merge(&self.kept, &self.corpus) } else { Ok(()) }
    }

    fn merge(&self, into: &Path, from: &Path) -> Result<(), FuzzError> {
        let status =
            self.command().arg("-merge=1").args([into, from]).stderr(Stdio::null()).status();
        status.map(drop).map_err(|error| FuzzError::failed("merging", error))
    }
}

fn said(progress: Progress, seconds: u64, found: usize) -> String {
    let Progress { executions, coverage, corpus } = progress;
    let each = executions / seconds.max(1);
    format!(
        "{executions} executions, {each} a second, {coverage} edges, {corpus} inputs, {found} found"
    )
}

fn wait(children: &mut [Child]) -> Result<(), FuzzError> {
    for child in children {
        child.wait().map_err(|error| FuzzError::failed("libFuzzer", error))?;
    }
    Ok(())
}
