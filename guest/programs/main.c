// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * vtd-checks plan                  the checks that apply to this boot
 * vtd-checks plan-after CHECK…     those of the boot after a kexec or a reset
 * vtd-checks run CHECK             runs one and says how it went
 * vtd-checks machine               says what the machine is
 * vtd-checks disk-mark test|clear  whether a reset has been asked for
 * vtd-checks power-off             at once, past the kernel
 */
#include <stdio.h>
#include <string.h>
#include <sys/io.h>

#include "check.h"

int check_run(const struct check *check);
int disk_mark(const char *what);

#define DECLARE(name) extern const struct check name;
ALL_CHECKS(DECLARE)

#define LIST(name) &name,
static const struct check *const checks[] = { ALL_CHECKS(LIST) };

static int plan(void)
{
	size_t n;

	for (n = 0; n < ARRAY(checks); n++)
		if (!checks[n]->asked)
			printf("%s ", checks[n]->name);
	printf("\n");
	return 0;
}

static int plan_after(int names, char **name)
{
	bool reset = false;

	for (int n = 0; n < names; n++)
		reset |= !strcmp(name[n], "reset");
	printf("%s machine dma-api pasids faults sva-demand block\n",
	       reset ? "after-reset" : "after-kexec");
	return 0;
}

static int run(const char *name)
{
	size_t n;

	for (n = 0; n < ARRAY(checks); n++)
		if (!strcmp(checks[n]->name, name))
			return check_run(checks[n]);
	printf("VTD: begin %s\nVTD: fail %s there is no such check\n", name, name);
	return 1;
}

int main(int count, char **words)
{
	const char *word = count > 1 ? words[1] : "";

	if (!strcmp(word, "plan"))
		return plan();
	if (!strcmp(word, "plan-after"))
		return plan_after(count - 2, words + 2);
	if (!strcmp(word, "power-off")) {
		/* PM1a control of QEMU's q35: soft off. */
		if (!iopl(3))
			outw(0x2000, 0x604);
		return 1;
	}
	machine_find();
	if (!strcmp(word, "run") && count == 3)
		return run(words[2]);
	if (!strcmp(word, "machine")) {
		machine_print();
		return 0;
	}
	if (!strcmp(word, "disk-mark") && count == 3)
		return disk_mark(words[2]);
	fprintf(stderr, "usage: vtd-checks plan | plan-after CHECK... | run CHECK | machine | disk-mark test|clear | power-off\n");
	return 2;
}
