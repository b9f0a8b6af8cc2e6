//! The arguments of `vtd-machine`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use vtd_vfio_user::machine::TableMode;
use vtd_vfio_user::pci_address::{PciAddress, PciAddressError};

/// Serves a VT-d remapping unit and devices behind it over vfio-user, each on a socket of its own.
///
/// Prints the arguments that QEMU needs, one function a line, then "ready". Ends when the VMM has left, or on SIGTERM or SIGINT. Exit status: 0 if all
/// went well, 1 if a connection or a file failed, 2 for bad arguments.
#[derive(Debug, Parser)]
#[command(name = "vtd-machine", version)]
pub(crate) struct Arguments {
    /// Where the sockets are made
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The tables that the guest is to use
    #[arg(long, value_enum, default_value = "first-stage")]
    pub(crate) mode: Mode,
    /// Show caching mode (CAP.CM): the guest tells of new entries too
    #[arg(long)]
    pub(crate) caching_mode: bool,
    /// Show no page requests, neither at the unit nor at the endpoints
    #[arg(long)]
    pub(crate) no_page_requests: bool,
    /// Where the unit's function stands on bus 0
    #[arg(long, value_name = "DEVICE.FUNCTION", default_value = "4.0")]
    pub(crate) unit: PciAddress,
    /// A test endpoint; may be given several times
    #[arg(long, value_name = "DEVICE.FUNCTION")]
    pub(crate) endpoint: Vec<PciAddress>,
    /// A virtio block device and the file that is its disk; may be given several times
    #[arg(long, value_name = "DEVICE.FUNCTION=FILE")]
    pub(crate) block: Vec<BlockArgument>,
    /// Write the DMAR table here, without its header, once the guest's firmware has placed the unit
    #[arg(long, value_name = "FILE")]
    pub(crate) dmar: Option<PathBuf>,
    /// Record what the unit is given and does, for `vtd replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// What the recording says about the guest
    #[arg(long, value_name = "TEXT", requires = "record")]
    pub(crate) guest: Option<String>,
    /// Write what the unit does, as text
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
}

/// The tables that the guest is to use.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// Legacy mode: second-stage tables, no PASIDs
    Legacy,
    /// Scalable mode with second-stage tables
    SecondStage,
    /// Scalable mode with first-stage tables, and SVA
    FirstStage,
    /// Scalable mode with tables of both stages, nested translation and SVA
    Nested,
}

impl Mode {
    pub(crate) fn tables(self) -> TableMode {
        match self {
            Self::Legacy => TableMode::Legacy,
            Self::SecondStage => TableMode::SecondStage,
            Self::FirstStage => TableMode::FirstStage,
            Self::Nested => TableMode::Nested,
        }
    }
}

/// A block device: where it stands, and its disk.
#[derive(Clone, Debug)]
pub(crate) struct BlockArgument {
    pub(crate) address: PciAddress,
    pub(crate) file: PathBuf,
}

/// Text that is no [`BlockArgument`].
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BlockArgumentError {
    #[error("no file: DEVICE.FUNCTION=FILE")]
    NoFile,
    #[error(transparent)]
    Address(#[from] PciAddressError),
}

impl FromStr for BlockArgument {
    type Err = BlockArgumentError;

    fn from_str(text: &str) -> Result<Self, BlockArgumentError> {
        let (address, file) = text.split_once('=').ok_or(BlockArgumentError::NoFile)?;
        if file.is_empty() {
            return Err(BlockArgumentError::NoFile);
        }
        Ok(Self { address: address.parse()?, file: file.into() })
    }
}
