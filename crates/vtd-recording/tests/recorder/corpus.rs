//! The shipped recordings and vectors, recorded again.

use vtd::spec::{Gpa, Iova, Pasid, SourceId};
use vtd_recording::format::{Direction, DmaAnswer, Event};

use crate::vmm::{corpus, events, is_memory, record};

/// Where a request leads: the page, or nowhere if the access asked for is refused.
type Destination = (SourceId, Option<Pasid>, Direction, Iova, Option<Gpa>);

fn destinations(events: &[Event]) -> Vec<Destination> {
    let destination = |event: &Event| {
        let Event::Dma { source_id, pasid, access, iova, answer } = *event else { return None };
        let direction = access.direction;
        let page = match answer {
            DmaAnswer::Translated { gpa, mask, permissions } if permissions.grant(direction) => {
                Some(Gpa(gpa.0 + (iova.0 & mask)).page())
            }
            _ => None,
        };
        Some((source_id, pasid, direction, iova, page))
    };
    events.iter().filter_map(destination).collect()
}

fn wait_statuses(events: &[Event]) -> Vec<&Event> {
    let is_status =
        |event: &&Event| matches!(event, Event::IommuWrite { bytes, .. } if bytes.len() == 4);
    events.iter().filter(is_status).collect()
}

/// Everything but memory; host calls that stand together in the order of slots, since those of different slots may change
/// places.
fn without_memory(events: &[Event]) -> Vec<String> {
    let mut events: Vec<&Event> = events.iter().filter(|event| !is_memory(event)).collect();
    for run in events.chunk_by_mut(|a, b| a.kind() == b.kind()) {
        if let [Event::Host(_), ..] = run {
            run.sort_by_key(|event| match event {
                Event::Host(call) => (call.source_id, call.slot),
                _ => unreachable!(),
            });
        }
    }
    events.iter().map(ToString::to_string).collect()
}

#[test]
fn recordings_are_recorded_with_the_same_answers() {
    for (name, original) in corpus("recordings") {
        let (recorded, answered) = record(&original);
        let (old_header, old) = events(&original);
        let (new_header, new) = events(&recorded);
        assert_eq!(new_header, old_header, "{name}");
        assert!(old.len() > 1_000, "{name}");
        assert_eq!(destinations(&new), destinations(&old), "{name}");
        assert_eq!(destinations(&answered), destinations(&old), "{name}");
        assert_eq!(wait_statuses(&new), wait_statuses(&old), "{name}");
        assert!(record(&recorded).0 == recorded, "{name}: the recording of the recording differs");
    }
}

#[test]
fn vectors_are_recorded_line_by_line() {
    for (name, original) in corpus("vectors") {
        let (recorded, _) = record(&original);
        assert_eq!(
            without_memory(&events(&recorded).1),
            without_memory(&events(&original).1),
            "{name}"
        );
        assert_eq!(record(&recorded).0, recorded, "{name}");
    }
}
