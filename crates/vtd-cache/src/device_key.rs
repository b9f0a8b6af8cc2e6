//! How the caches name a device.

/// A device of the remapping unit, by a small number that its owner chooses and does not give to two devices at once.
///
/// A source-id will not do: a guest changes it by renumbering buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(pub u32);
