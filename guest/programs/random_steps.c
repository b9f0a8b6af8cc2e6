// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Steps drawn from vtd.seed, with a model of what has to hold after each.
 * Where there are no PASIDs a whole device is attached instead.
 */
#include <stdio.h>

#include "endpoint.h"
#include "needs.h"

#define DOMAINS 4
#define SLOTS 12
#define PAGES 24
#define USES 8

static struct {
	uint32_t id;
	struct { int page; bool write; } slot[SLOTS];	/* page -1: nothing is mapped */
} domain[DOMAINS];

static struct {
	unsigned endpoint;
	uint32_t pasid;
	int domain;		/* -1: none */
	bool was;		/* has been attached, so its PASID table is there */
} use[USES];

static uint64_t iova_of[SLOTS];
static uint64_t page_holds[PAGES];
static uint32_t pool;
static unsigned uses, count_dma, count_faults;

static void make(void)
{
	unsigned n, slot, limit = machine.domain == FIRST_STAGE ? 46 : 38;

	pool = buffer_make(PAGES);
	for (n = 0; n < PAGES; n++)
		fill(pool, n, 1, page_holds[n] = 0x1000 + n, 0);
	for (slot = 0; slot < SLOTS; slot++) {
		/* Neighbours in pairs, the pairs far apart. */
		if (slot & 1)
			iova_of[slot] = iova_of[slot - 1] + PAGE;
		else
			iova_of[slot] = (random64() & ((1ull << limit) - 1) & ~0x1fffull) | 1ull << 33;
	}
	for (n = 0; n < DOMAINS; n++) {
		domain[n].id = domain_make(0);
		for (slot = 0; slot < SLOTS; slot++)
			domain[n].slot[slot].page = -1;
	}
	uses = machine.pasid ? USES : machine.endpoints < USES ? machine.endpoints : USES;
	for (n = 0; n < uses; n++) {
		use[n].domain = -1;
		use[n].endpoint = n % machine.endpoints;
		use[n].pasid = machine.pasid ? 0x400 + random64() % 0xff000 / USES * USES + n :
					       VTD_NO_PASID;
		if (n >= 2 && n % 2 && machine.pasid)
			use[n].pasid = use[n - 1].pasid; /* of another endpoint, if there is one */
		if (machine.endpoints == 1)
			use[n].pasid += machine.pasid ? n : 0;
	}
}

/* What DMA of the use to the slot has to come to. */
static void try(unsigned n, unsigned slot, bool write, bool tlb, const char *after)
{
	struct vtd_job result;
	uint64_t value = random64();
	int page = use[n].domain < 0 ? -1 : domain[use[n].domain].slot[slot].page;
	bool permitted = page >= 0 && (!write || domain[use[n].domain].slot[slot].write);
	unsigned code;

	if (use[n].domain < 0 && use[n].pasid == VTD_NO_PASID)
		return; /* the device has its default domain, where addresses are the DMA interface's */
	result = job(use[n].endpoint, n % VTD_CHANNELS,
		     write ? tlb ? VTD_TLB_WRITE : VTD_WRITE : tlb ? VTD_TLB_READ : VTD_READ,
		     use[n].pasid, iova_of[slot], PAGE, value);
	count_dma++;
	if (permitted) {
		if (result.result != VTD_DONE)
			fail("%s: %s of PASID %x of %s to %llx%s, which is mapped: %s", after,
			     write ? "write" : "read", use[n].pasid, name_of(use[n].endpoint),
			     (unsigned long long)iova_of[slot], tlb ? " (device TLB)" : "",
			     result_of(&result));
		if (write) {
			page_holds[page] = value;
			holds(pool, page, 1, value, 0, after);
		} else if (result.value != page_holds[page] * 512) {
			fail("%s: a read of PASID %x of %s at %llx%s is not what is there", after,
			     use[n].pasid, name_of(use[n].endpoint),
			     (unsigned long long)iova_of[slot], tlb ? " (device TLB)" : "");
		}
		return;
	}
	count_faults++;
	if (tlb) {
		if (!tlb_blocked(&result))
			fail("%s: %s (device TLB) of PASID %x of %s to %llx: %s", after,
			     write ? "write" : "read", use[n].pasid, name_of(use[n].endpoint),
			     (unsigned long long)iova_of[slot], result_of(&result));
		return;
	}
	code = use[n].domain < 0 ? (use[n].was ? 0x59 : 0x51) :
	       page < 0 ? not_mapped(machine.domain, write) : not_permitted(machine.domain, write);
	if (result.result != VTD_FAULT ||
	    (result.code != code && !(code == 0x51 && result.code == 0x59)))
		fail("%s: %s of PASID %x of %s to %llx: %s, and not fault %02x", after,
		     write ? "write" : "read", use[n].pasid, name_of(use[n].endpoint),
		     (unsigned long long)iova_of[slot], result_of(&result), code);
}

static void all_pages(const char *after)
{
	unsigned n;

	for (n = 0; n < PAGES; n++)
		holds(pool, n, 1, page_holds[n], 0, after);
}

static void run_random(void)
{
	unsigned all = rounds(150), round, n, d, slot, k;
	char what[128];

	make();
	for (round = 0; round < all; round++) {
		n = below(uses);
		d = below(DOMAINS);
		slot = below(SLOTS);
		if (below(3) == 0) {
			if (use[n].domain < 0) {
				snprintf(what, sizeof(what), "step %u, attach domain %u to PASID %x of %s",
					 round, d, use[n].pasid, name_of(use[n].endpoint));
				step("%s", what);
				attach(domain[d].id, use[n].endpoint, use[n].pasid);
				use[n].domain = d;
				use[n].was = true;
			} else {
				snprintf(what, sizeof(what), "step %u, detach domain %d from PASID %x of %s",
					 round, use[n].domain, use[n].pasid, name_of(use[n].endpoint));
				step("%s", what);
				detach(domain[use[n].domain].id, use[n].endpoint, use[n].pasid);
				use[n].domain = -1;
			}
		} else if (domain[d].slot[slot].page < 0) {
			int page = below(PAGES);
			bool write = below(3);

			snprintf(what, sizeof(what), "step %u, map %llx of domain %u%s", round,
				 (unsigned long long)iova_of[slot], d, write ? "" : " for reading");
			step("%s", what);
			map(domain[d].id, iova_of[slot], pool, page, 1,
			    VTD_MAP_READ | (write ? VTD_MAP_WRITE : 0));
			domain[d].slot[slot].page = page;
			domain[d].slot[slot].write = write;
		} else {
			snprintf(what, sizeof(what), "step %u, unmap %llx of domain %u", round,
				 (unsigned long long)iova_of[slot], d);
			step("%s", what);
			unmap(domain[d].id, iova_of[slot], 1);
			domain[d].slot[slot].page = -1;
		}
		/* What was changed, by all that use it; and something else. */
		for (k = 0; k < uses; k++)
			if (k == n || use[k].domain == (int)d)
				try(k, slot, below(2), machine.ats && below(2), what);
		try(below(uses), below(SLOTS), below(2), machine.ats && below(2), what);
		if (round % 16 == 0)
			all_pages(what);
		progress(round, all);
	}
	all_pages("at the end");
	figures("%u steps, %u DMA, %u of them blocked", all, count_dma, count_faults);
}

const struct check random_steps = {
	.name = "random", .skipped = needs_endpoint, .run = run_random, .faults = true,
};
