/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What checks need of the machine: NULL if it is there, else what is missing.
 */
#ifndef NEEDS_H
#define NEEDS_H

#include "check.h"

static inline const char *needs_endpoint(void)
{
	return machine.endpoints ? NULL : "no endpoint";
}

static inline const char *needs_translation(void)
{
	return !machine.endpoints ? "no endpoint" :
	       machine.pass_through ? "pass-through: nothing is translated" : NULL;
}

static inline const char *needs_pasid(void)
{
	return !machine.endpoints ? "no endpoint" :
	       !machine.scalable ? "legacy mode has no PASIDs" :
	       !machine.pasid ? "the kernel has not enabled PASIDs" : NULL;
}

static inline const char *needs_ats(void)
{
	return !machine.endpoints ? "no endpoint" :
	       !machine.ats ? "the kernel has not enabled ATS" : NULL;
}

static inline const char *needs_pri(void)
{
	const char *why = needs_pasid();

	return why ? why : !machine.pri ? "the kernel has not enabled page requests" : NULL;
}

static inline const char *needs_sva(void)
{
	return !machine.endpoints ? "no endpoint" : machine.sva ? NULL : machine.no_sva;
}

static inline const char *needs_disk(void)
{
	return *machine.disk ? NULL : "no disk behind the unit";
}

#endif
