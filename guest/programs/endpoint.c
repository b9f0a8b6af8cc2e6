// SPDX-License-Identifier: Apache-2.0 OR MIT
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "endpoint.h"

#define JOB_MS 20000

int module_file = -1;

void module_open(void)
{
	module_file = open("/dev/vtd_endpoint", O_RDWR | O_CLOEXEC);
	if (module_file < 0)
		fail_call("/dev/vtd_endpoint");
}

void module_close(void)
{
	close(module_file);
	module_file = -1;
}

int module_try(unsigned long command, void *argument)
{
	if (module_file < 0)
		module_file = open("/dev/vtd_endpoint", O_RDWR | O_CLOEXEC);
	if (module_file < 0)
		return errno;
	return ioctl(module_file, command, argument) ? errno : 0;
}

static void call(unsigned long command, void *argument, const char *what)
{
	errno = module_try(command, argument);
	if (errno)
		fail_call(what);
}

struct vtd_info info_of(unsigned endpoint)
{
	struct vtd_info info = { .endpoint = endpoint };

	call(VTD_INFO, &info, "registers of an endpoint");
	return info;
}

bool endpoint_there(unsigned endpoint)
{
	struct vtd_info info = { .endpoint = endpoint };

	return !module_try(VTD_INFO, &info);
}

const char *name_of(unsigned endpoint)
{
	static char names[VTD_MAX_ENDPOINTS][16];
	uint32_t bdf = info_of(endpoint).bdf;

	snprintf(names[endpoint], sizeof(names[endpoint]), "%02x:%02x.%x", bdf >> 8, bdf >> 3 & 31,
		 bdf & 7);
	return names[endpoint];
}

uint32_t buffer_blocks(unsigned pages, unsigned order)
{
	struct vtd_buffer buffer = { .pages = pages, .order = order };

	call(VTD_BUFFER_MAKE, &buffer, "memory for DMA");
	return buffer.id;
}

uint32_t buffer_make(unsigned pages)
{
	return buffer_blocks(pages, 0);
}

uint32_t buffer_pin(void *address, unsigned pages)
{
	struct vtd_buffer buffer = { .pages = pages, .address = (uintptr_t)address };

	call(VTD_BUFFER_PIN, &buffer, "pinning memory of the process");
	return buffer.id;
}

void buffer_free(uint32_t id)
{
	struct vtd_buffer buffer = { .id = id };

	call(VTD_BUFFER_FREE, &buffer, "freeing memory");
}

static struct vtd_contents contents(unsigned operation, uint32_t buffer, unsigned page,
				    unsigned pages, uint64_t value, uint64_t step)
{
	struct vtd_contents contents = {
		.buffer = buffer, .operation = operation, .page = page, .count = pages,
		.value = value, .step = step,
	};

	call(VTD_CONTENTS, &contents, "contents of memory");
	return contents;
}

void fill(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step)
{
	contents(VTD_FILL, buffer, page, pages, value, step);
}

void holds(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step,
	   const char *what)
{
	struct vtd_contents c = contents(VTD_CHECK, buffer, page, pages, value, step);

	if (c.different)
		fail("%s: %llu of %u qwords differ, the first at byte %llx holds %llx and not %llx",
		     what, (unsigned long long)c.different, pages * 512,
		     (unsigned long long)c.first * 8, (unsigned long long)c.found,
		     (unsigned long long)(value + c.first * step));
}

uint64_t different(uint32_t buffer, unsigned page, unsigned pages, uint64_t value, uint64_t step)
{
	return contents(VTD_CHECK, buffer, page, pages, value, step).different;
}

uint64_t sum_of(uint32_t buffer, unsigned page, unsigned pages)
{
	return contents(VTD_SUM, buffer, page, pages, 0, 0).found;
}

struct vtd_dma_map dma_map(unsigned endpoint, uint32_t buffer, unsigned page, unsigned pages,
			   unsigned kind, unsigned direction)
{
	struct vtd_dma_map map = {
		.endpoint = endpoint, .buffer = buffer, .page = page, .count = pages,
		.kind = kind, .direction = direction,
	};

	call(VTD_DMA_MAP, &map, "dma_map");
	return map;
}

void dma_unmap(struct vtd_dma_map *map)
{
	struct vtd_buffer coherent = { .id = map->buffer };

	if (map->kind == VTD_COHERENT)
		call(VTD_BUFFER_FREE, &coherent, "dma_free_coherent");
	else
		call(VTD_DMA_UNMAP, map, "dma_unmap");
}

uint32_t domain_make(unsigned endpoint)
{
	struct vtd_domain domain = { .endpoint = endpoint };

	call(VTD_DOMAIN_MAKE, &domain, "iommu_paging_domain_alloc");
	return domain.id;
}

void domain_free(uint32_t id)
{
	struct vtd_domain domain = { .id = id };

	call(VTD_DOMAIN_FREE, &domain, "iommu_domain_free");
}

void map(uint32_t domain, uint64_t iova, uint32_t buffer, unsigned page, unsigned pages,
	 unsigned access)
{
	struct vtd_map map = {
		.domain = domain, .buffer = buffer, .page = page, .count = pages,
		.access = access, .iova = iova,
	};

	call(VTD_MAP, &map, "iommu_map");
}

void unmap(uint32_t domain, uint64_t iova, unsigned pages)
{
	struct vtd_map map = { .domain = domain, .iova = iova, .length = pages * PAGE };

	call(VTD_UNMAP, &map, "iommu_unmap");
	if (map.length != pages * PAGE)
		fail("iommu_unmap of %llx unmapped %llx bytes and not %llx",
		     (unsigned long long)iova, (unsigned long long)map.length, pages * PAGE);
}

int attach_try(uint32_t domain, unsigned endpoint, uint32_t pasid)
{
	struct vtd_attach attach = { .domain = domain, .endpoint = endpoint, .pasid = pasid };

	return module_try(VTD_ATTACH, &attach);
}

void attach(uint32_t domain, unsigned endpoint, uint32_t pasid)
{
	errno = attach_try(domain, endpoint, pasid);
	if (errno)
		fail_call(pasid == VTD_NO_PASID ? "iommu_attach_device" :
						  "iommu_attach_device_pasid");
}

void detach(uint32_t domain, unsigned endpoint, uint32_t pasid)
{
	struct vtd_attach attach = { .domain = domain, .endpoint = endpoint, .pasid = pasid };

	call(VTD_DETACH, &attach, "iommu_detach_device_pasid");
}

uint32_t bind_process(unsigned endpoint, uint32_t *id)
{
	struct vtd_attach attach = { .endpoint = endpoint };

	call(VTD_SVA_BIND, &attach, "iommu_sva_bind_device");
	if (id)
		*id = attach.id;
	return attach.pasid;
}

void unbind_process(uint32_t id)
{
	struct vtd_attach attach = { .id = id };

	call(VTD_SVA_UNBIND, &attach, "iommu_sva_unbind_device");
}

void job_start(unsigned endpoint, unsigned channel, unsigned command, uint32_t pasid,
	       uint64_t address, uint32_t length, uint64_t pattern)
{
	struct vtd_job job = {
		.endpoint = endpoint, .channel = channel, .command = command, .pasid = pasid,
		.address = address, .length = length, .pattern = pattern,
	};

	if (pasid == VTD_NO_PASID)
		job.pasid = 0;
	else
		job.command |= VTD_WITH_PASID;
	call(VTD_JOB_START, &job, "starting a job");
}

struct vtd_job job_look(unsigned endpoint, unsigned channel)
{
	struct vtd_job job = { .endpoint = endpoint, .channel = channel };

	call(VTD_JOB_LOOK, &job, "looking at a job");
	return job;
}

struct vtd_job job_end(unsigned endpoint, unsigned channel)
{
	struct vtd_job job = { .endpoint = endpoint, .channel = channel, .wait_ms = JOB_MS };

	call(VTD_JOB_WAIT, &job, "waiting for a job");
	if (job.state != 2)
		fail("a job of %s channel %u is not done after %u s, at round %llu (%llu failed)",
		     name_of(endpoint), channel, JOB_MS / 1000, (unsigned long long)job.rounds,
		     (unsigned long long)job.failed);
	return job;
}

struct vtd_job job(unsigned endpoint, unsigned channel, unsigned command, uint32_t pasid,
		   uint64_t address, uint32_t length, uint64_t pattern)
{
	job_start(endpoint, channel, command, pasid, address, length, pattern);
	return job_end(endpoint, channel);
}

struct vtd_job job_stop(unsigned endpoint, unsigned channel)
{
	struct vtd_job job = { .endpoint = endpoint, .channel = channel };

	call(VTD_JOB_STOP, &job, "stopping a job");
	return job_end(endpoint, channel);
}

void job_rounds(unsigned endpoint, unsigned channel, unsigned more)
{
	struct vtd_job job = job_look(endpoint, channel);
	uint64_t until = now_ms() + JOB_MS, goal = job.rounds + job.failed + more;

	while (job.rounds + job.failed < goal) {
		if (now_ms() > until || job.state != 1)
			fail("a repeating job of %s channel %u stands still at round %llu (%llu failed), state %u, %s",
			     name_of(endpoint), channel, (unsigned long long)job.rounds,
			     (unsigned long long)job.failed, job.state, result_of(&job));
		usleep(500);
		job = job_look(endpoint, channel);
	}
}

void job_blocked(unsigned endpoint, unsigned channel)
{
	uint64_t failed = job_look(endpoint, channel).failed, until = now_ms() + JOB_MS;

	while (job_look(endpoint, channel).failed == failed) {
		if (now_ms() > until)
			fail("a repeating job of %s channel %u is not blocked", name_of(endpoint), channel);
		usleep(500);
	}
}

void stop_all(void)
{
	struct vtd_job job = { .wait_ms = 5000 };

	for (job.endpoint = 0; job.endpoint < VTD_MAX_ENDPOINTS; job.endpoint++)
		for (job.channel = 0; job.channel < VTD_CHANNELS; job.channel++)
			if (!module_try(VTD_JOB_LOOK, &job) && job.state == 1 &&
			    !module_try(VTD_JOB_STOP, &job))
				module_try(VTD_JOB_WAIT, &job);
}

const char *result_of(const struct vtd_job *job)
{
	static const char *const names[] = {
		"done", "fault", "blocked without a record", "an interrupt's address",
		"translated to what is not memory", "the translation grants less",
		"the page request was refused", "the page request was not answered or failed",
		"not enabled", "stopped", "no job in the registers", "removed",
	};
	static char text[200];

	snprintf(text, sizeof(text), "%s (result %x code %02x at %llx, moved %llx, retries %llu)",
		 job->result < ARRAY(names) ? names[job->result] : "?", job->result, job->code,
		 (unsigned long long)job->fault_address, (unsigned long long)job->moved,
		 (unsigned long long)job->retries);
	return text;
}

void expect(const struct vtd_job *job, unsigned result, const char *what)
{
	if (job->result != result)
		fail("%s: %s, and not result %x", what, result_of(job), result);
}

void expect_fault(const struct vtd_job *job, unsigned code, const char *what)
{
	if (job->result != VTD_FAULT || job->code != code)
		fail("%s: %s, and not fault %02x", what, result_of(job), code);
}

unsigned not_mapped(enum table table, bool write)
{
	return table == FIRST_STAGE ? 0x71 : table == SECOND_STAGE ? 0x79 : write ? 5 : 6;
}

unsigned not_permitted(enum table table, bool write)
{
	return table == LEGACY ? (write ? 5 : 6) : write ? 0x85 : 0x86;
}

/* A translation request that is granted nothing is no fault: the device sees that it may not. */
bool tlb_blocked(const struct vtd_job *job)
{
	return job->result == VTD_LESS || job->result == VTD_FAULT || job->result == VTD_NO_RECORD;
}
