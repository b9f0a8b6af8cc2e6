//! The benchmarks of `vtd-fuzzing`, built and run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::error::BenchError;
use crate::executable::executable;
use crate::folders::root;
use crate::interruption::Interruption;
use crate::process::Process;

/// The programs, by name.
pub(crate) struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds these. Cargo shows how far it is.
    pub(crate) fn build(names: &[&str]) -> Result<Self, BenchError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(root()).args(["bench", "--no-run", "--package", "vtd-fuzzing"]);
        command.args(names.iter().flat_map(|name| ["--bench", *name]));
        command.args(["--message-format", "json-render-diagnostics"]);
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| BenchError::failed("cargo", error))?;
        if !output.status.success() {
            return Err(BenchError::Failed(
                "the benchmarks could not be built: cargo says why".into(),
            ));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let program = |name: &&str| {
            let path = executable(&messages, name)
                .ok_or_else(|| BenchError::Failed(format!("cargo names no executable {name}")))?;
            Ok(((*name).to_string(), path))
        };
        Ok(Self(names.iter().map(program).collect::<Result<_, BenchError>>()?))
    }

    /// One that was built.
    pub(crate) fn path(&self, name: &str) -> Result<&Path, BenchError> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.ok_or_else(|| BenchError::Failed(format!("{name} was not built")))
    }
}

/// What a program prints, which has to end well. `told` is given each line of its standard error.
pub(crate) fn output(
    mut command: Command,
    told: impl Fn(&str) + Send,
    interruption: &Interruption,
) -> Result<String, BenchError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process =
        Process::start(&mut command).map_err(|error| BenchError::failed(&name, error))?;
    let (out, err) = (process.child().stdout.take(), process.child().stderr.take());
    let (status, text) = std::thread::scope(|scope| {
        let out = scope.spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error counts.
            let _read = out.map(|mut out| out.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        });
        scope.spawn(move || {
            let lines = err.into_iter().flat_map(|err| BufReader::new(err).lines());
            lines.map_while(Result::ok).for_each(|line| told(&line));
        });
        let status = loop {
            // The readers end with the process.
            if interruption.has_come() {
                process.kill();
            }
            if let Some(status) = process.wait(Duration::from_millis(50)) {
                break status;
            }
        };
        (status, out.join().unwrap_or_default())
    });
    interruption.check()?;
    if status.success() {
        return Ok(text);
    }
    Err(BenchError::Failed(format!("{name} ended with {status}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_a_program_prints_and_how_it_ends() {
        let shell = |script: &str, told: &(dyn Fn(&str) + Sync)| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            output(command, told, &Interruption::default())
        };
        let lines = Mutex::new(Vec::new());
        let told = |line: &str| lines.lock().unwrap().push(line.to_string());
        assert_eq!(shell("echo a; echo b >&2; echo c >&2", &told).unwrap(), "a\n");
        assert_eq!(*lines.lock().unwrap(), ["b", "c"]);
        assert!(shell("exit 3", &told).unwrap_err().to_string().contains("exit status: 3"));
        let come = Interruption::default();
        come.come();
        let mut command = Command::new("sleep");
        command.arg("100");
        assert_eq!(output(command, |_| (), &come).unwrap_err().code(), 130);
    }
}
