//! Byte offsets of the registers in the register page.
//!
//! IVA, IOTLB and the fault recording registers have no fixed place: see
//! [`Capabilities::invalidate_register_offset`](crate::Capabilities::invalidate_register_offset) and
//! [`Capabilities::fault_record_offset`](crate::Capabilities::fault_record_offset).

/// Version, 4 bytes.
pub const VER: u64 = 0x000;
/// Capability, 8 bytes.
pub const CAP: u64 = 0x008;
/// Extended capability, 8 bytes.
pub const ECAP: u64 = 0x010;
/// Global command, 4 bytes.
pub const GCMD: u64 = 0x018;
/// Global status, 4 bytes.
pub const GSTS: u64 = 0x01c;
/// Root table address, 8 bytes.
pub const RTADDR: u64 = 0x020;
/// Context command, 8 bytes.
pub const CCMD: u64 = 0x028;
/// Fault status, 4 bytes.
pub const FSTS: u64 = 0x034;
/// Fault event control, 4 bytes.
pub const FECTL: u64 = 0x038;
/// Fault event data, 4 bytes.
pub const FEDATA: u64 = 0x03c;
/// Fault event address, 4 bytes.
pub const FEADDR: u64 = 0x040;
/// Fault event upper address, 4 bytes.
pub const FEUADDR: u64 = 0x044;
/// Advanced fault log, 8 bytes; only with CAP.AFL.
pub const AFLOG: u64 = 0x058;
/// Protected memory enable, 4 bytes; only with CAP.PLMR or CAP.PHMR.
pub const PMEN: u64 = 0x064;
/// Protected low-memory base, 4 bytes; only with CAP.PLMR.
pub const PLMBASE: u64 = 0x068;
/// Protected low-memory limit, 4 bytes; only with CAP.PLMR.
pub const PLMLIMIT: u64 = 0x06c;
/// Protected high-memory base, 8 bytes; only with CAP.PHMR.
pub const PHMBASE: u64 = 0x070;
/// Protected high-memory limit, 8 bytes; only with CAP.PHMR.
pub const PHMLIMIT: u64 = 0x078;
/// Invalidation queue head, 8 bytes.
pub const IQH: u64 = 0x080;
/// Invalidation queue tail, 8 bytes.
pub const IQT: u64 = 0x088;
/// Invalidation queue address, 8 bytes.
pub const IQA: u64 = 0x090;
/// Invalidation completion status, 4 bytes.
pub const ICS: u64 = 0x09c;
/// Invalidation event control, 4 bytes.
pub const IECTL: u64 = 0x0a0;
/// Invalidation event data, 4 bytes.
pub const IEDATA: u64 = 0x0a4;
/// Invalidation event address, 4 bytes.
pub const IEADDR: u64 = 0x0a8;
/// Invalidation event upper address, 4 bytes.
pub const IEUADDR: u64 = 0x0ac;
/// Invalidation queue error record, 8 bytes.
pub const IQERCD: u64 = 0x0b0;
/// Interrupt remapping table address, 8 bytes.
pub const IRTA: u64 = 0x0b8;
/// Page request queue head, 8 bytes.
pub const PQH: u64 = 0x0c0;
/// Page request queue tail, 8 bytes.
pub const PQT: u64 = 0x0c8;
/// Page request queue address, 8 bytes.
pub const PQA: u64 = 0x0d0;
/// Page request status, 4 bytes.
pub const PRS: u64 = 0x0dc;
/// Page request event control, 4 bytes.
pub const PECTL: u64 = 0x0e0;
/// Page request event data, 4 bytes.
pub const PEDATA: u64 = 0x0e4;
/// Page request event address, 4 bytes.
pub const PEADDR: u64 = 0x0e8;
/// Page request event upper address, 4 bytes.
pub const PEUADDR: u64 = 0x0ec;
/// Virtual command, 8 bytes; only with ECAP.VCS. Before revision 3.3 at E10, with VCCAP here.
pub const VCMD: u64 = 0xe00;
/// Virtual command response, 8 bytes; only with ECAP.VCS. Before revision 3.3 at E20.
pub const VCRSP: u64 = 0xe10;
/// Virtual command capability, 8 bytes; only with ECAP.VCS. Before revision 3.3 at E00.
pub const VCCAP: u64 = 0xe30;
