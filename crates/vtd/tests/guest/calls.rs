//! What the host was asked, as text.

use std::sync::{Arc, Mutex};

use vtd::host::{FailingHost, HostCapabilities, HostDevice, ModelHost};
use vtd::{HostCallView, Observer};

/// The calls of the host since they were last taken: `bind 00:03.0 1 fs4 100000 5`, with `!` before one that failed.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Vec<String>>);

impl Calls {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Calls {
    fn host_call(&self, call: &HostCallView<'_>) {
        let (text, done) = match call {
            HostCallView::Bind { source_id, slot, held, done } => {
                (format!("bind {source_id} {slot} {} {}", held.binding, held.domain), done)
            }
            HostCallView::Replace { source_id, slot, held, done } => {
                (format!("replace {source_id} {slot} {} {}", held.binding, held.domain), done)
            }
            HostCallView::Unbind { source_id, slot, done } => {
                (format!("unbind {source_id} {slot}"), done)
            }
            HostCallView::Invalidate { source_id, slot, batch, done } => {
                let ranges: Vec<_> = batch
                    .iter()
                    .map(|one| format!("{}{}", one.range, if one.leaf_only { " leaf" } else { "" }))
                    .collect();
                (format!("invalidate {source_id} {slot} {}", ranges.join(", ")), done)
            }
            HostCallView::Map { source_id, slot, range, done } => {
                let (first, pages, address) = (range.first, range.pages, range.address);
                let granted = format!(
                    "{}{}",
                    if range.read { "r" } else { "" },
                    if range.write { "w" } else { "" }
                );
                (format!("map {source_id} {slot} {first:x}+{pages:x} {address:x} {granted}"), done)
            }
            HostCallView::Unmap { source_id, slot, first, pages, done } => {
                (format!("unmap {source_id} {slot} {:x}+{pages:x}", first.0 >> 12), done)
            }
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(format!("{}{text}", if *done { "" } else { "!" }));
    }
}

pub(crate) type Host = Arc<FailingHost<ModelHost>>;

/// A host with the devices 3 to 7 that can hold every binding but shadows of second-stage tables.
pub(crate) fn host() -> Host {
    let mut capabilities = HostCapabilities::everything();
    capabilities.shadowing = false;
    host_with(capabilities)
}

pub(crate) fn host_with(capabilities: HostCapabilities) -> Host {
    let host = FailingHost::new(ModelHost::with_capabilities(capabilities));
    for device in 3..8 {
        host.inner().add_device(HostDevice(device));
    }
    Arc::new(host)
}

/// All that the host holds: `3 1 fs4 100000`.
pub(crate) fn held_by(host: &Host) -> Vec<String> {
    let bindings = host.inner().bindings();
    bindings
        .iter()
        .map(|(device, slot, binding)| format!("{} {slot} {binding}", device.0))
        .collect()
}
