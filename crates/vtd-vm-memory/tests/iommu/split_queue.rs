//! A virtio queue whose rings and buffers are all behind the unit.

use std::io::{Read, Write};

use virtio_queue::{Queue, QueueT, Reader, Writer};
use vm_memory::{GuestMemory, IommuMemory};
use vtd_vm_memory::GuardIommu;

use crate::guest::{FIRST_STAGE, Guest, Mmap, RID_IOTLB, get, map_page, put};

/// Where the device has the queue's pages and the buffers', and where they are. None lies behind its neighbour.
const PAGES: [(u64, u64); 6] = [
    // Descriptors, available ring, used ring.
    (0x10_0000, 0x50_3000),
    (0x11_0000, 0x50_1000),
    (0x12_0000, 0x3f_f000),
    // What the device reads: two pages.
    (0x13_0000, 0x60_2000),
    (0x13_1000, 0x60_0000),
    // What it writes.
    (0x14_0000, 0x61_0000),
];
/// F_NEXT and F_WRITE of a descriptor.
const NEXT: u64 = 1;
const WRITE: u64 = 2;

/// A driver that has put one chain into a queue of 16: 32 bytes over a border of two pages to read, 64 to write.
pub(crate) fn drive(map: &Mmap) {
    for (iova, page) in PAGES {
        map_page(map, FIRST_STAGE, iova, page, 7);
    }
    // Address; length, flags, next.
    put(map, 0x50_3000, &[0x13_0ff0, 0x20 | NEXT << 32 | 1 << 48, 0x14_0100, 0x40 | WRITE << 32]);
    // Flags and index of the ring, then its first entry: chain 0.
    put(map, 0x50_1000, &[1 << 16]);
    put(map, 0x60_2ff0, &[0x1111, 0x2222]);
    put(map, 0x60_0000, &[0x3333, 0x4444]);
}

/// The queue as the driver has set it up.
pub(crate) fn queue() -> Queue {
    let mut queue = Queue::new(16).unwrap();
    queue.set_size(16);
    queue.set_desc_table_address(Some(0x10_0000), Some(0));
    queue.set_avail_ring_address(Some(0x11_0000), Some(0));
    queue.set_used_ring_address(Some(0x12_0000), Some(0));
    queue.set_ready(true);
    queue
}

/// Takes a chain, adds up what can be read and writes the sum, eight times.
fn serve<M: GuestMemory>(queue: &mut Queue, memory: &M) -> Option<u64>
where
    for<'m> M::Bitmap: vm_memory::bitmap::WithBitmapSlice<'m, S = ()>,
{
    let chain = queue.pop_descriptor_chain(memory)?;
    let head = chain.head_index();
    let (mut reader, mut writer) =
        (Reader::new(memory, chain.clone()).unwrap(), Writer::new(memory, chain).unwrap());
    let (mut sum, mut number) = (0, [0; 8]);
    while reader.available_bytes() > 0 {
        reader.read_exact(&mut number).unwrap();
        sum += u64::from_le_bytes(number);
    }
    while writer.available_bytes() > 0 {
        writer.write_all(&sum.to_le_bytes()).unwrap();
    }
    queue.add_used(memory, head, 0x40).unwrap();
    Some(sum)
}

#[test]
fn a_chain_is_served_through_the_unit() {
    let guest = Guest::enabled();
    drive(&guest.map);
    let mut queue = queue();
    // The queue looks at its rings with a guard each; the transfer has one guard.
    let memory = guest.device_memory(None);
    assert!(queue.is_valid(&memory));
    let dma = guest.dma(None);
    let served = |queue: &mut Queue| {
        let guard = dma.guard();
        serve(queue, &IommuMemory::new(guest.map.clone(), GuardIommu::new(&guard), true, ()))
    };
    assert_eq!(served(&mut queue), Some(0xaaaa));
    for place in (0x61_0100..0x61_0140).step_by(8) {
        assert_eq!(get(&guest.map, place), 0xaaaa, "{place:x}");
    }
    // Index 1, and in the ring chain 0 with 40 bytes.
    assert_eq!(get(&guest.map, 0x3f_f000), 0x1_0000);
    assert_eq!(get(&guest.map, 0x3f_f008) & 0xffff_ffff, 0x40);
    assert_eq!(served(&mut queue), None);
    assert_eq!(guest.take_fault(), None);
    // The device read its descriptors and wrote the used ring: accessed, and dirty.
    for (iova, flags) in [
        (0x10_0000, 0x27),
        (0x11_0000, 0x27),
        (0x12_0000, 0x67),
        (0x13_0000, 0x27),
        (0x14_0000, 0x67),
    ] {
        let found = get(&guest.map, crate::guest::leaf(FIRST_STAGE, iova)) & 0xfff;
        assert_eq!(found, flags, "{iova:x}");
    }
}

#[test]
fn a_queue_alone_needs_no_guard_of_the_vmm() {
    let guest = Guest::enabled();
    drive(&guest.map);
    let (mut queue, memory) = (queue(), guest.device_memory(None));
    let mut chain = queue.pop_descriptor_chain(&memory).unwrap();
    let found: Vec<_> = chain.by_ref().map(|one| (one.addr().0, one.len())).collect();
    assert_eq!(found, [(0x13_0ff0, 0x20), (0x14_0100, 0x40)]);
    queue.add_used(&memory, chain.head_index(), 0).unwrap();
    assert!(queue.needs_notification(&memory).unwrap());
    assert_eq!(get(&guest.map, 0x3f_f000), 0x1_0000);
}

// feature: 3.queue: waits follow DMA under way
#[test]
fn what_is_unmapped_is_waited_for_and_then_out_of_reach() {
    let mut guest = Guest::enabled();
    drive(&guest.map);
    let mut queue = queue();
    let dma = guest.dma(None);
    let guard = dma.guard();
    let memory = IommuMemory::new(guest.map.clone(), GuardIommu::new(&guard), true, ());
    let chain = queue.pop_descriptor_chain(&memory).unwrap();
    let mut writer = Writer::new(&memory, chain.clone()).unwrap();

    // The driver takes the buffer away while the device is about to write it.
    map_page(&guest.map, FIRST_STAGE, 0x14_0000, 0, 0);
    let wait = guest.queue(RID_IOTLB);
    assert!(!guest.is_done(wait));
    writer.write_all(&[0x55; 0x40]).unwrap();
    assert!(!guest.is_done(wait));
    drop(guard);
    assert!(guest.is_done(wait));
    assert_eq!(get(&guest.map, 0x61_0138), 0x5555_5555_5555_5555);

    // From here on it is out of reach, and the rest is not.
    let memory = guest.device_memory(None);
    queue.set_next_avail(0);
    let chain = queue.pop_descriptor_chain(&memory).unwrap();
    Reader::new(&memory, chain.clone()).unwrap();
    assert!(Writer::new(&memory, chain).is_err());
    assert_eq!(guest.take_fault(), Some((0x71, 0x14_0000)));

    // So are the rings when they go.
    map_page(&guest.map, FIRST_STAGE, 0x11_0000, 0, 0);
    let wait = guest.queue(RID_IOTLB);
    assert!(guest.is_done(wait));
    queue.set_next_avail(0);
    assert!(queue.pop_descriptor_chain(&memory).is_none());
    assert!(!queue.is_valid(&memory));
}
