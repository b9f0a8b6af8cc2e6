// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * That the machine is what the plan takes it for: without endpoints the other
 * checks are skipped, and a table of skipped checks would look well.
 */
#include <stdio.h>
#include <string.h>

#include "endpoint.h"

static void run_machine(void)
{
	int n;

	step("endpoints");
	if (!machine.endpoints)
		fail("no endpoint: the module found none, or is not loaded");
	if (!machine.cap)
		fail("the endpoints have no unit: the kernel did not take the DMAR table");
	for (n = 0; n < machine.endpoints; n++) {
		struct vtd_info info = info_of(n);

		if (!(info.enabled & VTD_ENABLED_MASTER))
			fail("%s is no bus master", name_of(n));
	}
	if (machine.scalable && !machine.pasid)
		fail("the unit has scalable mode, and the kernel has enabled no PASIDs");
	figures("%d endpoints, %s, disk %s", machine.endpoints,
		machine.sva ? "SVA" : machine.no_sva, *machine.disk ? machine.disk : "none");
}

const struct check machine_check = { .name = "machine", .run = run_machine };
