//! What can be done.

use super::composite::Composite;

/// A table that an edit names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// A root table, of two.
    Root(u8),
    /// The context table of a device, of three.
    Context(u8),
    /// A PASID directory, of two.
    Directory(u8),
    /// A PASID table, of three.
    Pasids(u8),
    /// A first-stage table, of seven.
    FirstStage(u8),
    /// A second-stage table, of six.
    SecondStage(u8),
    /// The interrupt remapping table.
    Interrupts,
}

/// What an entry points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Nothing: the address is 0.
    Nothing,
    /// A table.
    Table(Table),
    /// A page of data, of five.
    Data(u8),
    /// Above all memory.
    Nowhere,
}

/// Flags of an operation, eight of them; each operation says what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bits(pub u8);

impl Bits {
    /// Whether a flag is set.
    #[must_use]
    pub const fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// A change of an entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edit {
    /// Where.
    pub table: Table,
    /// Which entry: an index of the pool that its table has.
    pub index: u8,
    /// What it points to.
    pub target: Target,
    /// The kind of entry among those of its table (PGTT, TT, sizes).
    pub kind: u8,
    /// Its domain.
    pub domain: u8,
    /// Its permissions and other flags. All set is the usual: present, and everything permitted.
    pub bits: Bits,
    /// One more bit of the entry, or of its second or third quadword, that is turned over; 255: none. So reserved bits get set.
    pub turned: u8,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queued {
    /// Its type, 0 to f.
    pub kind: u8,
    /// Its granularity.
    pub granularity: u8,
    /// The domain.
    pub domain: u8,
    /// The PASID.
    pub pasid: u8,
    /// The device.
    pub source: u8,
    /// The page.
    pub page: u8,
    /// The address mask.
    pub mask: u8,
    /// The flags of its type: IH, S, FM, SW, IF and others.
    pub bits: Bits,
    /// A bit of the descriptor that is turned over, of 256; 255: none.
    pub turned: u8,
}

/// A request of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestOperation {
    /// 0 untranslated, 1 translation request, 2 translated, 3 page request.
    pub kind: u8,
    /// The device.
    pub source: u8,
    /// The PASID.
    pub pasid: u8,
    /// The page.
    pub page: u8,
    /// Bit 0 write, 1 execute, 2 privileged, 3 zero length, 4 with PASID, 5 last page in its group, and of an untranslated request
    /// that a write of the same follows.
    pub bits: Bits,
}

/// Which call of the host fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostFailure {
    /// The how manieth from now, from 1 on; 0: every call until this is said with another number.
    pub call: u8,
}

/// What a VMM does with its devices and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// A device is attached: emulated, emulated with a device TLB, or assigned.
    Attach {
        /// Which device.
        source: u8,
        /// 0 emulated, 1 with an endpoint, 2 assigned.
        kind: u8,
    },
    /// A device is released.
    Release {
        /// Which device.
        source: u8,
    },
    /// A device gets another source-id.
    Renumber {
        /// Which device.
        source: u8,
        /// The device whose source-id it gets.
        new: u8,
    },
    /// What failed is tried again.
    Retry {
        /// Which device.
        source: u8,
    },
    /// The unit is reset.
    Reset {
        /// Whether power was off.
        power_on: bool,
    },
    /// The unit is saved and restored.
    SaveAndRestore {
        /// Onto a host that holds nothing.
        fresh_host: bool,
    },
    /// The unit does this much work.
    Step {
        /// In units of 1.
        budget: u8,
    },
    /// Everything that is left is done.
    Run,
}

/// One operation of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The guest writes a register, or where none is.
    Write {
        /// The offset in the register page.
        offset: u16,
        /// How many bytes, 0 to 15.
        size: u8,
        /// The value.
        value: u64,
    },
    /// The guest writes a qword of memory.
    Store {
        /// The number of the qword.
        place: u16,
        /// What it holds then.
        value: u64,
    },
    /// The guest changes an entry.
    Edit(Edit),
    /// The guest queues a descriptor, without telling the unit.
    Queue(Queued),
    /// The guest queues what may be no descriptor.
    QueueRaw {
        /// The first quadword.
        low: u64,
    },
    /// The guest queues a wait and writes the tail.
    Doorbell,
    /// The guest writes the tail.
    Tail,
    /// The guest has its queue, its root table and translation on, as drivers do it: bit 0 legacy mode, 1 128-bit descriptors, 2 two pages of queue,
    /// 3 the second root table, 4 interrupt remapping, 5 the page request queue, 6 events unmasked.
    Enable {
        /// How.
        bits: Bits,
    },
    /// The guest has translation off, or on again.
    Translation {
        /// Whether on.
        on: bool,
    },
    /// A device makes a request.
    Request(RequestOperation),
    /// A device sends an interrupt.
    Interrupt {
        /// The device.
        source: u8,
        /// 19:0 of the address.
        address: u32,
        /// The data.
        data: u32,
    },
    /// Memory changes after some more reads.
    Trap {
        /// How many.
        reads: u8,
        /// The number of the qword.
        place: u16,
        /// What it holds then.
        value: u64,
    },
    /// A call of the host fails.
    HostFails(HostFailure),
    /// The VMM does something.
    Lifecycle(Lifecycle),
    /// The guest clears or sets an entry and invalidates what that takes: a PASID-table entry (type 7, then 6, 2 and 8), as drivers do it.
    /// `old`: with the domain that the entry had; else with the new one.
    Rebind {
        /// The edit, of a PASID table.
        edit: Edit,
        /// Which PASID it belongs to.
        pasid: u8,
        /// Which domain the invalidation names.
        old: bool,
    },
    /// The guest changes a page-table entry and invalidates the page.
    Remap {
        /// The edit, of a first-stage or second-stage table.
        edit: Edit,
        /// The page that is invalidated.
        page: u8,
        /// For which PASID.
        pasid: u8,
        /// And domain.
        domain: u8,
        /// While the first device has a transfer under way that goes through what is invalidated.
        guarded: bool,
    },
    /// Several steps of one story.
    Composite(Composite),
}
