//! QEMU's command line.

use std::path::Path;
use std::process::Command;

use super::chroot::Chroot;

/// What the emulated machine has, whatever boots on it. The unit reads guest memory through the shared mapping.
const HARDWARE: &[&str] = &[
    "-accel",
    "tcg,thread=multi",
    // The kernel's first-stage tables have four levels, as the unit offers.
    "-cpu",
    "max,la57=off",
    "-smp",
    "2",
    "-m",
    "256M",
    "-object",
    "memory-backend-memfd,id=m,size=256M,share=on",
    "-machine",
    "q35,memory-backend=m",
    "-nodefaults",
    "-display",
    "none",
    "-monitor",
    "none",
    "-serial",
    "stdio",
];

/// Whether the guest may reset the machine; otherwise QEMU ends where it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnReset {
    End,
    BootAgain,
}

/// QEMU with the machine's functions, and nothing to boot: the firmware gives the functions their addresses, and stops.
pub(crate) fn without_kernel(chroot: &Chroot, devices: &[String]) -> Command {
    let mut command = chroot.command("qemu-system-x86_64");
    command.args(HARDWARE).args(devices);
    command
}

/// What runs on the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Software<'s> {
    /// A path inside, as the next one.
    pub(crate) kernel: &'s str,
    pub(crate) initramfs: &'s str,
    /// The kernel's command line.
    pub(crate) arguments: &'s str,
    /// The DMAR table behind its header, as it is seen from outside.
    pub(crate) dmar: &'s Path,
    pub(crate) on_reset: OnReset,
}

/// QEMU with a kernel.
pub(crate) fn with_kernel(chroot: &Chroot, devices: &[String], software: &Software<'_>) -> Command {
    let Software { kernel, initramfs, arguments, dmar, on_reset } = *software;
    let mut command = without_kernel(chroot, devices);
    if on_reset == OnReset::End {
        command.arg("-no-reboot");
    }
    command.args(["-kernel", kernel, "-initrd", initramfs, "-append", arguments]);
    // A comma would end the option's value; two are one.
    let file = chroot.inside(dmar).to_string_lossy().replace(',', ",,");
    command.args(["-acpitable", &format!("sig=DMAR,data={file}")]);
    command
}
