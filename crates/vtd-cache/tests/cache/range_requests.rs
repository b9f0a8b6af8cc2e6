//! Several range requests as one.

use vtd_cache::{
    DeviceKey, DeviceScope, RangeRequest, RangeRequests, Reconciliation, Scope, SlotScope,
};
use vtd_spec::{DomainId, SourceId};

use crate::guest::{Guest, Numbers};
use crate::host::{Host, ledger, short, takes};

const ALL: RangeRequest = RangeRequest::Everything;

const fn domain(domain: u16) -> RangeRequest {
    RangeRequest::Domain(DomainId(domain))
}

const fn requesters(source_id: u16, ignored: u16) -> RangeRequest {
    RangeRequest::Requesters { source_id: SourceId(source_id), ignored }
}

fn joined(requests: &[RangeRequest]) -> RangeRequests {
    let mut joined = RangeRequests::from(requests[0]);
    requests[1..].iter().for_each(|request| joined.add(*request));
    joined
}

#[test]
fn a_request_as_a_scope() {
    for (request, devices, domain) in [
        (ALL, DeviceScope::All, None),
        (domain(7), DeviceScope::All, Some(DomainId(7))),
        (
            requesters(0x18, 3),
            DeviceScope::Requesters { source_id: SourceId(0x18), ignored: 3 },
            None,
        ),
    ] {
        assert_eq!(Scope::from(request), Scope { devices, slots: SlotScope::All, domain });
    }
}

#[test]
fn what_requests_cover() {
    let table: [(&[RangeRequest], &[RangeRequest], &[RangeRequest]); 7] = [
        // Requests, what they cover, what they do not cover
        (&[ALL], &[ALL, domain(0), domain(0xffff), requesters(8, 7), requesters(0, 0xffff)], &[]),
        (&[domain(5)], &[domain(5)], &[ALL, domain(4), domain(6), requesters(5, 0)]),
        (
            &[requesters(0x18, 7)],
            &[requesters(0x18, 0), requesters(0x1f, 7), requesters(0x1c, 3), requesters(0x1a, 5)],
            &[ALL, domain(0x18), requesters(0x17, 0), requesters(0x20, 0), requesters(0x18, 8)],
        ),
        (
            &[domain(0), domain(0x3f), domain(0x40), domain(0xffff)],
            &[domain(0), domain(0x3f), domain(0x40), domain(0xffff)],
            &[ALL, domain(1), domain(0x3e), domain(0x41), domain(0xfffe), requesters(0, 0)],
        ),
        (
            &[requesters(0x18, 0), requesters(0x1a, 4), requesters(0xffff, 0x8000), domain(6)],
            &[requesters(0x18, 0), requesters(0x1e, 0), requesters(0x7fff, 0), domain(6)],
            &[ALL, requesters(0x19, 0), requesters(0x18, 1), requesters(6, 0), domain(0x18)],
        ),
        (&[domain(5), requesters(8, 0), ALL], &[ALL, domain(6), requesters(9, 0)], &[]),
        (&[ALL, domain(5)], &[ALL, domain(6), requesters(9, 0)], &[]),
    ];
    for (requests, covered, others) in table {
        let joined = joined(requests);
        for request in covered {
            assert!(joined.cover(*request), "{request:?} by {requests:?}");
        }
        for request in others {
            assert!(!joined.cover(*request), "{request:?} by {requests:?}");
        }
        assert_eq!(joined.are_everything(), requests.contains(&ALL));
        // What is covered adds nothing.
        let mut more = joined.clone();
        covered.iter().for_each(|request| more.add(*request));
        assert_eq!(more, joined);
    }
}

/// Adding to a copy leaves what it was copied from.
#[test]
fn copies_are_their_own() {
    let first = joined(&[domain(5), domain(6), requesters(8, 0)]);
    let mut second = first.clone();
    second.add(domain(7));
    second.add(requesters(9, 0));
    assert!(!first.cover(domain(7)) && !first.cover(requesters(9, 0)));
    assert!(second.cover(domain(5)) && second.cover(domain(7)) && second.cover(requesters(9, 0)));
}

fn random_request(numbers: &mut Numbers) -> RangeRequest {
    match numbers.below(20) {
        0 => ALL,
        1..8 => requesters(numbers.of(&[0, 8, 0x10, 0x18]), numbers.of(&[0, 0, 7, 8, 0xffff])),
        _ => domain(numbers.of(&[1, 2, 3, 4, 5])),
    }
}

/// Each device, its source-id 8 times its number, has some PASIDs of the domains 1 to 5.
#[test]
fn one_reconciliation_makes_the_calls_of_one_for_each() {
    let mut numbers = Numbers(0x0005_eed0);
    let rounds = if cfg!(miri) { 2 } else { 60 };
    let mut made = 0;
    for _ in 0..rounds {
        let guest = Guest::new();
        let (mut ledgers, mut hosts) = ([ledger(3), ledger(3)], [Host::default(), Host::default()]);
        for round in 0..6 {
            for device in 0..3 {
                guest.context(device, 0, 0);
                for pasid in [0, 1, 2, 63, 64, 0x1fff] {
                    if numbers.below(3) > 0 {
                        let domain = u64::from(numbers.of(&[1_u32, 2, 3, 4, 5]));
                        let low = numbers.of(&[0x41, 0x41, 0x101, 0, 0x8089]);
                        guest.entry(device, pasid, (low, domain, numbers.of(&[0x9000, 0xa000])));
                    }
                }
            }
            // At first all is bound, so that there is something to change.
            let count = numbers.of(&[1, 2, 3, 8]);
            let requests: Vec<_> = match round {
                0 => vec![ALL],
                _ => (0..count).map(|_| random_request(&mut numbers)).collect(),
            };
            let size = numbers.of(&[1, 3, 1000]);
            let cursor = Reconciliation::of_requests(joined(&requests));
            let mut calls =
                hosts[0].run_to_the_end(&mut ledgers[0], cursor, &guest.wanted(), size, &takes);
            let mut expected = Vec::new();
            for request in &requests {
                expected.extend(hosts[1].run(
                    &mut ledgers[1],
                    &Scope::from(*request),
                    &guest.wanted(),
                ));
            }
            made += calls.len();
            calls.sort();
            expected.sort();
            assert_eq!(short(&calls), short(&expected), "{requests:?}");
            for device in 0..3 {
                let key = DeviceKey(device);
                assert_eq!(ledgers[0].save(key), ledgers[1].save(key), "{requests:?}");
            }
        }
    }
    assert!(made > rounds * 20, "{made}");
}
