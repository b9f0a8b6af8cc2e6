//! What criterion leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::error::BenchError;

/// The nanoseconds of one operation, as the median of the samples, for each benchmark in criterion's folder.
pub(crate) fn medians(folder: &Path) -> Result<BTreeMap<String, f64>, BenchError> {
    let mut medians = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let at = |error: std::io::Error| BenchError::failed(folder.display(), error);
        for entry in fs::read_dir(&folder).map_err(at)?.flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                folders.push(entry);
            }
        }
        // Beside it is that of the run before.
        if folder.ends_with("new") {
            let read = |name| fs::read_to_string(folder.join(name)).map_err(at);
            let (name, median) = median(&read("benchmark.json")?, &read("estimates.json")?)
                .ok_or_else(|| {
                    BenchError::failed(folder.display(), "not as criterion writes it")
                })?;
            medians.insert(name, median);
        }
    }
    Ok(medians)
}

fn median(benchmark: &str, estimates: &str) -> Option<(String, f64)> {
    let benchmark: Value = serde_json::from_str(benchmark).ok()?;
    let estimates: Value = serde_json::from_str(estimates).ok()?;
    let operations = benchmark.pointer("/throughput/Elements").map_or(Some(1.0), Value::as_f64)?;
    let median = estimates.pointer("/median/point_estimate")?.as_f64()?;
    Some((benchmark.get("full_id")?.as_str()?.into(), median / operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_that_of_one_operation() {
        let estimates = r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":4096.0}}"#;
        let with = r#"{"full_id":"hit/4k","throughput":{"Elements":1024}}"#;
        let without = r#"{"full_id":"pasid-cache/global-full","throughput":null}"#;
        assert_eq!(median(with, estimates), Some(("hit/4k".into(), 4.0)));
        let whole = Some(("pasid-cache/global-full".into(), 4096.0));
        assert_eq!(median(without, estimates), whole);
        assert_eq!(median("{}", estimates), None);
        assert_eq!(median(with, "{}"), None);
    }

    #[test]
    fn a_folder_of_estimates() {
        let folder = tempfile::tempdir().unwrap();
        for (run, nanoseconds) in [("new", 8), ("base", 16)] {
            let folder = folder.path().join("hit/4k").join(run);
            fs::create_dir_all(&folder).unwrap();
            let benchmark = r#"{"full_id":"hit/4k","throughput":{"Elements":4}}"#;
            fs::write(folder.join("benchmark.json"), benchmark).unwrap();
            let estimates = format!(r#"{{"median":{{"point_estimate":{nanoseconds}}}}}"#);
            fs::write(folder.join("estimates.json"), estimates).unwrap();
        }
        let medians = medians(folder.path()).unwrap();
        assert_eq!(medians, [("hit/4k".to_string(), 2.0)].into());
    }
}
