//! Commands that software gives through the registers.

use vtd_cache::{Scope, SlotScope};
use vtd_spec::descriptor::{ContextCacheInvalidation, IotlbScope};
use vtd_spec::planted::is_planted;
use vtd_spec::register::{InvalidateAddress, RootTableAddress};
use vtd_walk::RootTable;

use super::Engine;
use super::task::{Purpose, Source};
use crate::invalidation_queue::InvalidationQueue;
use crate::protected_memory::ProtectedRegions;
use crate::shared::Shared;
use crate::translation::Mode;

impl Engine {
    /// Takes up what software has commanded through the registers, as far as what is under way lets it.
    pub(super) fn take_commands(&mut self, shared: &Shared) {
        while self.take_command(shared) {}
    }

    /// Takes up one command; whether there was one.
    fn take_command(&mut self, shared: &Shared) -> bool {
        let busy = |purpose: Purpose| {
            matches!(purpose, Purpose::Root | Purpose::Translation(_) | Purpose::Reset)
        };
        if self.tasks.iter().any(|task| busy(task.purpose)) {
            return false;
        }
        let mut registers = shared.registers();
        if let Some(root) = registers.commands.root.take() {
            drop(registers);
            self.set_root(shared, root);
        } else if let Some(on) = registers.commands.translation.take() {
            let root = registers.latched_root;
            drop(registers);
            self.set_translation(shared, on, root);
        } else if std::mem::take(&mut registers.commands.queue_off) {
            self.queue_closing = self.queue.is_some();
        } else if registers.commands.queue_on && !self.queue_closing {
            registers.commands.queue_on = false;
            self.queue = Some(InvalidationQueue::new(registers.queue_address()));
            registers.queue_head = 0;
            registers.status.qies = true;
        } else if registers.commands.context && !self.is_at(Purpose::ContextCommand) {
            registers.commands.context = false;
            let command = registers.context_command();
            drop(registers);
            self.run_context_command(shared, command.invalidation());
        } else if registers.commands.iotlb && !self.is_at(Purpose::IotlbCommand) {
            registers.commands.iotlb = false;
            let (command, address) = registers.iotlb_command();
            drop(registers);
            let address = InvalidateAddress::from_bits(address);
            let largest = shared.caps().maximum_address_mask();
            let wanted = command.invalidation(address).map(|invalidation| invalidation.scope);
            let refused = matches!(
                wanted,
                Some(IotlbScope::Pages { pages, .. }) if pages.mask > largest
            );
            self.run_iotlb_command(shared, wanted.filter(|_| !refused));
        } else {
            return false;
        }
        true
    }

    /// Software rings the doorbell while the host holds what it should not: one more try, since nothing else may come.
    pub(super) fn retry_contradictions(&mut self) {
        if !self.ledger.contradicts() || (self.wait.is_none() && self.due.is_empty()) {
            return;
        }
        let stuck: Vec<_> = self.stuck_devices().collect();
        for device in stuck {
            self.reconcile_device(device);
        }
    }

    fn set_root(&mut self, shared: &Shared, root: u64) {
        shared.registers().latched_root = root;
        {
            let mut translator = shared.translator();
            if let Mode::On(_) = translator.mode {
                translator.mode = Mode::On(root_table(shared, root));
            }
            // Planted (72): SRTP leaves the caches.
            if !is_planted(72) {
                translator.caches.invalidate_all();
            }
        }
        self.begin(Purpose::Root, Scope::everything(), Source::Guest);
    }

    fn set_translation(&mut self, shared: &Shared, on: bool, root: u64) {
        {
            let mut translator = shared.translator();
            translator.mode = if on { Mode::On(root_table(shared, root)) } else { Mode::Off };
            translator.caches.invalidate_all();
        }
        let mut scope = Scope::everything();
        // Planted (73): bindings stay as they are when translation goes off.
        if is_planted(73) && !on {
            scope.slots = SlotScope::Pasids(1 << 19..1 << 19);
        }
        self.begin(Purpose::Translation(on), scope, Source::Guest);
    }

    /// EPM has changed: requests see it from now on, and PRS follows when those from before are over.
    pub(super) fn take_protected_memory(&mut self, shared: &Shared) {
        let mut registers = shared.registers();
        let Some(on) = registers.commands.protected_memory.take() else { return };
        let regions = registers.protected_memory.regions(shared.caps());
        drop(registers);
        {
            let mut translator = shared.translator();
            translator.protected = if on { regions } else { ProtectedRegions::default() };
            translator.caches.unresolve();
        }
        self.finish(shared, Purpose::ProtectedMemory(on));
    }

    fn run_context_command(
        &mut self,
        shared: &Shared,
        invalidation: Option<ContextCacheInvalidation>,
    ) {
        match invalidation {
            Some(invalidation) if !shared.registers().names_scalable_mode() => {
                self.invalidate_contexts(shared, &invalidation, Purpose::ContextCommand);
            }
            _ => shared.registers().finish_context_command(false),
        }
    }

    fn run_iotlb_command(&mut self, shared: &Shared, scope: Option<IotlbScope>) {
        match scope {
            Some(scope) if !shared.registers().names_scalable_mode() => {
                self.invalidate_iotlb(shared, scope, Purpose::IotlbCommand);
            }
            _ => shared.registers().finish_iotlb_command(false),
        }
    }
}

fn root_table(shared: &Shared, root: u64) -> RootTable {
    RootTable::new(RootTableAddress::from_bits(root), shared.caps())
}
