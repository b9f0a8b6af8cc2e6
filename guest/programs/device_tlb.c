// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * ATS: what translation requests are granted, and that what a device has kept
 * is taken from it.
 */
#include "endpoint.h"
#include "needs.h"

#define IOVA 0x60000000ull
#define GRANTED_READ 1
#define GRANTED_WRITE 2

static void run_device_tlb(void)
{
	uint32_t pasid = machine.pasid ? 0x99 : VTD_NO_PASID;
	uint32_t buffer = buffer_make(3), domain = domain_make(0);
	unsigned endpoint, kept = 0;
	struct vtd_job job_;
	struct vtd_info before, after;

	map(domain, IOVA, buffer, 0, 1, VTD_MAP_READ | VTD_MAP_WRITE);
	map(domain, IOVA + PAGE, buffer, 1, 1, VTD_MAP_READ);
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++)
		attach(domain, endpoint, pasid);
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		step("translation requests of %s", name_of(endpoint));
		job_ = job(endpoint, 0, VTD_TRANSLATE | VTD_WRITABLE, pasid, IOVA, 8, 0);
		expect(&job_, VTD_DONE, "a translation request");
		if ((job_.moved & 3) != (GRANTED_READ | GRANTED_WRITE) || (job_.moved & ~0xfffull) != PAGE)
			fail("a translation request was granted %llx", (unsigned long long)job_.moved);
		job_ = job(endpoint, 0, VTD_TRANSLATE | VTD_WRITABLE, pasid, IOVA + PAGE, 8, 0);
		if (job_.result > VTD_LESS || (job_.moved & 3) != GRANTED_READ)
			fail("a translation request for a page for reading: %s", result_of(&job_));
		job_ = job(endpoint, 0, VTD_TRANSLATE, pasid, IOVA + 2 * PAGE, 8, 0);
		if (job_.moved & 3)
			fail("a translation request for nothing was granted %llx",
			     (unsigned long long)job_.moved);
		job_ = job(endpoint, 0, VTD_TLB_WRITE, pasid, IOVA + PAGE, 64, 1);
		expect(&job_, VTD_LESS, "a write to a page for reading");
	}
	/* Kept by all, and gone for all when the unmap is over. */
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		job_ = job(endpoint, 0, VTD_TLB_WRITE, pasid, IOVA, PAGE, 0x55);
		expect(&job_, VTD_DONE, "a write through the device TLB");
		kept += info_of(endpoint).tlb_entries;
	}
	if (!kept)
		fail("no endpoint keeps a translation");
	before = info_of(0);
	step("unmapping what is kept");
	unmap(domain, IOVA, 1);
	after = info_of(0);
	if (after.tlb_invalidations == before.tlb_invalidations)
		fail("iommu_unmap told the device nothing");
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		job_ = job(endpoint, 0, VTD_TLB_WRITE, pasid, IOVA, 64, 0x66);
		if (!tlb_blocked(&job_))
			fail("%s writes what was unmapped: %s", name_of(endpoint), result_of(&job_));
	}
	holds(buffer, 0, 1, 0x55, 0, "the page that was unmapped");
	step("another page at the same address");
	map(domain, IOVA, buffer, 2, 1, VTD_MAP_READ | VTD_MAP_WRITE);
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		job_ = job(endpoint, 0, VTD_TLB_WRITE, pasid, IOVA, PAGE, 0x77 + endpoint);
		expect(&job_, VTD_DONE, "a write to the page that came after");
		holds(buffer, 2, 1, 0x77 + endpoint, 0, "the page that came after");
	}
	step("detaching with translations kept");
	before = info_of(0);
	detach(domain, 0, pasid);
	after = info_of(0);
	/* A whole device may have its ATS switched off instead. */
	if (pasid != VTD_NO_PASID && after.tlb_invalidations == before.tlb_invalidations)
		fail("detaching told the device nothing");
	if (pasid != VTD_NO_PASID) {
		job_ = job(0, 0, VTD_TLB_WRITE, pasid, IOVA, 64, 0x88);
		if (!tlb_blocked(&job_))
			fail("a detached PASID writes: %s", result_of(&job_));
	}
	holds(buffer, 2, 1, 0x77 + machine.endpoints - 1, 0, "the page of a detached PASID");
	figures("%llu invalidations", (unsigned long long)after.tlb_invalidations);
}

const struct check device_tlb = {
	.name = "device-tlb", .skipped = needs_ats, .run = run_device_tlb, .faults = true,
};
