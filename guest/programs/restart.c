// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What ends a boot: kexec into the same kernel, and a reset of the machine.
 * Both with DMA under way. The boot that follows has a plan of its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "endpoint.h"
#include "needs.h"

#define KERNEL "/kexec/vmlinuz"
#define INITRAMFS "/kexec/initramfs.cpio.gz"

int disk_mark(const char *what);

/* Nobody stops it: the kernel has to see to it that it is over. */
static void leave_dma_running(void)
{
	uint32_t buffer = buffer_make(2), domain;
	struct vtd_dma_map map_;
	int n;

	for (n = 0; n < machine.endpoints; n++) {
		map_ = dma_map(n, buffer, 0, 1, VTD_SINGLE, VTD_BIDIRECTIONAL);
		job_start(n, 0, VTD_WRITE | VTD_REPEAT, VTD_NO_PASID, map_.segment[0].address, PAGE, 0);
		if (!machine.pasid)
			continue;
		domain = domain_make(n);
		map(domain, 0x10000000, buffer, 1, 1, VTD_MAP_READ | VTD_MAP_WRITE);
		attach(domain, n, 0x55);
		job_start(n, 1, (machine.ats ? VTD_TLB_WRITE : VTD_WRITE) | VTD_REPEAT, 0x55, 0x10000000,
			  PAGE, 0);
		job_rounds(n, 1, 1);
	}
}

static _Noreturn void restart(const char *name, unsigned how)
{
	/* If it does not come back there is no other line of this boot. */
	printf("VTD: pass %s the boot that follows says how it went\nVTD: %s\n", name,
	       how == LINUX_REBOOT_CMD_KEXEC ? "kexec" : "reboot");
	fflush(stdout);
	sync();
	pause_ms(100);
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, how, NULL);
	fail_call("reboot");
}

static void run_kexec(void)
{
	char line[4096], old[2048] = "";
	int kernel, initramfs, file;

	kernel = open(KERNEL, O_RDONLY);
	initramfs = open(INITRAMFS, O_RDONLY);
	if (kernel < 0 || initramfs < 0)
		skip("no %s: a kernel that was started by kexec has none", kernel < 0 ? KERNEL : INITRAMFS);
	file = open("/proc/cmdline", O_RDONLY);
	if (file < 0 || read(file, old, sizeof(old) - 1) <= 0)
		fail_call("/proc/cmdline");
	old[strcspn(old, "\n")] = 0;
	snprintf(line, sizeof(line), "%s vtd.stage=2", old);
	step("kexec_file_load");
	if (syscall(SYS_kexec_file_load, kernel, initramfs, strlen(line) + 1, line, 0))
		fail_call("kexec_file_load");
	step("DMA under way");
	leave_dma_running();
	step("kexec");
	restart("kexec", LINUX_REBOOT_CMD_KEXEC);
}

const struct check kexec = {
	.name = "kexec", .skipped = needs_endpoint, .run = run_kexec, .faults = true, .asked = true,
};

static const char *needs_memory_of_reset(void)
{
	return needs_endpoint() ? needs_endpoint() :
	       needs_disk() ? "no disk to tell the boot after the reset" : NULL;
}

static void run_reset(void)
{
	step("the mark on the disk");
	if (disk_mark("set") || disk_mark("test"))
		fail("the disk does not keep the mark");
	step("DMA under way");
	leave_dma_running();
	step("reset");
	restart("reset", LINUX_REBOOT_CMD_RESTART);
}

const struct check reset = {
	.name = "reset", .skipped = needs_memory_of_reset, .run = run_reset, .faults = true, .asked = true,
};

/* That the kernel took the unit over, and nothing is left of the boot before. */
static void run_after(void)
{
	int n, c;

	for (n = 0; n < machine.endpoints; n++) {
		struct vtd_info info = info_of(n);

		for (c = 0; c < VTD_CHANNELS; c++)
			if (job_look(n, c).state == 1)
				fail("channel %d of %s still has the job of the boot before", c, name_of(n));
		if (machine.pasid) {
			struct vtd_job job_ = job(n, 0, VTD_WRITE, 0x55, 0x10000000, 64, 0);

			if (job_.result != VTD_FAULT)
				fail("the PASID of the boot before: %s", result_of(&job_));
		}
		if (info.tlb_entries)
			fail("%s still has %u translations", name_of(n), info.tlb_entries);
	}
}

const struct check after_kexec = {
	.name = "after-kexec", .skipped = needs_endpoint, .run = run_after, .faults = true, .asked = true,
};

const struct check after_reset = {
	.name = "after-reset", .skipped = needs_endpoint, .run = run_after, .faults = true, .asked = true,
};
