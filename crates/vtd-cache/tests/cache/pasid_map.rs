//! The map of PASIDs against an ordered map of the standard library.

use std::collections::BTreeMap;

use vtd_cache::PasidMap;
use vtd_spec::Pasid;

use crate::guest::Numbers;

fn pasid(number: u32) -> Pasid {
    Pasid::new(number).unwrap()
}

#[test]
fn it_does_what_an_ordered_map_does() {
    // Around the edges of groups of 64 and of 8,192, and at the end
    let edges: Vec<u32> =
        [0_u32, 64, 128, 0x1fc0, 0x2000, 0x2040, 0x4000, 0x8_0000, 0xf_ffc0, 0x10_0000]
            .into_iter()
            .flat_map(|edge| (edge.saturating_sub(3)..edge + 3).filter(|at| *at < 0x10_0000))
            .collect();
    let mut numbers = Numbers(0x1234_5678);
    for round in 0..if cfg!(miri) { 1 } else { 40 } {
        let (mut map, mut model) = (PasidMap::default(), BTreeMap::new());
        for step in 0..2_000_u64 {
            let at = if numbers.below(4) == 0 {
                u32::try_from(numbers.below(0x10_0000)).unwrap()
            } else {
                numbers.of(&edges)
            };
            match numbers.below(if round % 2 == 0 { 6 } else { 3 }) {
                0 => assert_eq!(map.insert(pasid(at), step), model.insert(at, step)),
                1 => assert_eq!(map.remove(pasid(at)), model.remove(&at)),
                2 => assert_eq!(map.insert(pasid(at), step), model.insert(at, step)),
                _ => {}
            }
            assert_eq!(map.get(pasid(at)), model.get(&at));
            assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            let next = model.range(at..).next().map(|(at, value)| (pasid(*at), value));
            assert_eq!(map.next(at), next, "{at:x}");
        }
        let all: Vec<_> = map.iter().map(|(at, value)| (at.get(), *value)).collect();
        assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(map.next(0x10_0000), None);
        assert_eq!(map.next(u32::MAX), None);
        for at in model.keys() {
            assert!(map.remove(pasid(*at)).is_some());
        }
        assert!(map.is_empty() && map.next(0).is_none());
        let new = PasidMap::<u64>::default();
        assert_eq!(format!("{map:?}"), format!("{new:?}"), "no group is left behind");
    }
}

#[test]
fn a_full_group_and_every_pasid_of_it() {
    let mut map = PasidMap::default();
    for at in (0..64).rev() {
        assert_eq!(map.insert(pasid(0xf_ffc0 + at), at), None);
    }
    let all: Vec<_> = map.iter().map(|(_, value)| *value).collect();
    assert_eq!(all, (0..64).collect::<Vec<_>>());
    for at in (0..64).step_by(2) {
        assert_eq!(map.remove(pasid(0xf_ffc0 + at)), Some(at));
    }
    assert_eq!(map.next(0xf_ffc0).map(|(at, _)| at.get()), Some(0xf_ffc1));
    assert_eq!(map.len(), 32);
}
