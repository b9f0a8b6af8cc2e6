//! What the guest says on its serial console: one line for each thing that happens to a check.

/// A line of the guest's that is meant for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The checks that this boot is going to run.
    Plan(Vec<String>),
    Begin(String),
    Progress {
        check: String,
        done: u64,
        of: u64,
    },
    Pass {
        check: String,
        figures: String,
    },
    Fail {
        check: String,
        what: String,
    },
    Skip {
        check: String,
        why: String,
    },
    /// All checks of this boot are over.
    Done,
    /// The guest resets the machine.
    Reboot,
    /// The guest starts another kernel by itself.
    Kexec,
    /// It begins like a message and is none.
    Garbled(String),
}

/// What each message begins with.
const MARK: &str = "VTD: ";

impl Message {
    /// Reads a line of the console; `None` where it is not meant for us.
    ///
    /// The mark may stand anywhere: the kernel's own messages can end up before it on the same line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, text) = line.split_once(MARK)?;
        let text = text.trim();
        let (verb, rest) = split_word(text);
        let (check, rest) = (split_word(rest).0, split_word(rest).1);
        let named = |message: fn(String, String) -> Self| {
            (!check.is_empty()).then(|| message(check.into(), rest.into()))
        };
        let message = match verb {
            "plan" => Some(Self::Plan(text.split_whitespace().skip(1).map(Into::into).collect())),
            "begin" => named(|check, _| Self::Begin(check)),
            "progress" => rest.split_once('/').and_then(|(done, of)| {
                let (done, of) = (done.trim().parse().ok()?, of.trim().parse().ok()?);
                Some(Self::Progress { check: check.into(), done, of })
            }),
            "pass" => named(|check, figures| Self::Pass { check, figures }),
            "fail" => named(|check, what| Self::Fail { check, what }),
            "skip" => named(|check, why| Self::Skip { check, why }),
            "done" => Some(Self::Done),
            "reboot" => Some(Self::Reboot),
            "kexec" => Some(Self::Kexec),
            _ => None,
        };
        Some(message.unwrap_or_else(|| Self::Garbled(text.into())))
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

/// What a stock kernel only says when something is badly wrong.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "BUG: ",
    "WARNING: ",
    "Oops: ",
    "general protection fault",
    "soft lockup",
    "hard LOCKUP",
    "detected stall",
    "blocked for more than",
    "kernel BUG at",
    "invalid opcode:",
];

/// Whether this line of the console is a complaint of the kernel's that no check asks for.
pub(crate) fn is_complaint(line: &str) -> bool {
    !line.contains(MARK) && COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}

/// Whether the kernel has given up.
pub(crate) fn is_panic(line: &str) -> bool {
    line.contains("Kernel panic")
}

/// A line as it is shown and parsed: no carriage return, no control sequences of terminals.
pub(crate) fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            skip_sequence(&mut characters);
        } else if !character.is_control() || character == '\t' {
            plain.push(character);
        }
    }
    plain
}

/// Skips what belongs to an escape: one character, or with `[` everything up to a letter.
fn skip_sequence(characters: &mut std::str::Chars<'_>) {
    if characters.next() == Some('[') {
        for character in characters.by_ref() {
            if character.is_ascii_alphabetic() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Message {
        Message::parse(line).unwrap()
    }

    #[test]
    fn each_message_of_the_protocol_is_read() {
        assert_eq!(
            parsed("VTD: plan block sva faults"),
            Message::Plan(vec!["block".into(), "sva".into(), "faults".into()])
        );
        assert_eq!(parsed("VTD: plan"), Message::Plan(vec![]));
        assert_eq!(parsed("VTD: begin sva"), Message::Begin("sva".into()));
        let progress = Message::Progress { check: "sva".into(), done: 3, of: 100 };
        assert_eq!(parsed("VTD: progress sva 3/100"), progress);
        let pass = Message::Pass { check: "sva".into(), figures: "100 pages, 7 ms".into() };
        assert_eq!(parsed("VTD: pass sva 100 pages, 7 ms"), pass);
        let bare = Message::Pass { check: "sva".into(), figures: String::new() };
        assert_eq!(parsed("VTD: pass sva"), bare);
        let fail = Message::Fail { check: "sva".into(), what: "read 0, not 5".into() };
        assert_eq!(parsed("VTD: fail sva read 0, not 5"), fail);
        let skip = Message::Skip { check: "sva".into(), why: "legacy tables".into() };
        assert_eq!(parsed("VTD: skip sva legacy tables"), skip);
        assert_eq!(parsed("VTD: done"), Message::Done);
        assert_eq!(parsed("VTD: reboot"), Message::Reboot);
        assert_eq!(parsed("VTD: kexec"), Message::Kexec);
    }

    #[test]
    fn a_kernel_message_before_the_mark_does_no_harm() {
        assert_eq!(parsed("[    1.234567] VTD: begin sva"), Message::Begin("sva".into()));
        assert_eq!(parsed("[    1.2] random: crng init doneVTD: done"), Message::Done);
    }

    #[test]
    fn what_is_not_of_the_protocol_is_not_lost() {
        for text in ["begin", "pass", "progress sva", "progress sva 3", "progress sva x/4", "was"] {
            assert_eq!(parsed(&format!("VTD: {text}")), Message::Garbled(text.into()));
        }
        assert_eq!(Message::parse("[    0.000000] Linux version 7.3.4"), None);
        assert_eq!(Message::parse(""), None);
    }

    #[test]
    fn control_characters_are_left_out() {
        assert_eq!(plain(b"\x1b[1;31mVTD: done\x1b[0m\r"), "VTD: done");
        assert_eq!(plain(b"\x1bcSeaBIOS\r"), "SeaBIOS");
        assert_eq!(plain(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_kernel_in_trouble_is_noticed() {
        assert!(is_complaint("[    2.0] WARNING: CPU: 0 PID: 1 at drivers/iommu/intel/iommu.c:1"));
        assert!(is_complaint("[    2.0] BUG: unable to handle page fault"));
        assert!(is_panic("[    2.0] Kernel panic - not syncing: Attempted to kill init!"));
        assert!(!is_complaint("[    2.0] DMAR: DRHD: handling fault status reg 2"));
        assert!(!is_complaint("VTD: fail sva WARNING: in the log"));
    }
}
