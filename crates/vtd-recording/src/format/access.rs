//! What a request asks for, and what it is granted.

use std::fmt;

/// The access that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `r`: the device reads memory.
    Read,
    /// `w`: the device writes memory.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
        })
    }
}

/// ACCESS of a request: its direction, then `x`, `p` and `z`. A [`Direction`] alone is one without these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestAccess {
    /// `r` or `w`. Of a translation request `r` is the no-write flag.
    pub direction: Direction,
    /// `x`: the request asks to execute. Only a translation request can do so without being a read.
    pub execute: bool,
    /// `p`: the request has supervisor privilege.
    pub privileged: bool,
    /// `z`: a read of no bytes. Neither faults nor translation requests say so.
    pub zero_length: bool,
}

impl RequestAccess {
    /// Whether it says more than its direction.
    #[must_use]
    pub const fn has_modifiers(self) -> bool {
        self.execute || self.privileged || self.zero_length
    }

    /// The access that these letters are.
    pub(super) fn from_letters(letters: &str) -> Option<Self> {
        let mut rest = letters;
        let direction = if take_letter(&mut rest, "r") {
            Direction::Read
        } else if take_letter(&mut rest, "w") {
            Direction::Write
        } else {
            return None;
        };
        let access = Self {
            direction,
            execute: take_letter(&mut rest, "x"),
            privileged: take_letter(&mut rest, "p"),
            zero_length: take_letter(&mut rest, "z"),
        };
        rest.is_empty().then_some(access)
    }
}

impl From<Direction> for RequestAccess {
    fn from(direction: Direction) -> Self {
        Self { direction, execute: false, privileged: false, zero_length: false }
    }
}

impl fmt::Display for RequestAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.direction)?;
        write_letters(f, [(self.execute, "x"), (self.privileged, "p"), (self.zero_length, "z")])
    }
}

/// What a translation grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permissions {
    /// `r`: reads only.
    Read,
    /// `w`: writes only.
    Write,
    /// `rw`: reads and writes.
    ReadWrite,
}

impl Permissions {
    /// Whether an access in this direction is granted.
    #[must_use]
    pub const fn grant(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => matches!(self, Self::Read | Self::ReadWrite),
            Direction::Write => matches!(self, Self::Write | Self::ReadWrite),
        }
    }

    /// Whether a request is served: a read of zero length by any permission.
    #[must_use]
    pub const fn serve(self, access: RequestAccess) -> bool {
        access.zero_length || self.grant(access.direction)
    }

    const fn from_flags(read: bool, write: bool) -> Option<Self> {
        match (read, write) {
            (true, true) => Some(Self::ReadWrite),
            (true, false) => Some(Self::Read),
            (false, true) => Some(Self::Write),
            (false, false) => None,
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::ReadWrite => "rw",
        })
    }
}

/// PERM of a translation request: what the device may do by itself from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// `r`, `w` or `rw`.
    pub permissions: Permissions,
    /// `x`: it may execute.
    pub execute: bool,
    /// `p`: all that is granted to requests with supervisor privilege.
    pub privileged: bool,
}

impl Grant {
    /// The grant that these letters are.
    pub(super) fn from_letters(letters: &str) -> Option<Self> {
        let mut rest = letters;
        let (read, write) = (take_letter(&mut rest, "r"), take_letter(&mut rest, "w"));
        let grant = Self {
            permissions: Permissions::from_flags(read, write)?,
            execute: take_letter(&mut rest, "x"),
            privileged: take_letter(&mut rest, "p"),
        };
        rest.is_empty().then_some(grant)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.permissions)?;
        write_letters(f, [(self.execute, "x"), (self.privileged, "p")])
    }
}

/// ACCESS of a page request, by the bits of its queue entry. Without read and write it is `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageAccess {
    /// `r`.
    pub read: bool,
    /// `w`.
    pub write: bool,
    /// `x`: the device wants to execute.
    pub execute: bool,
    /// `p`: with supervisor privilege.
    pub privileged: bool,
}

impl PageAccess {
    /// The access that these letters are.
    pub(super) fn from_letters(letters: &str) -> Option<Self> {
        let mut rest = letters;
        let (read, write) = (take_letter(&mut rest, "r"), take_letter(&mut rest, "w"));
        if !read && !write && !take_letter(&mut rest, "-") {
            return None;
        }
        let access = Self {
            read,
            write,
            execute: take_letter(&mut rest, "x"),
            privileged: take_letter(&mut rest, "p"),
        };
        rest.is_empty().then_some(access)
    }
}

impl fmt::Display for PageAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Permissions::from_flags(self.read, self.write) {
            Some(permissions) => write!(f, "{permissions}")?,
            None => f.write_str("-")?,
        }
        write_letters(f, [(self.execute, "x"), (self.privileged, "p")])
    }
}

/// Takes a letter off the start, if it stands there.
fn take_letter(rest: &mut &str, letter: &str) -> bool {
    let behind = rest.strip_prefix(letter);
    *rest = behind.unwrap_or(rest);
    behind.is_some()
}

fn write_letters<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    letters: [(bool, &str); N],
) -> fmt::Result {
    letters.iter().filter(|(set, _)| *set).try_for_each(|(_, letter)| f.write_str(letter))
}
