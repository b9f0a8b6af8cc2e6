// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Devices that use the memory of processes, by the processes' own page tables.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "endpoint.h"
#include "needs.h"

#define CANARY 0xca7a12c0ffee0000ull
#define DEMAND VTD_PAGE_REQUESTS

static void *memory(size_t pages)
{
	void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail_call("mmap");
	return at;
}

static uint64_t address(const volatile void *at)
{
	return (uintptr_t)at;
}

static void all_are(const volatile uint64_t *at, size_t pages, uint64_t value, const char *what)
{
	size_t n;

	for (n = 0; n < pages * 512; n++)
		if (at[n] != value)
			fail("%s: byte %zx holds %llx and not %llx", what, n * 8,
			     (unsigned long long)at[n], (unsigned long long)value);
}

static void set(volatile uint64_t *at, size_t pages, uint64_t value)
{
	size_t n;

	for (n = 0; n < pages * 512; n++)
		at[n] = value;
}

static uint32_t bind_all(void)
{
	uint32_t pasid = 0;
	int n;

	for (n = 0; n < machine.endpoints; n++)
		pasid = bind_process(n, NULL);
	return pasid;
}

static void demand_write(unsigned endpoint, uint32_t pasid, volatile uint64_t *at, size_t pages,
			 uint64_t value, bool fresh, const char *what)
{
	struct vtd_job job_;

	step("%s, %s", what, name_of(endpoint));
	job_ = job(endpoint, 0, VTD_TLB_WRITE | DEMAND, pasid, address(at), pages * PAGE, value);
	expect(&job_, VTD_DONE, what);
	if (fresh && machine.pri && !job_.retries)
		fail("%s: no page request was needed", what);
	all_are(at, pages, value, what);
}

static void cow_child(void *argument)
{
	volatile uint64_t *at = argument;
	uint32_t pasid;

	module_open();
	pasid = bind_process(0, NULL);
	demand_write(0, pasid, at, 2, 0x22, false, "pages that are shared until they are written");
	all_are(at + 1024, 1, 0x11, "the page next to them");
}

static void run_demand(void)
{
	volatile uint64_t *at, *big;
	struct vtd_job job_;
	uint32_t pasid;
	uint64_t before;
	int endpoint, file;

	module_open();
	step("binding");
	pasid = bind_all();
	before = info_of(0).page_requests;
	for (endpoint = 0; endpoint < machine.endpoints; endpoint++) {
		at = memory(12);
		demand_write(endpoint, pasid, at, 8, 0x1000 + endpoint, true, "pages never touched");
		step("reading pages never touched, %s", name_of(endpoint));
		job_ = job(endpoint, 1, VTD_TLB_READ | DEMAND, pasid, address(at + 8 * 512), 2 * PAGE, 0);
		expect(&job_, VTD_DONE, "reading pages never touched");
		if (job_.value)
			fail("pages never touched read %llx", (unsigned long long)job_.value);
		/* Now the page of zeroes is there, for reading; a write wants one of its own. */
		demand_write(endpoint, pasid, at + 8 * 512, 2, 0x33, true, "pages that were read");
		step("without page requests, %s", name_of(endpoint));
		job_ = job(endpoint, 1, VTD_WRITE, pasid, address(at + 10 * 512), PAGE, 1);
		expect_fault(&job_, 0x71, "untranslated write to a page never touched");
		set(at + 10 * 512, 1, 5);
		job_ = job(endpoint, 1, VTD_WRITE, pasid, address(at + 10 * 512), PAGE, 6);
		expect(&job_, VTD_DONE, "untranslated write to a page that is there");
		all_are(at + 10 * 512, 1, 6, "untranslated write");
		munmap((void *)at, 12 * PAGE);
	}
	if (info_of(0).page_requests == before && machine.pri)
		fail("no page request was sent");

	/* 4 MiB: the kernel may take pages of 2 MiB. */
	at = memory(1536);
	big = (uint64_t *)((address(at) + 0x1fffff) & ~0x1fffffull);
	demand_write(0, pasid, big + 0x1f0 * 512, 32, 0x44, true, "over the middle of a large area");
	munmap((void *)at, 1536 * PAGE);

	/* A file that is shared, and one that is copied on write. */
	file = open("/tmp/sva", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || ftruncate(file, 4 * PAGE))
		fail_call("/tmp/sva");
	at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	demand_write(0, pasid, at, 4, 0x77, true, "a shared file");
	big = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	demand_write(0, pasid, big, 4, 0x88, true, "a private file");
	all_are(at, 4, 0x77, "the file below a private mapping");
	munmap((void *)at, 4 * PAGE);
	munmap((void *)big, 4 * PAGE);
	close(file);

	/* Shared with a child until one of both writes. */
	at = memory(3);
	set(at, 3, 0x11);
	step("copy on write in a child");
	child_wait(child(cow_child, (void *)at));
	all_are(at, 3, 0x11, "the parent's pages");
	demand_write(0, pasid, at, 3, 0x99, false, "the parent's own pages");
	figures("%llu page requests of the first endpoint",
		(unsigned long long)(info_of(0).page_requests - before));
}

const struct check sva_demand = {
	.name = "sva-demand", .skipped = needs_sva, .run = run_demand, .faults = true,
};

static void refused(unsigned endpoint, uint32_t pasid, bool write, uint64_t at, const char *what)
{
	struct vtd_job job_;

	step("%s, %s", what, name_of(endpoint));
	job_ = job(endpoint, 0, (write ? VTD_TLB_WRITE : VTD_TLB_READ) | DEMAND, pasid, at, 64, ~0ull);
	if (machine.pri)
		expect(&job_, VTD_REFUSED, what);
	else if (!tlb_blocked(&job_))
		fail("%s: %s", what, result_of(&job_));
	job_ = job(endpoint, 0, write ? VTD_WRITE : VTD_READ, pasid, at, 64, ~0ull);
	expect(&job_, VTD_FAULT, what);
}

static void run_protection(void)
{
	volatile uint64_t *at, *gone;
	uint32_t pasid;
	int endpoint, n;

	module_open();
	pasid = bind_all();
	for (endpoint = 0; endpoint < machine.endpoints; endpoint++) {
		at = memory(4);
		gone = memory(1);
		set(at, 4, 1);
		set(gone, 1, 1);
		munmap((void *)gone, PAGE);
		mprotect((void *)at, PAGE, PROT_READ);
		mprotect((void *)(at + 512), PAGE, PROT_NONE);
		refused(endpoint, pasid, true, address(at), "writing a page for reading");
		refused(endpoint, pasid, false, address(at + 512), "reading a page for nothing");
		refused(endpoint, pasid, false, address(gone), "reading a page that is gone");
		refused(endpoint, pasid, true, address(run_protection) & ~7ull, "writing code");
		refused(endpoint, pasid, false, 0xffff888000000000ull, "reading the kernel's memory");
		refused(endpoint, pasid, true, 0xffffffff81000000ull, "writing the kernel's code");
		all_are(at, 1, 1, "a page for reading");
		/* Taken away from a device that has it, and given back. */
		for (n = 0; n < 3; n++) {
			demand_write(endpoint, pasid, at + 1024, 2, 0x10 + n, false, "before mprotect");
			mprotect((void *)(at + 1024), 2 * PAGE, PROT_READ);
			refused(endpoint, pasid, true, address(at + 1024), "writing after mprotect");
			all_are(at + 1024, 2, 0x10 + n, "pages after mprotect");
			mprotect((void *)(at + 1024), 2 * PAGE, PROT_READ | PROT_WRITE);
		}
		munmap((void *)at, 4 * PAGE);
	}
}

const struct check sva_protection = {
	.name = "sva-protection", .skipped = needs_sva, .run = run_protection, .faults = true,
};

/* Writers of one process: through the device TLB with and without page requests, and untranslated. */
static const unsigned kinds[] = { VTD_TLB_WRITE | DEMAND, VTD_TLB_WRITE, VTD_WRITE };

static void writers_start(unsigned first_channel, uint32_t pasid, uint64_t at, unsigned pages)
{
	unsigned n;

	for (n = 0; n < ARRAY(kinds); n++)
		job_start(n % machine.endpoints, first_channel + n, kinds[n] | VTD_REPEAT, pasid, at,
			  pages * PAGE, 0x1000000 * (n + 1));
}

static void writers_go_on(unsigned first_channel, unsigned more)
{
	unsigned n;

	/* The one with page requests was stopped if the binding is gone. */
	for (n = 0; n < ARRAY(kinds); n++)
		if (job_look(n % machine.endpoints, first_channel + n).result != VTD_STOPPED)
			job_rounds(n % machine.endpoints, first_channel + n, more);
}

static void writers_stop(unsigned first_channel)
{
	struct vtd_job job_;
	unsigned n;

	for (n = 0; n < ARRAY(kinds); n++) {
		job_ = job_stop(n % machine.endpoints, first_channel + n);
		if (!job_.rounds)
			fail("writer %u never wrote", n);
		if (!job_.failed && !(kinds[n] & DEMAND))
			fail("writer %u went on after its memory was gone: %llu rounds", n,
			     (unsigned long long)job_.rounds);
	}
}

/* New memory, as much as is likely to have the pages that were given back among it. */
#define NEW_PAGES 2048

static void run_munmap(void)
{
	unsigned all = rounds(8), round;
	volatile uint64_t *at, *new;
	uint32_t pasid, pinned;

	module_open();
	pasid = bind_all();
	for (round = 0; round < all; round++) {
		step("round %u: writing", round);
		at = memory(4);
		set(at, 4, 0);
		/* Pinned pages stay as they are and can be watched; others are given to somebody else. */
		pinned = round % 2 ? 0 : buffer_pin((void *)at, 4);
		writers_start(0, pasid, address(at), 4);
		writers_go_on(0, 2);
		step("round %u: munmap", round);
		munmap((void *)at, 4 * PAGE);
		step("round %u: watching", round);
		if (pinned) {
			fill(pinned, 0, 4, CANARY, 1);
			writers_go_on(0, 3);
			holds(pinned, 0, 4, CANARY, 1, "pages after munmap");
			buffer_free(pinned);
		} else {
			/* Elsewhere: at the old address the device may write again. */
			new = mmap((void *)0x200000000000, NEW_PAGES * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			set(new, NEW_PAGES, CANARY);
			writers_go_on(0, 3);
			all_are(new, NEW_PAGES, CANARY, "new memory after munmap");
			munmap((void *)new, NEW_PAGES * PAGE);
		}
		writers_stop(0);
		progress(round, all);
	}
	figures("%u rounds", all);
}

const struct check sva_munmap = {
	.name = "sva-munmap", .skipped = needs_sva, .run = run_munmap, .faults = true,
};

struct leaving {
	volatile int ready;
	unsigned channel;
	bool own_file, killed;
	uint32_t bond, pinned;
};

static void leaving_child(void *argument)
{
	struct leaving *leaving = argument;
	volatile uint64_t *at = memory(4);
	uint32_t bonds[VTD_MAX_ENDPOINTS], pasid = 0;
	int n;

	if (leaving->own_file)
		module_open();
	for (n = 0; n < machine.endpoints && n < (int)ARRAY(kinds); n++)
		pasid = bind_process(n, &bonds[n]);
	set(at, 4, 0);
	if (!leaving->own_file)
		leaving->pinned = buffer_pin((void *)at, 4);
	writers_start(leaving->channel, pasid, address(at), 4);
	writers_go_on(leaving->channel, 2);
	leaving->ready = 1;
	if (!leaving->killed)
		_exit(0);
	for (;;)
		pause();
}

/*
 * Processes that end while devices write their memory: by themselves or
 * killed; with the binding released before or after the address space.
 */
static void run_exit(void)
{
	struct leaving *leaving = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned all = rounds(8), round;
	volatile uint64_t *new;
	int pid, status;

	module_open();
	for (round = 0; round < all; round++) {
		memset(leaving, 0, sizeof(*leaving));
		leaving->own_file = round & 1;
		leaving->killed = round & 2;
		leaving->channel = round % 2 * 4;
		step("round %u: a process with DMA", round);
		pid = child(leaving_child, leaving);
		if (leaving->killed) {
			while (!leaving->ready && waitpid(pid, &status, WNOHANG) == 0)
				pause_ms(1);
			if (!leaving->ready)
				fail("a process ended early");
			kill(pid, SIGKILL);
		}
		step("round %u: its end", round);
		if (waitpid(pid, &status, 0) != pid)
			fail_call("waitpid");
		if (!leaving->ready)
			fail("a process ended early, with %x", status);
		step("round %u: watching", round);
		if (leaving->pinned) {
			fill(leaving->pinned, 0, 4, CANARY, 1);
			writers_go_on(leaving->channel, 3);
			holds(leaving->pinned, 0, 4, CANARY, 1, "pages of a process that ended");
		} else {
			new = memory(NEW_PAGES);
			set(new, NEW_PAGES, CANARY);
			writers_go_on(leaving->channel, 3);
			all_are(new, NEW_PAGES, CANARY, "new memory after a process ended");
			munmap((void *)new, NEW_PAGES * PAGE);
		}
		writers_stop(leaving->channel);
		/* Bindings that the process made through our file go with it. */
		module_close();
		module_open();
		progress(round, all);
	}
	figures("%u processes", all);
}

const struct check sva_exit = {
	.name = "sva-exit", .skipped = needs_sva, .run = run_exit, .faults = true,
};

#define PROCESSES 4

struct many {
	unsigned channel;
};

static void many_child(void *argument)
{
	struct many *many = argument;
	unsigned all = rounds(4), round, n;
	volatile uint64_t *at[VTD_MAX_ENDPOINTS];
	struct vtd_job job_;
	uint32_t pasid;

	module_open();
	pasid = bind_all();
	for (round = 0; round < all; round++) {
		for (n = 0; (int)n < machine.endpoints; n++) {
			/* The same addresses in all processes, as far as mmap sees to it. */
			at[n] = memory(6);
			job_start(n, many->channel, VTD_TLB_WRITE | DEMAND, pasid, address(at[n]), 6 * PAGE,
				  pasid * 0x10000ull + round * 16 + n);
		}
		for (n = 0; (int)n < machine.endpoints; n++) {
			step("process with PASID %x, round %u", pasid, round);
			job_ = job_end(n, many->channel);
			expect(&job_, VTD_DONE, "a write of one of many processes");
			all_are(at[n], 6, pasid * 0x10000ull + round * 16 + n, "memory of one of many processes");
			munmap((void *)at[n], 6 * PAGE);
		}
	}
}

static void run_many(void)
{
	struct many many[PROCESSES];
	int pid[PROCESSES];
	unsigned n;

	for (n = 0; n < PROCESSES; n++) {
		many[n].channel = n;
		pid[n] = child(many_child, &many[n]);
	}
	for (n = 0; n < PROCESSES; n++) {
		child_wait(pid[n]);
		progress(n, PROCESSES);
	}
	figures("%d processes on %d endpoints", PROCESSES, machine.endpoints);
}

const struct check sva_many = {
	.name = "sva-many", .skipped = needs_sva, .run = run_many,
};
