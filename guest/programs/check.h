/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What a check is, and how it says what came of it.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ull
#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

enum table { LEGACY, SECOND_STAGE, FIRST_STAGE };

/* What this boot's unit and kernel are. */
struct machine {
	int endpoints;
	uint64_t cap, ecap;
	bool scalable;
	bool caching_mode;
	enum table dma;		/* tables of the DMA interface's domains */
	enum table domain;	/* tables of domains of our own */
	bool pass_through;	/* the endpoints' default domain is the identity */
	bool strict;		/* dma_unmap returns when nothing is left */
	bool ats, pri, pasid;	/* the kernel has enabled it for endpoint 0 */
	bool sva;		/* the kernel binds address spaces of processes */
	const char *no_sva;	/* why not */
	int major, minor;
	char disk[32];		/* "" without */
};
extern struct machine machine;
void machine_find(void);
void machine_print(void);

struct check {
	const char *name;
	/* NULL if it applies here, else why not. */
	const char *(*skipped)(void);
	void (*run)(void);
	bool faults;	/* it brings about faults of DMA; else a fault event is a failure */
	bool asked;	/* only if the plan names it */
};

/* All of these end the check, from whatever thread or process of it. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* With errno. */
_Noreturn void fail_call(const char *what);

/* What is being done: said if the check does not end in time. */
void step(const char *format, ...) __attribute__((format(printf, 1, 2)));
void progress(unsigned done, unsigned all);
/* Added to the line that says that it passed. */
void figures(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* vtd.rounds of 100: part of it, at least 1. */
unsigned rounds(unsigned percent);
uint64_t random64(void);
unsigned below(unsigned n);
void pause_ms(unsigned ms);
uint64_t now_ms(void);

/* A process of the check's own; it ends without a word if all is well. */
int child(void (*run)(void *), void *argument);
void child_wait(int pid);

/* The kernel's log since the check began. */
bool log_has(const char *first, const char *second, const char *third);
void log_follow(void);

#define ALL_CHECKS(X) \
	X(machine_check) X(fault_events) X(faults) X(dma_api) X(dma_streams) X(pasids) \
	X(shared_domain) X(large_pages) X(random_steps) X(device_tlb) X(page_requests) \
	X(storm_domain) X(storm_dma) X(sva_demand) X(sva_protection) X(sva_munmap) \
	X(sva_exit) X(sva_many) X(hotplug) X(block) X(block_load) X(kexec) X(reset) \
	X(after_kexec) X(after_reset)

#endif
