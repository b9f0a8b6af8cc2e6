//! What the guest's tables say of a request: walked from the root table on, without any cache and without setting a bit.

use vtd::memory::GuestMemory;
use vtd::spec::table::{
    ContextEntry, LegacyContextEntry, LegacyTranslation, PasidEntry, Translation,
};
use vtd::spec::{Capabilities, DomainId, FaultReason, Iova, Pasid, SourceId};
use vtd::{Access, RootTable};
use vtd_walk::{
    TableUpdates, Translated, read_context, read_legacy_context, read_pasid, translate,
    translate_legacy,
};

/// Tables in memory, and the capabilities that say how they are read.
#[derive(Clone, Copy)]
pub(crate) struct PlainWalk<'m> {
    pub(crate) memory: &'m dyn GuestMemory,
    pub(crate) caps: &'m Capabilities,
}

/// A request without its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) source_id: SourceId,
    pub(crate) pasid: Option<Pasid>,
    pub(crate) iova: Iova,
    pub(crate) access: Access,
}

/// The context entry of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Legacy(LegacyContextEntry),
    Scalable(ContextEntry),
}

/// What translates a request once its entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// In legacy mode it is the context entry.
    Legacy(LegacyContextEntry),
    Scalable(PasidEntry),
}

impl Context {
    /// Whether an entry of this kind is what such a root table leads to.
    pub(crate) fn is_of(&self, root: RootTable) -> bool {
        match root {
            RootTable::Legacy(_) => matches!(self, Self::Legacy(_)),
            RootTable::Scalable(_) => matches!(self, Self::Scalable(_)),
            RootTable::Abort | RootTable::Unusable => false,
        }
    }

    /// Whether the device may have a device TLB.
    pub(crate) fn allows_device_tlb(&self) -> bool {
        match self {
            Self::Legacy(context) => {
                matches!(context.translation, LegacyTranslation::SecondStageWithDeviceTlb(_))
            }
            Self::Scalable(context) => context.device_tlb,
        }
    }

    /// The PASID that a request uses, which none does in legacy mode, and the privilege that it has then.
    pub(crate) fn admit(&self, request: Request) -> Result<Request, FaultReason> {
        let Request { pasid, access, .. } = request;
        match (self, pasid) {
            (Self::Legacy(_), Some(_)) => Err(FaultReason::PasidUnderLegacy),
            (Self::Legacy(_), None) => Ok(request),
            (Self::Scalable(context), Some(_)) if !context.pasids => {
                Err(FaultReason::PasidDisabled)
            }
            (Self::Scalable(_), Some(_)) => Ok(request),
            (Self::Scalable(context), None) => {
                let access = match context.rid_privileged {
                    true => access.with_privilege(),
                    false => access.without_privilege(),
                };
                Ok(Request { pasid: Some(context.rid_pasid), access, ..request })
            }
        }
    }
}

impl Entry {
    /// The domain that translations through the entry belong to.
    pub(crate) fn domain(&self) -> DomainId {
        match self {
            Self::Legacy(context) => context.domain,
            Self::Scalable(entry) => entry.domain,
        }
    }

    /// Whether addresses stay as they are.
    pub(crate) fn passes_through(&self) -> bool {
        match self {
            Self::Legacy(context) => {
                matches!(context.translation, LegacyTranslation::PassThrough { .. })
            }
            Self::Scalable(entry) => matches!(entry.translation, Translation::PassThrough),
        }
    }
}

impl PlainWalk<'_> {
    /// Where a request leads, and what is granted there.
    pub(crate) fn walk(
        &self,
        root: RootTable,
        request: Request,
    ) -> Result<Translated, FaultReason> {
        let context = self.context(root, request.source_id)?;
        let request = context.admit(request)?;
        let entry = self.entry(&context, request.pasid)?;
        self.page(&entry, request)
    }

    /// The context entry of a device.
    pub(crate) fn context(
        &self,
        root: RootTable,
        source_id: SourceId,
    ) -> Result<Context, FaultReason> {
        let read = match root {
            RootTable::Legacy(root) => {
                read_legacy_context(self.memory, self.caps, root, source_id).map(Context::Legacy)
            }
            RootTable::Scalable(root) => {
                read_context(self.memory, self.caps, root, source_id).map(Context::Scalable)
            }
            // The abort mode blocks without a reason, and here it only matters that nothing is found.
            RootTable::Abort | RootTable::Unusable => return Err(FaultReason::RootTablePointer),
        };
        read.map_err(|fault| fault.reason)
    }

    /// The entry behind a context entry for the PASID of an admitted request.
    pub(crate) fn entry(
        &self,
        context: &Context,
        pasid: Option<Pasid>,
    ) -> Result<Entry, FaultReason> {
        match (context, pasid) {
            (Context::Legacy(context), _) => Ok(Entry::Legacy(*context)),
            (Context::Scalable(context), pasid) => {
                let pasid = pasid.unwrap_or(context.rid_pasid);
                let read = read_pasid(self.memory, self.caps, context, pasid);
                read.map(|found| Entry::Scalable(found.entry)).map_err(|fault| fault.reason)
            }
        }
    }

    /// Where an entry leads an admitted request.
    pub(crate) fn page(&self, entry: &Entry, request: Request) -> Result<Translated, FaultReason> {
        let Request { iova, access, .. } = request;
        let Self { memory, caps } = *self;
        let access = access.under(caps);
        let updates = TableUpdates::Withheld;
        match entry {
            Entry::Legacy(context) => {
                translate_legacy(memory, caps, context, iova, access, updates)
            }
            Entry::Scalable(entry) => translate(memory, caps, entry, iova, access, updates),
        }
    }
}
