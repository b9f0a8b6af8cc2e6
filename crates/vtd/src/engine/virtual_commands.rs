//! Virtual commands: PASIDs that the guest asks for, and what becomes of them.

use std::collections::{BTreeSet, VecDeque};

use vtd_host::{HostError, PasidAllocator};
use vtd_spec::Pasid;
use vtd_spec::register::{VirtualCommand, VirtualCommandResponse};

use super::{Engine, HostCalls};
use crate::Effect;
use crate::shared::Shared;

/// The PASIDs of a guest.
#[derive(Debug, Default)]
pub(super) struct GuestPasids {
    /// What the guest has.
    held: BTreeSet<Pasid>,
    /// What a reset took from the guest and the allocator is to take back.
    returned: VecDeque<Pasid>,
    /// Counts resets: the answer to a command from before one is nobody's.
    resets: u64,
}

/// A call of the allocator, made with no lock held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AllocatorCall {
    operation: AllocatorOperation,
    resets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AllocatorOperation {
    Allocate,
    /// The guest frees it.
    Free(Pasid),
    /// A reset gives it back.
    Return(Pasid),
}

/// What the allocator answered: the PASID in question.
pub(super) type AllocatorAnswer = Result<Pasid, HostError>;

impl Engine {
    /// The next call of the allocator. A command that needs none is answered at once; one that does waits for a step that may
    /// call out.
    pub(super) fn next_allocator_call(
        &mut self,
        shared: &Shared,
        calls: HostCalls,
    ) -> Option<AllocatorCall> {
        let pasids = &mut self.guest_pasids;
        let resets = pasids.resets;
        let operation = match pasids.returned.front() {
            Some(pasid) => AllocatorOperation::Return(*pasid),
            None => {
                let mut registers = shared.registers();
                // It stays there until it is answered: a unit that is saved before begins it anew.
                let command = VirtualCommand::from_bits(registers.commands.virtual_command?);
                match command {
                    VirtualCommand::AllocatePasid
                        if pasids.held.len() < shared.config.pasid_quota =>
                    {
                        AllocatorOperation::Allocate
                    }
                    VirtualCommand::FreePasid(pasid) if pasids.held.contains(&pasid) => {
                        AllocatorOperation::Free(pasid)
                    }
                    VirtualCommand::AllocatePasid | VirtualCommand::FreePasid(_) => {
                        registers.finish_virtual_command(refused());
                        return None;
                    }
                    VirtualCommand::Unknown(_) => {
                        let status = VirtualCommandResponse::UNKNOWN_COMMAND;
                        let response = VirtualCommandResponse { status, ..Default::default() };
                        registers.finish_virtual_command(response);
                        return None;
                    }
                }
            }
        };
        if calls == HostCalls::LeftToStep {
            shared.want_wake();
            return None;
        }
        if let AllocatorOperation::Return(_) = operation {
            pasids.returned.pop_front();
        }
        Some(AllocatorCall { operation, resets })
    }

    /// Whether a reset has taken PASIDs from the guest that the allocator does not have yet.
    pub(super) fn has_pasids_to_return(&self) -> bool {
        !self.guest_pasids.returned.is_empty()
    }

    /// Whether a step that may call out has a command or a reset to go on with.
    pub(super) fn awaits_allocator(&self, shared: &Shared) -> bool {
        self.has_pasids_to_return() || shared.has_virtual_command()
    }

    /// Enters what the allocator answered.
    pub(super) fn take_allocated(
        &mut self,
        shared: &Shared,
        call: AllocatorCall,
        answer: AllocatorAnswer,
    ) {
        shared.carry_on();
        let pasids = &mut self.guest_pasids;
        let is_current = call.resets == pasids.resets;
        let response = match (call.operation, answer) {
            (AllocatorOperation::Allocate, Ok(pasid)) => {
                let fits = pasid != Pasid::ZERO && pasid.get() < end(shared);
                if pasids.held.contains(&pasid) {
                    // The allocator has given out one PASID twice: the first to have it keeps it.
                    refused()
                } else if is_current && fits {
                    pasids.held.insert(pasid);
                    VirtualCommandResponse { pasid, ..Default::default() }
                } else {
                    pasids.returned.push_back(pasid);
                    refused()
                }
            }
            (AllocatorOperation::Free(pasid), Ok(_)) => {
                pasids.held.remove(&pasid);
                pasids.returned.retain(|returned| *returned != pasid);
                VirtualCommandResponse::default()
            }
            (AllocatorOperation::Allocate | AllocatorOperation::Free(_), Err(_)) => refused(),
            (AllocatorOperation::Return(_), Ok(_)) => return,
            (AllocatorOperation::Return(pasid), Err(error)) => {
                shared.push(Effect::PasidNotReturned { pasid, error });
                return;
            }
        };
        if is_current {
            shared.registers().finish_virtual_command(response);
        }
    }

    /// The guest starts anew: what it had is given back by the steps that follow.
    pub(crate) fn return_pasids(&mut self) {
        let pasids = &mut self.guest_pasids;
        pasids.resets += 1;
        pasids.returned.extend(std::mem::take(&mut pasids.held));
    }

    /// What the guest has, and what is still to be given back.
    pub(crate) fn guest_pasids(&self) -> (Vec<Pasid>, Vec<Pasid>) {
        let GuestPasids { held, returned, .. } = &self.guest_pasids;
        (held.iter().copied().collect(), returned.iter().copied().collect())
    }

    /// Takes up what a saved unit had.
    pub(crate) fn adopt_pasid(&mut self, pasid: Pasid) {
        self.guest_pasids.held.insert(pasid);
    }

    /// Takes up what a saved unit was about to give back.
    pub(crate) fn give_back_pasid(&mut self, pasid: Pasid) {
        self.guest_pasids.returned.push_back(pasid);
    }
}

/// Calls the allocator. No lock of the unit is held.
pub(super) fn ask(shared: &Shared, call: AllocatorCall) -> AllocatorAnswer {
    let Some(allocator) = &shared.config.pasid_allocator else {
        // Without ECAP.VCS there is none, and there are no commands.
        return Err(vtd_host::HostErrorKind::NotSupported.into());
    };
    match call.operation {
        AllocatorOperation::Allocate => allocator.allocate(end(shared)),
        AllocatorOperation::Free(pasid) | AllocatorOperation::Return(pasid) => {
            allocator.free(pasid).map(|()| pasid)
        }
    }
}

/// The first PASID that does not fit ECAP.PSS.
fn end(shared: &Shared) -> u32 {
    1 << shared.caps().pasid_bits().min(20)
}

fn refused() -> VirtualCommandResponse {
    VirtualCommandResponse { status: VirtualCommandResponse::PASID_REFUSED, ..Default::default() }
}
