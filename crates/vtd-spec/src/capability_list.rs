//! Capabilities as people read them.

use core::fmt::{self, Display, Formatter};

use crate::Capabilities;
use crate::table::SecondStageLevels;

/// A list, with commas between what is in it: `scalable mode, first-stage tables of 4 levels, …`.
impl Display for Capabilities {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mode = if self.scalable_mode() { "scalable mode" } else { "legacy mode" };
        f.write_str(mode)?;
        self.write_tables(f)?;
        if self.pasid() {
            write!(f, ", PASIDs of {} bits", self.pasid_bits())?;
        }
        for (shown, name) in self.features() {
            if shown {
                write!(f, ", {name}")?;
            }
        }
        write!(f, ", {} domains", self.domain_count())?;
        let plural = if self.fault_record_count() == 1 { "" } else { "s" };
        write!(f, ", {} fault record{plural}", self.fault_record_count())?;
        write!(f, " at {:#x}", self.fault_record_offset())?;
        write!(f, ", IVA at {:#x}", self.invalidate_register_offset())?;
        if self.page_selective() {
            write!(f, ", address masks up to {}", self.maximum_address_mask())?;
        }
        if self.interrupt_remapping() {
            write!(f, ", index masks up to {}", self.maximum_handle_mask())?;
        }
        write!(
            f,
            ", guest addresses of {} bits, host addresses of {} bits",
            self.maximum_guest_address_width(),
            self.host_address_width()
        )
    }
}

impl Capabilities {
    fn write_tables(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.first_stage() {
            let levels = if self.five_level_first_stage() { "4 and 5" } else { "4" };
            write!(f, ", first-stage tables of {levels} levels")?;
            if self.first_stage_1g() {
                f.write_str(" with pages of 1 GiB")?;
            }
        }
        let widths = [SecondStageLevels::Three, SecondStageLevels::Four, SecondStageLevels::Five];
        let mut before = ", second-stage tables of ";
        for levels in widths.iter().filter(|levels| levels.is_supported(self)) {
            write!(f, "{before}{}", levels.count())?;
            before = " and ";
        }
        if self.second_stage_widths() != 0 {
            let only = self.scalable_mode() && !self.scalable_second_stage();
            f.write_str(if only { " levels in legacy mode alone" } else { " levels" })?;
        }
        let pages = match (self.second_stage_2m(), self.second_stage_1g()) {
            (true, true) => ", second-stage pages of 2 MiB and 1 GiB",
            (true, false) => ", second-stage pages of 2 MiB",
            (false, true) => ", second-stage pages of 1 GiB",
            (false, false) => "",
        };
        f.write_str(pages)
    }

    fn features(&self) -> [(bool, &'static str); 33] {
        [
            (self.nested(), "nested translation"),
            (self.pass_through(), "pass-through"),
            (self.supervisor_requests(), "supervisor requests"),
            (self.execute_requests(), "execute requests"),
            (self.extended_accessed(), "extended accessed flag"),
            (self.second_stage_accessed_dirty(), "second-stage accessed and dirty bits"),
            (self.rid_pasid(), "RID_PASID"),
            (self.rid_privilege(), "RID_PRIV"),
            (self.queued_invalidation(), "queued invalidation"),
            (self.page_selective(), "page-selective invalidation"),
            (self.caching_mode(), "caching mode"),
            (self.device_tlbs(), "device TLBs"),
            (self.device_tlb_throttle(), "device-TLB throttle"),
            (self.no_write_flag(), "no-write flag"),
            (self.page_requests(), "page requests"),
            (self.page_request_drain(), "page request drain"),
            (self.virtual_commands(), "virtual commands"),
            (self.interrupt_remapping(), "interrupt remapping"),
            (self.extended_interrupt_mode(), "extended interrupt mode"),
            (self.posted_interrupts(), "posted interrupts"),
            (self.coherent_page_walk(), "coherent page walks"),
            (self.snoop_control(), "snoop control"),
            (self.memory_types(), "memory types"),
            (self.zero_length_read(), "zero-length reads"),
            (self.protected_low_memory(), "protected low memory"),
            (self.protected_high_memory(), "protected high memory"),
            (self.write_buffer_flush(), "write-buffer flush"),
            (self.abort_mode(), "abort mode"),
            (self.enhanced_root_table_pointer(), "enhanced root table pointer"),
            (self.enhanced_interrupt_table_pointer(), "enhanced interrupt table pointer"),
            (self.advanced_fault_log(), "advanced fault log"),
            (self.performance_monitoring(), "performance monitoring"),
            (self.cap() >> 61 & 1 == 1, "enhanced commands"),
        ]
    }
}
