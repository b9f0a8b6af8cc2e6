/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The module's calls, each ending the check if it is refused.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include "check.h"
#include "vtd_endpoint.h"

/* The file that calls go through: opened by the first call. A process that forked has its parent's. */
extern int module_file;
void module_open(void);
void module_close(void);
/* What ioctl returns, 0 or an errno. */
int module_try(unsigned long command, void *argument);

struct vtd_info info_of(unsigned endpoint);
bool endpoint_there(unsigned endpoint);
const char *name_of(unsigned endpoint);

uint32_t buffer_make(unsigned pages);
uint32_t buffer_blocks(unsigned pages, unsigned order);
uint32_t buffer_pin(void *address, unsigned pages);
void buffer_free(uint32_t buffer);
void fill(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step);
void holds(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step,
	   const char *what);
uint64_t different(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step);
uint64_t sum_of(uint32_t buffer, unsigned page, unsigned pages);

struct vtd_dma_map dma_map(unsigned endpoint, uint32_t buffer, unsigned page, unsigned pages,
			   unsigned kind, unsigned direction);
void dma_unmap(struct vtd_dma_map *map);

uint32_t domain_make(unsigned endpoint);
void domain_free(uint32_t domain);
void map(uint32_t domain, uint64_t iova, uint32_t buffer, unsigned page, unsigned pages,
	 unsigned access);
void unmap(uint32_t domain, uint64_t iova, unsigned pages);
void attach(uint32_t domain, unsigned endpoint, uint32_t pasid);
int attach_try(uint32_t domain, unsigned endpoint, uint32_t pasid);
void detach(uint32_t domain, unsigned endpoint, uint32_t pasid);
/* The PASID of this process. */
uint32_t bind_process(unsigned endpoint, uint32_t *id);
void unbind_process(uint32_t id);

/* A job to its end. PASID VTD_NO_PASID: without. */
struct vtd_job job(unsigned endpoint, unsigned channel, unsigned command, uint32_t pasid,
		   uint64_t address, uint32_t length, uint64_t pattern);
void job_start(unsigned endpoint, unsigned channel, unsigned command, uint32_t pasid,
	       uint64_t address, uint32_t length, uint64_t pattern);
struct vtd_job job_look(unsigned endpoint, unsigned channel);
struct vtd_job job_end(unsigned endpoint, unsigned channel);
struct vtd_job job_stop(unsigned endpoint, unsigned channel);
/* Until the rounds, failed ones included, are so many more. */
void job_rounds(unsigned endpoint, unsigned channel, unsigned more);
/* Until a round fails. */
void job_blocked(unsigned endpoint, unsigned channel);
/* Of all endpoints. */
void stop_all(void);

const char *result_of(const struct vtd_job *job);
/* Ends the check if it is not so. */
void expect(const struct vtd_job *job, unsigned result, const char *what);
void expect_fault(const struct vtd_job *job, unsigned code, const char *what);

/* The code of an access to what is not mapped, not permitted. */
unsigned not_mapped(enum table table, bool write);
unsigned not_permitted(enum table table, bool write);
/* How a request of the domain is made: with PASID where there are any, else of the whole device. */
bool tlb_blocked(const struct vtd_job *job);

#endif
