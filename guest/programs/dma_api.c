// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * The DMA interface: requests without PASID, to what drivers map as drivers do.
 */
#include <string.h>

#include "endpoint.h"
#include "needs.h"

#define CANARY 0xca7a12c0ffee0000ull

/* A lazy unmap is over when the kernel's flush queue has been emptied: 10 ms, and slow machines. */
#define LAZY_MS 2000

static bool written(const struct vtd_job *job)
{
	return job->result == VTD_DONE;
}

/* After an unmap nothing may reach what was there; where it is lazy, soon. */
static void blocked_after_unmap(unsigned endpoint, uint64_t address, const char *what)
{
	uint64_t until = now_ms() + (machine.strict ? 0 : LAZY_MS);
	struct vtd_job job_;

	do {
		job_ = job(endpoint, 0, VTD_WRITE, VTD_NO_PASID, address, 64, ~0ull);
		if (!written(&job_))
			break;
		pause_ms(20);
	} while (now_ms() < until);
	expect_fault(&job_, not_mapped(machine.dma, true), what);
	job_ = job(endpoint, 0, VTD_READ, VTD_NO_PASID, address, 64, 0);
	expect_fault(&job_, not_mapped(machine.dma, false), what);
	if (!machine.ats)
		return;
	job_ = job(endpoint, 0, VTD_TLB_WRITE, VTD_NO_PASID, address, 64, ~0ull);
	if (!tlb_blocked(&job_))
		fail("%s: a write through the device TLB came to %s", what, result_of(&job_));
}

static void move(unsigned endpoint, unsigned channel, struct vtd_dma_map *map, bool tlb)
{
	uint64_t value = random64() & ~0xfffull, sum = 0, expected;
	unsigned n, page = map->page, pages;
	struct vtd_job job_;

	fill(map->buffer, map->page, map->count, value, 8);
	expected = sum_of(map->buffer, map->page, map->count);
	for (n = 0; n < map->segments; n++) {
		job_ = job(endpoint, channel, (tlb ? VTD_TLB_READ : VTD_READ) |
			   (n == 0 && !tlb ? VTD_INTERRUPT : 0), VTD_NO_PASID,
			   map->segment[n].address, map->segment[n].length, 0);
		expect(&job_, VTD_DONE, "reading what was mapped");
		if (n == 0 && !tlb && job_.interrupts != 1)
			fail("%u interrupts of channel %u instead of 1", job_.interrupts, channel);
		sum += job_.value;
	}
	if (sum != expected)
		fail("the endpoint read a sum of %llx and not %llx", (unsigned long long)sum,
		     (unsigned long long)expected);
	for (n = 0; n < map->segments; n++) {
		pages = map->segment[n].length / PAGE;
		job_ = job(endpoint, channel, tlb ? VTD_TLB_WRITE : VTD_WRITE, VTD_NO_PASID,
			   map->segment[n].address, map->segment[n].length, value + n);
		expect(&job_, VTD_DONE, "writing what was mapped");
		holds(map->buffer, page, pages, value + n, 0, "what the endpoint wrote");
		page += pages;
	}
}

static void one_kind(unsigned endpoint, unsigned channel, unsigned kind, unsigned pages)
{
	static const char *const names[] = { "single", "scatter", "coherent" };
	uint32_t buffer = kind == VTD_COHERENT ? 0 :
			  buffer_blocks(pages, kind == VTD_SINGLE ? 2 : 0);
	struct vtd_dma_map map;

	step("dma-api of %s, %s", name_of(endpoint), names[kind]);
	map = dma_map(endpoint, buffer, 0, pages, kind, VTD_BIDIRECTIONAL);
	move(endpoint, channel, &map, false);
	if (machine.ats)
		move(endpoint, channel, &map, true);
	dma_unmap(&map);
	if (kind != VTD_COHERENT)
		fill(buffer, 0, pages, CANARY, 1);
	if (!machine.pass_through)
		blocked_after_unmap(endpoint, map.segment[0].address, "after dma_unmap");
	if (kind != VTD_COHERENT) {
		if (machine.strict || machine.pass_through)
			holds(buffer, 0, pages, CANARY, 1, "memory after dma_unmap");
		buffer_free(buffer);
	}
}

/* What is mapped for one direction goes in that one alone. */
static void directions(unsigned endpoint)
{
	uint32_t buffer = buffer_make(2);
	struct vtd_dma_map to = dma_map(endpoint, buffer, 0, 1, VTD_SINGLE, VTD_TO_DEVICE);
	struct vtd_dma_map from = dma_map(endpoint, buffer, 1, 1, VTD_SINGLE, VTD_FROM_DEVICE);
	struct vtd_job job_;

	step("directions of dma_map of %s", name_of(endpoint));
	fill(buffer, 0, 2, CANARY, 1);
	job_ = job(endpoint, 1, VTD_READ, VTD_NO_PASID, to.segment[0].address, PAGE, 0);
	expect(&job_, VTD_DONE, "reading a page for reading");
	job_ = job(endpoint, 1, VTD_WRITE, VTD_NO_PASID, to.segment[0].address, PAGE, 1);
	expect_fault(&job_, not_permitted(machine.dma, true), "writing a page for reading");
	holds(buffer, 0, 1, CANARY, 1, "a page for reading");
	job_ = job(endpoint, 1, VTD_WRITE, VTD_NO_PASID, from.segment[0].address, PAGE, 2);
	expect(&job_, VTD_DONE, "writing a page for writing");
	holds(buffer, 1, 1, 2, 0, "a page for writing");
	/* First-stage tables cannot say «write only», and older kernels let everything be read. */
	if (machine.dma != FIRST_STAGE && machine.major >= 7) {
		job_ = job(endpoint, 1, VTD_READ, VTD_NO_PASID, from.segment[0].address, PAGE, 0);
		expect_fault(&job_, not_permitted(machine.dma, false), "reading a page for writing");
	}
	dma_unmap(&to);
	dma_unmap(&from);
	buffer_free(buffer);
}

static void run_dma_api(void)
{
	int endpoint;

	for (endpoint = 0; endpoint < machine.endpoints; endpoint++) {
		one_kind(endpoint, 0, VTD_SINGLE, 4);
		one_kind(endpoint, 3, VTD_SCATTER, 12);
		one_kind(endpoint, 7, VTD_COHERENT, 3);
		if (!machine.pass_through)
			directions(endpoint);
	}
	figures("%d endpoints", machine.endpoints);
}

const struct check dma_api = {
	.name = "dma-api", .skipped = needs_endpoint, .run = run_dma_api, .faults = true,
};

/*
 * As a network card has it: many mappings that come and go in turn, with DMA
 * to each while it is there, on all endpoints and channels at once.
 */
#define STREAMS 8

static void run_streams(void)
{
	struct { struct vtd_dma_map map; unsigned endpoint, channel; } stream[STREAMS];
	unsigned all = rounds(40), round, n;
	uint32_t buffer = buffer_make(STREAMS);
	struct vtd_job job_;

	for (round = 0; round < all; round++) {
		step("round %u of streams", round);
		for (n = 0; n < STREAMS; n++) {
			stream[n].endpoint = n % machine.endpoints;
			stream[n].channel = n / machine.endpoints % VTD_CHANNELS;
			fill(buffer, n, 1, CANARY + n, 0);
			stream[n].map = dma_map(stream[n].endpoint, buffer, n, 1, VTD_SINGLE,
						VTD_FROM_DEVICE);
			job_start(stream[n].endpoint, stream[n].channel, VTD_WRITE, VTD_NO_PASID,
				  stream[n].map.segment[0].address, PAGE, round * STREAMS + n);
		}
		for (n = 0; n < STREAMS; n++) {
			job_ = job_end(stream[n].endpoint, stream[n].channel);
			expect(&job_, VTD_DONE, "a write of a stream");
			dma_unmap(&stream[n].map);
			holds(buffer, n, 1, round * STREAMS + n, 0, "a page of a stream");
		}
		progress(round, all);
	}
	figures("%u writes", all * STREAMS);
}

const struct check dma_streams = {
	.name = "dma-streams", .skipped = needs_endpoint, .run = run_streams,
};
