// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Page requests without processes: a domain of the module maps its pages when
 * they are asked for. Works on kernels that have no SVA as well. Every page
 * that comes proves that the unit's page request event arrived.
 */
#include "endpoint.h"
#include "needs.h"

#define IOVA 0x70000000ull
#define PAGES 24
#define PASID 0x1010

static uint32_t demand_domain(uint32_t buffer, bool read_only)
{
	struct vtd_domain domain = {
		.demand = buffer, .demand_iova = IOVA, .demand_read_only = read_only,
	};
	int error = module_try(VTD_DOMAIN_MAKE, &domain);

	if (error)
		fail("a domain that serves page requests: error %d", error);
	return domain.id;
}

static void run_page_requests(void)
{
	uint32_t buffer = buffer_make(PAGES), domain, read_only, plain;
	unsigned endpoint, n, share = PAGES / machine.endpoints;
	struct vtd_domain ask;
	struct vtd_info info;
	struct vtd_job job_;

	domain = demand_domain(buffer, false);
	read_only = demand_domain(buffer, true);
	plain = domain_make(0);
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		attach(domain, endpoint, PASID);
		attach(read_only, endpoint, PASID + 1);
		attach(plain, endpoint, PASID + 2);
	}
	/* All at once, each its own pages. */
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++)
		job_start(endpoint, 0, VTD_TLB_WRITE | VTD_PAGE_REQUESTS, PASID,
			  IOVA + endpoint * share * PAGE, share * PAGE, 0x100 + endpoint);
	for (endpoint = 0; (int)endpoint < machine.endpoints; endpoint++) {
		step("pages on demand of %s", name_of(endpoint));
		job_ = job_end(endpoint, 0);
		expect(&job_, VTD_DONE, "a write to pages that come on demand");
		if (job_.retries < share)
			fail("%u pages came with %llu page requests", share,
			     (unsigned long long)job_.retries);
		holds(buffer, endpoint * share, share, 0x100 + endpoint, 0, "pages that came on demand");
	}
	ask = (struct vtd_domain){ .id = domain };
	module_try(VTD_DOMAIN_ASK, &ask);
	if (ask.demanded < machine.endpoints * share)
		fail("the kernel handed on %llu page requests", (unsigned long long)ask.demanded);
	for (n = 0; (int)n < machine.endpoints; n++) {
		step("refused page requests of %s", name_of(n));
		job_ = job(n, 1, VTD_TLB_WRITE | VTD_PAGE_REQUESTS, PASID, IOVA + PAGES * PAGE, 64, 1);
		expect(&job_, VTD_REFUSED, "a page request beyond the domain's pages");
		job_ = job(n, 1, VTD_TLB_READ | VTD_PAGE_REQUESTS, PASID + 1, IOVA + PAGE, 64, 1);
		expect(&job_, VTD_DONE, "a read of a page for reading");
		job_ = job(n, 1, VTD_TLB_WRITE | VTD_PAGE_REQUESTS, PASID + 1, IOVA + PAGE, 64, 1);
		expect(&job_, VTD_REFUSED, "a page request for writing, of a page for reading");
		job_ = job(n, 2, VTD_PAGE_REQUEST, PASID + 2, IOVA, 64, 1);
		expect(&job_, VTD_REFUSED, "a page request that the domain does not serve");
		job_ = job(n, 2, VTD_PAGE_REQUEST, 0x77777, IOVA, 64, 1);
		expect(&job_, VTD_REFUSED, "a page request of a PASID that is not attached");
		job_ = job(n, 2, VTD_PAGE_REQUEST, PASID, IOVA + PAGE, 64, 1);
		expect(&job_, VTD_DONE, "a page request for a page that is there");
	}
	/* Away under the device, and back on demand, over and over. */
	job_start(0, 3, VTD_TLB_WRITE | VTD_PAGE_REQUESTS | VTD_REPEAT, PASID, IOVA, 2 * PAGE, 0);
	for (n = 0; n < rounds(10); n++) {
		step("round %u: pages that go and come", n);
		/* The first round may have begun before the pages went. */
		job_rounds(0, 3, 2);
		unmap(domain, IOVA, 2);
		progress(n, rounds(10));
	}
	step("the last round of pages that go and come");
	job_rounds(0, 3, 2);
	job_ = job_stop(0, 3);
	if (job_.retries < rounds(10))
		fail("pages that went %u times came back with %llu page requests", rounds(10),
		     (unsigned long long)job_.retries);
	/* The module stops page requests before it detaches, as a driver has to; other DMA goes on. */
	step("detaching a PASID with page requests under way");
	unmap(domain, IOVA, 4);
	job_start(0, 3, VTD_TLB_WRITE | VTD_PAGE_REQUESTS | VTD_REPEAT, PASID, IOVA, 4 * PAGE, 0);
	job_start(0, 4, VTD_TLB_WRITE | VTD_REPEAT, PASID, IOVA, 4 * PAGE, 0);
	job_rounds(0, 3, 1);
	detach(domain, 0, PASID);
	fill(buffer, 0, PAGES, 0xdead, 0);
	job_rounds(0, 4, 3);
	holds(buffer, 0, PAGES, 0xdead, 0, "pages of a detached PASID");
	job_ = job_end(0, 3);
	expect(&job_, VTD_STOPPED, "page requests of a PASID that is detached");
	job_ = job_stop(0, 4);
	if (!job_.failed)
		fail("a detached PASID went on");
	info = info_of(0);
	if (info.page_requests != info.responses)
		fail("%llu page requests and %llu responses", (unsigned long long)info.page_requests,
		     (unsigned long long)info.responses);
	figures("%llu page requests of the first endpoint", (unsigned long long)info.page_requests);
}

const struct check page_requests = {
	.name = "page-requests", .skipped = needs_pri, .run = run_page_requests, .faults = true,
};
