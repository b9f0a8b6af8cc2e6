// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What this boot runs on: endpoints, the unit's capabilities, and what the
 * kernel makes of them.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "endpoint.h"

struct machine machine;

static bool read_text(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");
	size_t got = file ? fread(text, 1, size - 1, file) : 0;

	if (file)
		fclose(file);
	text[got] = 0;
	text[strcspn(text, "\n")] = 0;
	return got;
}

static uint64_t read_register(const char *path)
{
	char text[64];

	return read_text(path, text, sizeof(text)) ? strtoull(text, NULL, 16) : 0;
}

static bool bit(uint64_t value, int n)
{
	return value >> n & 1;
}

/* The unit's, of which the endpoint is. */
static void find_unit(const char *device)
{
	char path[200];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu/intel-iommu/cap", device);
	machine.cap = read_register(path);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu/intel-iommu/ecap", device);
	machine.ecap = read_register(path);
}

/*
 * Which tables the kernel takes. Up to 6.13 domains of drivers are
 * second-stage where the unit has both; later kernels prefer first-stage for all.
 */
static void find_tables(void)
{
	bool first = bit(machine.ecap, 47), second = bit(machine.ecap, 46);
	bool old = machine.major < 6 || (machine.major == 6 && machine.minor < 14);
	char text[4096];

	read_text("/proc/cmdline", text, sizeof(text));
	machine.scalable = bit(machine.ecap, 43) && !strstr(text, "sm_off");
	machine.caching_mode = bit(machine.cap, 7);
	if (!machine.scalable) {
		machine.dma = machine.domain = LEGACY;
		return;
	}
	machine.dma = first ? FIRST_STAGE : SECOND_STAGE;
	machine.domain = first && !(old && second) ? FIRST_STAGE : SECOND_STAGE;
}

static void find_sva(void)
{
	struct vtd_attach attach = { .endpoint = 0 };
	int error;

	if (!machine.scalable || !machine.pasid) {
		machine.no_sva = "no PASIDs in this mode";
		return;
	}
	if (machine.domain != FIRST_STAGE && !bit(machine.ecap, 47)) {
		machine.no_sva = "no first-stage tables in this mode";
		return;
	}
	error = module_try(VTD_SVA_BIND, &attach);
	if (!error) {
		machine.sva = true;
		module_try(VTD_SVA_UNBIND, &attach);
	} else if (error == EOPNOTSUPP) {
		machine.no_sva = "this kernel does not bind address spaces of processes";
	} else {
		static char text[80];

		snprintf(text, sizeof(text), "iommu_sva_bind_device refuses: %s", strerror(error));
		machine.no_sva = text;
	}
}

/*
 * The disk is the virtio block device that has an IOMMU: QEMU's own, if any,
 * are not ours.
 */
static void find_disk(void)
{
	char path[300];
	DIR *blocks = opendir("/sys/block");
	struct dirent *entry;

	while (blocks && (entry = readdir(blocks))) {
		if (strncmp(entry->d_name, "vd", 2))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/device/../iommu_group", entry->d_name);
		if (!access(path, F_OK) && (!*machine.disk || strcmp(entry->d_name, machine.disk) < 0))
			snprintf(machine.disk, sizeof(machine.disk), "%.20s", entry->d_name);
	}
	if (blocks)
		closedir(blocks);
}

void machine_find(void)
{
	struct utsname name;
	struct vtd_info info;
	char device[40], path[200], type[40] = "";

	uname(&name);
	sscanf(name.release, "%d.%d", &machine.major, &machine.minor);
	if (!access("/dev/vtd_endpoint", F_OK))
		while (machine.endpoints < VTD_MAX_ENDPOINTS && endpoint_there(machine.endpoints))
			machine.endpoints++;
	find_disk();
	if (!machine.endpoints)
		return;
	info = info_of(0);
	machine.ats = info.enabled & VTD_ENABLED_ATS;
	machine.pri = info.enabled & VTD_ENABLED_PRI;
	machine.pasid = info.enabled & VTD_ENABLED_PASID;
	snprintf(device, sizeof(device), "0000:%s", name_of(0));
	find_unit(device);
	find_tables();
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/type", device);
	read_text(path, type, sizeof(type));
	machine.pass_through = !strcmp(type, "identity");
	machine.strict = !strcmp(type, "DMA");
	find_sva();
	/* The checks open it anew: what one leaves behind goes with it. */
	module_close();
}

void machine_print(void)
{
	static const char *const tables[] = { "legacy", "second-stage", "first-stage" };

	printf("machine: %d endpoints, kernel %d.%d, disk %s\n", machine.endpoints, machine.major,
	       machine.minor, *machine.disk ? machine.disk : "none");
	if (machine.endpoints)
		printf("machine: cap %llx ecap %llx, %s tables, domains of drivers %s, %s%s, ATS %d PRI %d PASID %d, SVA %s\n",
		       (unsigned long long)machine.cap, (unsigned long long)machine.ecap,
		       tables[machine.dma], tables[machine.domain],
		       machine.pass_through ? "pass-through" : machine.strict ? "strict" : "lazy",
		       machine.caching_mode ? ", caching mode" : "", machine.ats, machine.pri,
		       machine.pasid, machine.sva ? "yes" : machine.no_sva);
}
