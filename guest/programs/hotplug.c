// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * An endpoint that goes away with all that it has, and comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "endpoint.h"
#include "needs.h"

#define IOVA 0x90000000ull
#define PASID 0x808
#define CANARY 0xca7a12c0ffee0000ull

static void put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail("%s: %s", path, strerror(errno));
	close(file);
}

static void wait_there(unsigned endpoint, bool there)
{
	uint64_t until = now_ms() + 10000;

	while (endpoint_there(endpoint) != there) {
		if (now_ms() > until)
			fail("the endpoint is %s after 10 s", there ? "not back" : "still there");
		pause_ms(5);
	}
}

static void drive(unsigned endpoint, uint32_t buffer)
{
	struct vtd_dma_map map_ = dma_map(endpoint, buffer, 0, 1, VTD_SINGLE, VTD_BIDIRECTIONAL);
	uint32_t domain;
	struct vtd_job job_;

	job_ = job(endpoint, 0, VTD_WRITE | VTD_INTERRUPT, VTD_NO_PASID, map_.segment[0].address, PAGE, 7);
	expect(&job_, VTD_DONE, "a write of an endpoint that is back");
	if (job_.interrupts != 1)
		fail("%u interrupts of an endpoint that is back", job_.interrupts);
	holds(buffer, 0, 1, 7, 0, "a page of an endpoint that is back");
	dma_unmap(&map_);
	if (!machine.pasid)
		return;
	job_ = job(endpoint, 0, VTD_WRITE, PASID, IOVA, 64, ~0ull);
	if (job_.result != VTD_FAULT || (job_.code != 0x59 && job_.code != 0x51))
		fail("a PASID of before the removal: %s", result_of(&job_));
	domain = domain_make(endpoint);
	map(domain, IOVA, buffer, 1, 1, VTD_MAP_READ | VTD_MAP_WRITE);
	attach(domain, endpoint, PASID);
	job_ = job(endpoint, 0, machine.ats ? VTD_TLB_WRITE : VTD_WRITE, PASID, IOVA, PAGE, 8);
	expect(&job_, VTD_DONE, "a PASID of an endpoint that is back");
	holds(buffer, 1, 1, 8, 0, "a page of an endpoint that is back");
	detach(domain, endpoint, PASID);
	domain_free(domain);
}

static void run_hotplug(void)
{
	unsigned endpoint = machine.endpoints - 1, all = rounds(4), round;
	char device[32], path[120];
	uint32_t buffer, domain;
	struct vtd_dma_map map_;

	buffer = buffer_make(4);
	snprintf(device, sizeof(device), "0000:%s", name_of(endpoint));
	for (round = 0; round < all; round++) {
		/* It has as much as it can have, and uses it. */
		step("round %u: DMA", round);
		map_ = dma_map(endpoint, buffer, 2, 1, VTD_SINGLE, VTD_BIDIRECTIONAL);
		job_start(endpoint, 2, VTD_WRITE | VTD_REPEAT, VTD_NO_PASID, map_.segment[0].address, PAGE, 1);
		/* A domain is of the unit, not of the device: it stays. */
		domain = 0;
		if (machine.pasid) {
			domain = domain_make(endpoint);
			map(domain, IOVA, buffer, 3, 1, VTD_MAP_READ | VTD_MAP_WRITE);
			attach(domain, endpoint, PASID);
			job_start(endpoint, 3, (machine.ats ? VTD_TLB_WRITE : VTD_WRITE) | VTD_REPEAT, PASID,
				  IOVA, PAGE, 1);
			job_rounds(endpoint, 3, 2);
		}
		if (machine.sva)
			bind_process(endpoint, NULL);
		job_rounds(endpoint, 2, 2);
		if (round % 2) {
			step("round %u: unbind", round);
			put("/sys/bus/pci/drivers/vtd_endpoint/unbind", device);
			wait_there(endpoint, false);
			fill(buffer, 0, 4, CANARY, 1);
			step("round %u: bind", round);
			put("/sys/bus/pci/drivers/vtd_endpoint/bind", device);
		} else {
			step("round %u: removal", round);
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove", device);
			put(path, "1");
			wait_there(endpoint, false);
			fill(buffer, 0, 4, CANARY, 1);
			step("round %u: rescan", round);
			put("/sys/bus/pci/rescan", "1");
		}
		step("round %u: coming back", round);
		wait_there(endpoint, true);
		holds(buffer, 0, 4, CANARY, 1, "memory of an endpoint that was removed");
		step("round %u: driving it again", round);
		drive(endpoint, buffer);
		if (domain)
			domain_free(domain);
		progress(round, all);
	}
	figures("%u times", all);
}

const struct check hotplug = {
	.name = "hotplug", .skipped = needs_endpoint, .run = run_hotplug, .faults = true,
};
