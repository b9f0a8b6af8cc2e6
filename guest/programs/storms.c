// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Pages that are taken away while devices write them, over and over: when the
 * kernel says that it is done, they never change again.
 */
#include "endpoint.h"
#include "needs.h"

#define CANARY 0xca7a12c0ffee0000ull
#define IOVA 0x100000000ull
#define PAGES 4
#define WRITERS 4

static struct { unsigned endpoint, channel; uint32_t pasid; } writer[WRITERS];
static unsigned writers;

static void choose_writers(bool pasids)
{
	unsigned n;

	writers = 0;
	for (n = 0; n < WRITERS; n++) {
		writer[n].endpoint = n % machine.endpoints;
		writer[n].channel = n;
		writer[n].pasid = pasids ? 0x200 + n * 0x111 : VTD_NO_PASID;
		/* A whole device is attached once only. */
		if (!pasids && n >= (unsigned)machine.endpoints)
			break;
		writers++;
	}
}

static void start(unsigned n, uint64_t address)
{
	/* Half of them through their device TLB. */
	bool tlb = machine.ats && n % 2;

	job_start(writer[n].endpoint, writer[n].channel,
		  (tlb ? VTD_TLB_WRITE : VTD_WRITE) | VTD_REPEAT, writer[n].pasid, address,
		  PAGES * PAGE, (n + 1) * 0x1000000ull);
}

/* The jobs go on, and fail, while the memory is watched. */
static void untouched(uint32_t buffer, const char *what)
{
	unsigned n;

	fill(buffer, 0, PAGES, CANARY, 1);
	for (n = 0; n < writers; n++)
		job_rounds(writer[n].endpoint, writer[n].channel, 3);
	holds(buffer, 0, PAGES, CANARY, 1, what);
}

static void run_storm_domain(void)
{
	unsigned all = rounds(12), round, n;
	uint32_t buffer = buffer_make(PAGES), domain = domain_make(0);

	choose_writers(machine.pasid);
	for (n = 0; n < writers; n++)
		attach(domain, writer[n].endpoint, writer[n].pasid);
	for (round = 0; round < all; round++) {
		step("round %u: writing", round);
		map(domain, IOVA, buffer, 0, PAGES, VTD_MAP_READ | VTD_MAP_WRITE);
		for (n = 0; n < writers; n++)
			start(n, IOVA);
		for (n = 0; n < writers; n++)
			job_rounds(writer[n].endpoint, writer[n].channel, 2);
		if (round % 2 && machine.pasid) {
			/* All lose their PASID, one after the other, and then the page. */
			for (n = 0; n < writers; n++) {
				step("round %u: detach %u under DMA", round, n);
				detach(domain, writer[n].endpoint, writer[n].pasid);
			}
			untouched(buffer, "after iommu_detach_device_pasid of all");
			unmap(domain, IOVA, PAGES);
		} else {
			step("round %u: unmap under DMA", round);
			unmap(domain, IOVA, PAGES);
			untouched(buffer, "after iommu_unmap");
		}
		for (n = 0; n < writers; n++)
			job_stop(writer[n].endpoint, writer[n].channel);
		if (round % 2 && machine.pasid)
			for (n = 0; n < writers; n++)
				attach(domain, writer[n].endpoint, writer[n].pasid);
		progress(round, all);
	}
	figures("%u rounds, %u writers", all, writers);
}

const struct check storm_domain = {
	.name = "storm-domain", .skipped = needs_endpoint, .run = run_storm_domain, .faults = true,
};

static void run_storm_dma(void)
{
	unsigned all = rounds(12), round, n;
	uint32_t buffer = buffer_make(PAGES);
	struct vtd_dma_map map[WRITERS];

	choose_writers(false);
	for (round = 0; round < all; round++) {
		step("round %u: writing", round);
		for (n = 0; n < writers; n++) {
			map[n] = dma_map(writer[n].endpoint, buffer, 0, PAGES, VTD_SCATTER,
					 VTD_BIDIRECTIONAL);
			start(n, map[n].segment[0].address);
		}
		for (n = 0; n < writers; n++)
			job_rounds(writer[n].endpoint, writer[n].channel, 2);
		step("round %u: dma_unmap under DMA", round);
		for (n = 0; n < writers; n++)
			dma_unmap(&map[n]);
		/* A lazy unmap is over when the kernel's flush queue has been emptied. */
		for (n = 0; n < writers && !machine.strict; n++)
			job_blocked(writer[n].endpoint, writer[n].channel);
		untouched(buffer, "after dma_unmap");
		for (n = 0; n < writers; n++)
			job_stop(writer[n].endpoint, writer[n].channel);
		progress(round, all);
	}
	figures("%u rounds, %u writers", all, writers);
}

const struct check storm_dma = {
	.name = "storm-dma", .skipped = needs_translation, .run = run_storm_dma, .faults = true,
};
