// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * PASIDs and domains through the kernel's IOMMU interface.
 */
#include <errno.h>

#include "endpoint.h"
#include "needs.h"

#define IOVA 0x40000000ull
#define CANARY 0xca7a12c0ffee0000ull
#define READ_WRITE (VTD_MAP_READ | VTD_MAP_WRITE)

/* Of one 64-entry table, of neighbouring ones, and of distant pages of the directory. */
static const uint32_t numbers[] = { 1, 2, 63, 64, 0x1fff, 0x2000, 0x8001, 0x7fff0, 0xfffff };

static uint64_t mark;

/* DMA of the PASID reaches the pages of the buffer, and those of no other. */
static void reaches(unsigned endpoint, unsigned channel, uint32_t pasid, uint64_t iova,
		    uint32_t buffer, unsigned page, unsigned pages, const char *what)
{
	struct vtd_job job_;
	bool tlb;

	for (tlb = false;; tlb = true) {
		job_ = job(endpoint, channel, tlb ? VTD_TLB_WRITE : VTD_WRITE, pasid, iova,
			   pages * PAGE, ++mark);
		expect(&job_, VTD_DONE, what);
		holds(buffer, page, pages, mark, 0, what);
		job_ = job(endpoint, channel, tlb ? VTD_TLB_READ : VTD_READ, pasid, iova,
			   pages * PAGE, 0);
		expect(&job_, VTD_DONE, what);
		if (job_.value != mark * 512 * pages)
			fail("%s: a read came to the sum %llx", what, (unsigned long long)job_.value);
		if (tlb || !machine.ats)
			return;
	}
}

static void faults_with(unsigned endpoint, unsigned channel, uint32_t pasid, uint64_t iova,
			bool write, unsigned code, unsigned other, const char *what)
{
	struct vtd_job job_ = job(endpoint, channel, write ? VTD_WRITE : VTD_READ, pasid, iova, 64,
				  ~0ull);

	if (job_.result != VTD_FAULT || (job_.code != code && job_.code != other))
		fail("%s: PASID %x of %s: %s, and not fault %02x", what, pasid, name_of(endpoint),
		     result_of(&job_), code);
	if (!machine.ats)
		return;
	job_ = job(endpoint, channel, write ? VTD_TLB_WRITE : VTD_TLB_READ, pasid, iova, 64, ~0ull);
	if (!tlb_blocked(&job_))
		fail("%s: through the device TLB PASID %x of %s: %s", what, pasid,
		     name_of(endpoint), result_of(&job_));
}

static void run_pasids(void)
{
	unsigned endpoints = machine.endpoints < 3 ? machine.endpoints : 3;
	uint32_t buffer = buffer_make(ARRAY(numbers) * 3), domain[3][ARRAY(numbers)];
	uint32_t other = buffer_make(1), other_domain;
	unsigned endpoint, n;

	/* The same numbers and the same address everywhere, and a page of its own for each. */
	for (n = 0; n < ARRAY(numbers); n++) {
		for (endpoint = 0; endpoint < endpoints; endpoint++) {
			step("attaching PASID %x of %s", numbers[n], name_of(endpoint));
			domain[endpoint][n] = domain_make(endpoint);
			map(domain[endpoint][n], IOVA, buffer, n * 3 + endpoint, 1, READ_WRITE);
			faults_with(endpoint, 0, numbers[n], IOVA, true, 0x59, 0x51,
				    "before it is attached");
			attach(domain[endpoint][n], endpoint, numbers[n]);
			reaches(endpoint, 0, numbers[n], IOVA, buffer, n * 3 + endpoint, 1,
				"a PASID that has just been attached");
		}
	}
	for (n = 0; n < ARRAY(numbers) * 3; n++)
		fill(buffer, n, 1, CANARY + n, 0);
	for (n = 0; n < ARRAY(numbers); n++) {
		for (endpoint = 0; endpoint < endpoints; endpoint++) {
			struct vtd_job job_;

			step("PASID %x of %s among others", numbers[n], name_of(endpoint));
			job_ = job(endpoint, n % VTD_CHANNELS, VTD_READ, numbers[n], IOVA, PAGE, 0);
			expect(&job_, VTD_DONE, "a PASID among others");
			if (job_.value != (CANARY + n * 3 + endpoint) * 512)
				fail("PASID %x of %s reads what is another's: %llx", numbers[n],
				     name_of(endpoint), (unsigned long long)job_.value);
		}
		progress(n, ARRAY(numbers));
	}
	/* Detached in another order; the others stay. */
	other_domain = domain_make(0);
	map(other_domain, IOVA, other, 0, 1, READ_WRITE);
	for (n = ARRAY(numbers); n-- > 0;) {
		endpoint = n % endpoints;
		step("detaching PASID %x of %s", numbers[n], name_of(endpoint));
		detach(domain[endpoint][n], endpoint, numbers[n]);
		faults_with(endpoint, 1, numbers[n], IOVA, n & 1, 0x59, 0x59, "after it was detached");
		attach(other_domain, endpoint, numbers[n]);
		reaches(endpoint, 1, numbers[n], IOVA, other, 0, 1, "a PASID with another domain");
		holds(buffer, n * 3 + endpoint, 1, CANARY + n * 3 + endpoint, 0,
		      "the page of the domain before");
		if (endpoints > 1)
			reaches((endpoint + 1) % endpoints, 1, numbers[n], IOVA, buffer,
				n * 3 + (endpoint + 1) % endpoints, 1,
				"the same PASID of another endpoint");
		detach(other_domain, endpoint, numbers[n]);
	}
	step("a PASID of 21 bits");
	if (attach_try(other_domain, 0, 0x100000) != EINVAL)
		fail("the kernel attached a PASID of 21 bits");
	figures("%zu PASIDs of %u endpoints", ARRAY(numbers), endpoints);
}

const struct check pasids = {
	.name = "pasids", .skipped = needs_pasid, .run = run_pasids, .faults = true,
};

/* One domain on several devices and PASIDs: a map is there for all, an unmap is over for all. */
static void run_shared(void)
{
	static const struct { unsigned endpoint; uint32_t pasid; } uses[] = {
		{ 0, 5 }, { 0, 6 }, { 1, 5 }, { 2, 0x12345 }, { 1, 0xf0000 },
	};
	uint32_t buffer = buffer_make(8), domain = domain_make(0);
	bool used[ARRAY(uses)] = { 0 };
	unsigned n, round, page, all = rounds(5);

	for (n = 0; n < ARRAY(uses); n++) {
		if ((int)uses[n].endpoint >= machine.endpoints)
			continue;
		attach(domain, uses[n].endpoint, uses[n].pasid);
		used[n] = true;
	}
	for (round = 0; round < all; round++) {
		for (page = 0; page < 3; page++) {
			uint64_t iova = IOVA + round * 0x123456000ull % 0x100000000000ull + page * PAGE;

			step("page %u of round %u", page, round);
			for (n = 0; n < ARRAY(uses); n++)
				if (used[n])
					faults_with(uses[n].endpoint, n, uses[n].pasid, iova, true,
						    not_mapped(machine.domain, true),
						    not_mapped(machine.domain, true), "before the map");
			map(domain, iova, buffer, page, 2, READ_WRITE);
			for (n = 0; n < ARRAY(uses); n++)
				if (used[n])
					reaches(uses[n].endpoint, n, uses[n].pasid, iova, buffer, page, 2,
						"a shared page");
			unmap(domain, iova, 2);
			fill(buffer, page, 2, CANARY, 1);
			for (n = 0; n < ARRAY(uses); n++)
				if (used[n])
					faults_with(uses[n].endpoint, n, uses[n].pasid, iova, true,
						    not_mapped(machine.domain, true),
						    not_mapped(machine.domain, true), "after the unmap");
			holds(buffer, page, 2, CANARY, 1, "a page after the unmap");
		}
		progress(round, all);
	}
	/* One goes, the others stay. */
	map(domain, IOVA, buffer, 0, 4, READ_WRITE);
	for (n = 0; n < ARRAY(uses); n++) {
		if (!used[n])
			continue;
		step("detaching use %u", n);
		reaches(uses[n].endpoint, n, uses[n].pasid, IOVA, buffer, 0, 4, "before the detach");
		detach(domain, uses[n].endpoint, uses[n].pasid);
		faults_with(uses[n].endpoint, n, uses[n].pasid, IOVA, true, 0x59, 0x59,
			    "after the detach");
	}
}

const struct check shared_domain = {
	.name = "shared-domain", .skipped = needs_pasid, .run = run_shared, .faults = true,
};

/* Pages of 2 MiB, alone and next to small ones. */
static void run_large(void)
{
	uint32_t pasid = machine.scalable && machine.pasid ? 0x77 : VTD_NO_PASID;
	uint32_t domain = domain_make(0), buffer, small = buffer_make(2);
	struct vtd_buffer wanted = { .pages = 1024, .order = 9 };
	struct vtd_domain ask = { .id = domain };
	uint64_t iova = 0x80000000ull;
	struct vtd_job job_;

	step("4 MiB in pieces of 2 MiB");
	if (module_try(VTD_BUFFER_MAKE, &wanted))
		skip("the guest has no 4 MiB in pieces of 2 MiB");
	buffer = wanted.id;
	/* Older kernels know the sizes of a domain when it is attached. */
	attach(domain, 0, pasid);
	module_try(VTD_DOMAIN_ASK, &ask);
	if (!(ask.page_sizes & 0x200000))
		skip("the unit shows no pages of 2 MiB");
	map(domain, iova, buffer, 0, 1024, READ_WRITE);
	map(domain, iova + 0x400000, small, 0, 1, READ_WRITE);
	map(domain, iova - PAGE, small, 1, 1, READ_WRITE);
	fill(buffer, 0, 1024, CANARY, 1);
	step("reading over 2 MiB pages");
	job_ = job(0, 0, VTD_READ, pasid, iova + 0x180000, 0x100000, 0);
	expect(&job_, VTD_DONE, "a read over two pages of 2 MiB");
	if (job_.value != sum_of(buffer, 0x180, 0x100))
		fail("a read over two pages of 2 MiB came to %llx", (unsigned long long)job_.value);
	step("writing over the ends of 2 MiB pages");
	fill(small, 0, 2, CANARY, 0);
	job_ = job(0, 1, VTD_WRITE, pasid, iova + 0x3ff000, 2 * PAGE, 11);
	expect(&job_, VTD_DONE, "a write over the end of a page of 2 MiB");
	job_ = job(0, 1, VTD_WRITE, pasid, iova - PAGE, 2 * PAGE, 12);
	expect(&job_, VTD_DONE, "a write over the start of a page of 2 MiB");
	holds(buffer, 1023, 1, 11, 0, "the last page");
	holds(small, 0, 1, 11, 0, "the page behind");
	holds(small, 1, 1, 12, 0, "the page before");
	holds(buffer, 0, 1, 12, 0, "the first page");
	holds(buffer, 1, 1022, CANARY + 512, 1, "what lies between");
	if (machine.ats) {
		job_ = job(0, 2, VTD_TRANSLATE | VTD_WRITABLE, pasid, iova + 0x345000, 8, 0);
		expect(&job_, VTD_DONE, "a translation request for a page of 2 MiB");
		if ((job_.moved & ~0xfffull) != 0x200000)
			fail("the page is told to have %llx bytes", (unsigned long long)job_.moved & ~0xfffull);
		job_ = job(0, 2, VTD_TLB_WRITE, pasid, iova, 64, 13);
		expect(&job_, VTD_DONE, "a write through the device TLB");
	}
	step("unmapping 2 MiB");
	unmap(domain, iova, 512);
	fill(buffer, 0, 512, CANARY, 0);
	job_ = job(0, 1, VTD_WRITE, pasid, iova + 0x1ff000, 64, 14);
	expect_fault(&job_, not_mapped(machine.domain, true), "a page of 2 MiB that was unmapped");
	if (machine.ats) {
		job_ = job(0, 2, VTD_TLB_WRITE, pasid, iova, 64, 14);
		if (!tlb_blocked(&job_))
			fail("through the device TLB: %s", result_of(&job_));
	}
	holds(buffer, 0, 512, CANARY, 0, "2 MiB that were unmapped");
	job_ = job(0, 1, VTD_WRITE, pasid, iova + 0x200000, 64, 14);
	expect(&job_, VTD_DONE, "the page of 2 MiB that stayed");
}

const struct check large_pages = {
	.name = "large-pages", .skipped = needs_endpoint, .run = run_large, .faults = true,
};
