//! What cargo says that it has built.

use std::path::PathBuf;

/// Where cargo says that it has put a program.
pub(crate) fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|target| target == name))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_told_from_a_library_of_the_same_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"vtd"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"vtd"},"executable":"/target/release/vtd"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "vtd"), Some("/target/release/vtd".into()));
        assert_eq!(executable(messages, "vtd-machine"), None);
    }
}
