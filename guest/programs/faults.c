// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Requests that the unit has to block: what the endpoint is told, and what the
 * kernel's fault handler is.
 */
#include <stdio.h>

#include "endpoint.h"
#include "needs.h"

#define IOVA 0x50000000ull
#define PASID 0x321

struct wrong {
	const char *what;
	unsigned command;
	uint32_t pasid;
	uint64_t address;
	unsigned code, other;	/* other: as good; 0: none */
	bool shown;		/* its event is looked for; the pages that follow are as wrong */
};

/* 48 bits are the most that 4-level tables take. */
#define BEYOND (1ull << 60)

static unsigned cases(struct wrong *wrong, uint64_t read_only)
{
	enum table dma = machine.dma, domain = machine.domain;
	struct wrong *next = wrong;

	if (!machine.pass_through) {
		*next++ = (struct wrong){ "read of what is not mapped", VTD_READ, VTD_NO_PASID, 0x1234000,
					  not_mapped(dma, false) };
		*next++ = (struct wrong){ "write of what is for reading", VTD_WRITE, VTD_NO_PASID,
					  read_only, not_permitted(dma, true) };
		*next++ = (struct wrong){ "write of what is not mapped", VTD_WRITE, VTD_NO_PASID, 0x1235000,
					  not_mapped(dma, true), .shown = true };
		*next++ = (struct wrong){ "address beyond the tables", VTD_READ, VTD_NO_PASID, BEYOND,
					  dma == FIRST_STAGE ? 0x80 : dma == SECOND_STAGE ? 0x84 : 4 };
	}
	*next++ = (struct wrong){ "read of the interrupt range", VTD_READ, VTD_NO_PASID, 0xfee01000,
				  machine.scalable ? 0x87 : 0x0e };
	if (!machine.pasid)
		return next - wrong;
	*next++ = (struct wrong){ "PASID: read of what is not mapped", VTD_READ, PASID, IOVA + 16 * PAGE,
				  not_mapped(domain, false), .shown = true };
	*next++ = (struct wrong){ "PASID: write of what is for reading", VTD_WRITE, PASID, IOVA,
				  not_permitted(domain, true) };
	*next++ = (struct wrong){ "PASID that was never attached", VTD_WRITE, 0xabcde, IOVA, 0x59, 0x51, true };
	*next++ = (struct wrong){ "PASID: address beyond the tables", VTD_READ, PASID, BEYOND,
				  domain == FIRST_STAGE ? 0x80 : 0x84 };
	*next++ = (struct wrong){ "PASID: supervisor", VTD_READ | VTD_PRIVILEGED, PASID, IOVA, 0x5d };
	*next++ = (struct wrong){ "PASID: execute", VTD_READ | VTD_EXECUTE, PASID, IOVA, 0x5c };
	if (domain == FIRST_STAGE)
		*next++ = (struct wrong){ "PASID: not canonical by one bit", VTD_WRITE, PASID,
					  1ull << 47, 0x80 };
	*next++ = (struct wrong){ "PASID: write of what is not mapped in the interrupt range",
				  VTD_WRITE, PASID, 0xfee00000, not_mapped(domain, true), 0x87 };
	return next - wrong;
}

static struct vtd_dma_map make(unsigned endpoint, uint32_t *buffer)
{
	uint32_t domain;

	*buffer = buffer_make(1);
	if (machine.pasid) {
		domain = domain_make(endpoint);
		attach(domain, endpoint, PASID);
		map(domain, IOVA, *buffer, 0, 1, VTD_MAP_READ);
	}
	fill(*buffer, 0, 1, 0xca7a12, 1);
	return dma_map(endpoint, *buffer, 0, 1, VTD_SINGLE, VTD_TO_DEVICE);
}

static void run_faults(void)
{
	unsigned endpoint, n, count = 0;
	struct wrong wrong[16];
	struct vtd_job job_;
	uint32_t buffer;

	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		struct vtd_dma_map map_ = make(endpoint, &buffer);

		count = cases(wrong, map_.segment[0].address);
		for (n = 0; n < count; n++) {
			step("%s of %s", wrong[n].what, name_of(endpoint));
			job_ = job(endpoint, n % VTD_CHANNELS, wrong[n].command, wrong[n].pasid,
				   wrong[n].address, 8, ~0ull);
			if (!wrong[n].other || job_.result != VTD_FAULT || job_.code != wrong[n].other)
				expect_fault(&job_, wrong[n].code, wrong[n].what);
		}
		step("a write to the interrupt range by %s", name_of(endpoint));
		job_ = job(endpoint, 0, VTD_WRITE, VTD_NO_PASID, 0xfee00000, 8, 0);
		expect(&job_, VTD_IS_INTERRUPT, "a write without PASID to the interrupt range");
		if (!machine.pasid) {
			job_ = job(endpoint, 0, VTD_WRITE, PASID, IOVA, 8, 0);
			expect(&job_, VTD_NOT_ENABLED, "a PASID where PASIDs are not enabled");
		}
		holds(buffer, 0, 1, 0xca7a12, 1, "a page for reading");
	}
	figures("%u codes", count);
}

const struct check faults = {
	.name = "faults", .skipped = needs_endpoint, .run = run_faults, .faults = true,
};

/*
 * The kernel's line for a fault proves that the unit's fault event interrupt
 * arrived, and what the fault record said. It prints ten lines in five seconds
 * and drops the rest, so a case may have to be tried again.
 */
static bool event(unsigned endpoint, const struct wrong *wrong, unsigned attempt)
{
	/* Another page each time, so that an old line is not taken for the new one. */
	uint64_t address = wrong->address + attempt * PAGE, until;
	char where[64], who[32], device[16];
	uint32_t bdf = info_of(endpoint).bdf;
	struct vtd_job job_;

	job_ = job(endpoint, 0, wrong->command, wrong->pasid, address, 8, 0);
	if (!wrong->other || job_.result != VTD_FAULT || job_.code != wrong->other)
		expect_fault(&job_, wrong->code, wrong->what);
	snprintf(where, sizeof(where), "fault addr 0x%llx [fault reason 0x%02x]",
		 (unsigned long long)address, job_.code);
	snprintf(device, sizeof(device), "%02x:%02x.%d]", bdf >> 8, bdf >> 3 & 31, bdf & 7);
	if (wrong->pasid == VTD_NO_PASID)
		snprintf(who, sizeof(who), "[DMA %s NO_PASID]",
			 (wrong->command & 15) == VTD_READ ? "Read" : "Write");
	else
		snprintf(who, sizeof(who), "[DMA %s PASID 0x%x]",
			 (wrong->command & 15) == VTD_READ ? "Read" : "Write", wrong->pasid);
	for (until = now_ms() + 1000; now_ms() < until; pause_ms(10))
		if (log_has(where, device, who))
			return true;
	return false;
}

static void run_events(void)
{
	unsigned n, attempt, count, seen = 0;
	struct wrong wrong[16];
	struct vtd_dma_map map_;
	uint32_t buffer;

	map_ = make(0, &buffer);
	count = cases(wrong, map_.segment[0].address);
	for (n = 0; n < count; n++) {
		if (!wrong[n].shown)
			continue;
		for (attempt = 0; attempt < 4; attempt++) {
			step("the kernel's line for: %s, attempt %u", wrong[n].what, attempt);
			if (event(0, &wrong[n], attempt))
				break;
			if (attempt == 3)
				fail("the kernel has no line for the fault: %s (no fault event?)",
				     wrong[n].what);
			if (attempt)
				pause_ms(5200);
		}
		seen++;
	}
	figures("%u events", seen);
}

static const char *needs_blocked(void)
{
	return machine.endpoints && machine.pasid ? NULL : needs_translation();
}

const struct check fault_events = {
	.name = "fault-events", .skipped = needs_blocked, .run = run_events, .faults = true,
};
