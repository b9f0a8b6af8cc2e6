/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What user space may ask of the module: each call is one call of the kernel's
 * own IOMMU or DMA interface, or one job of an endpoint. What is made of them
 * is decided by the programs, so that the module stays small.
 *
 * Open /dev/vtd_endpoint. What is made through one open file belongs to it and
 * goes when it is closed; endpoints belong to everybody. Calls through one
 * file happen one after the other (JOB_WAIT aside), those through several side
 * by side.
 */
#ifndef VTD_ENDPOINT_H
#define VTD_ENDPOINT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VTD_MAX_ENDPOINTS 8
#define VTD_CHANNELS 8
#define VTD_MAX_SEGMENTS 64

/* COMMAND of a channel, as docs/test-endpoint.md has it. */
#define VTD_READ 1
#define VTD_WRITE 2
#define VTD_TRANSLATE 3
#define VTD_PAGE_REQUEST 4
#define VTD_TLB_READ 5
#define VTD_TLB_WRITE 6
#define VTD_TLB_DROP 7
#define VTD_WITH_PASID (1 << 4)
#define VTD_EXECUTE (1 << 5)
#define VTD_PRIVILEGED (1 << 6)
#define VTD_WRITABLE (1 << 7)
#define VTD_PAGE_REQUESTS (1 << 8)
#define VTD_REPEAT (1 << 9)
#define VTD_INTERRUPT (1 << 10)
#define VTD_STOP_ON_FAILURE (1 << 11)

/* RESULT of a job. */
#define VTD_DONE 0
#define VTD_FAULT 1
#define VTD_NO_RECORD 2
#define VTD_IS_INTERRUPT 3
#define VTD_NOT_MEMORY 4
#define VTD_LESS 5
#define VTD_REFUSED 6
#define VTD_UNANSWERED 7
#define VTD_NOT_ENABLED 8
#define VTD_STOPPED 9
#define VTD_NO_JOB 10
#define VTD_REMOVED 11

/* ENABLED of an endpoint. */
#define VTD_ENABLED_ATS 1
#define VTD_ENABLED_PRI 2
#define VTD_ENABLED_PASID 4
#define VTD_ENABLED_MASTER 8

struct vtd_info {
	__u32 endpoint;		/* in: which, from 0 */
	__u32 bdf;		/* bus 15:8, device 7:3, function 2:0 */
	__u32 enabled;
	__u32 tlb_entries;
	__u64 tlb_invalidations;
	__u64 page_requests;
	__u64 responses;
	__u64 requests;
	__u64 interrupts;	/* that the driver took, of all channels */
};

/* Memory that DMA is done to. Made of single pages from all over. */
struct vtd_buffer {
	__u32 id;		/* out */
	__u32 pages;
	__u64 address;		/* BUFFER_PIN: of the process that calls */
	__u32 order;		/* BUFFER_MAKE: pages come in blocks of 2^order */
	__u32 zero;
};

/*
 * Fill: qword i of the range becomes value + i * step. Check: how many are not
 * that, and the first of them. Sum: the wrapping sum. Page and count in pages.
 */
#define VTD_FILL 0
#define VTD_CHECK 1
#define VTD_SUM 2
struct vtd_contents {
	__u32 buffer;
	__u32 operation;
	__u32 page;
	__u32 count;
	__u64 value;
	__u64 step;
	__u64 different;	/* out: check */
	__u64 first;		/* out: check: index of the first qword that differs */
	__u64 found;		/* out: check: what is there; sum: the sum */
};

/* The DMA interface: what every driver uses. */
#define VTD_SINGLE 0
#define VTD_SCATTER 1
#define VTD_COHERENT 2		/* makes the buffer as well */
#define VTD_BIDIRECTIONAL 0
#define VTD_TO_DEVICE 1
#define VTD_FROM_DEVICE 2
struct vtd_dma_map {
	__u32 id;		/* out */
	__u32 endpoint;
	__u32 buffer;		/* in; VTD_COHERENT: out */
	__u32 page;
	__u32 count;
	__u32 kind;
	__u32 direction;
	__u32 segments;		/* out */
	struct {
		__u64 address;
		__u64 length;
	} segment[VTD_MAX_SEGMENTS];
};

/*
 * A domain of the IOMMU interface. With demand not 0 its page faults (page
 * requests) are served from that buffer: page n of it at iova + n * 4096.
 */
struct vtd_domain {
	__u32 id;		/* out */
	__u32 endpoint;		/* whose unit it is for */
	__u32 demand;
	__u32 demand_read_only;
	__u64 demand_iova;
	__u64 page_sizes;	/* out */
	__u64 aperture_end;	/* out */
	__u64 demanded;		/* out, of DOMAIN_ASK: faults that were served */
	__u64 refused;		/* out, of DOMAIN_ASK: faults that were not */
};

#define VTD_MAP_READ 1
#define VTD_MAP_WRITE 2
#define VTD_MAP_NO_EXECUTE 4
#define VTD_MAP_PRIVILEGED 8
struct vtd_map {
	__u32 domain;
	__u32 buffer;
	__u32 page;
	__u32 count;
	__u32 access;
	__u32 zero;
	__u64 iova;
	__u64 length;		/* UNMAP: bytes; out: how many were unmapped */
	__u64 physical;		/* out, of TRANSLATE: what the kernel thinks is at iova */
};

#define VTD_NO_PASID 0xffffffffu	/* the whole device */
struct vtd_attach {
	__u32 domain;
	__u32 endpoint;
	__u32 pasid;
	__u32 id;		/* SVA_BIND: out; SVA_UNBIND: in */
};

struct vtd_job {
	__u32 endpoint;
	__u32 channel;
	__u32 command;
	__u32 pasid;
	__u64 address;
	__u32 length;
	__u32 wait_ms;		/* JOB_WAIT: at most so long */
	__u64 pattern;
	/* out, of JOB_WAIT and JOB_LOOK */
	__u32 state;
	__u32 result;
	__u32 code;
	__u32 interrupts;	/* of the channel since the job began */
	__u64 value;
	__u64 moved;
	__u64 rounds;
	__u64 failed;
	__u64 retries;
	__u64 fault_address;
};

#define VTD_INFO _IOWR('V', 0, struct vtd_info)
#define VTD_BUFFER_MAKE _IOWR('V', 1, struct vtd_buffer)
#define VTD_BUFFER_PIN _IOWR('V', 2, struct vtd_buffer)
#define VTD_BUFFER_FREE _IOWR('V', 3, struct vtd_buffer)
#define VTD_CONTENTS _IOWR('V', 4, struct vtd_contents)
#define VTD_DMA_MAP _IOWR('V', 5, struct vtd_dma_map)
#define VTD_DMA_UNMAP _IOWR('V', 6, struct vtd_dma_map)
#define VTD_DOMAIN_MAKE _IOWR('V', 7, struct vtd_domain)
#define VTD_DOMAIN_FREE _IOWR('V', 8, struct vtd_domain)
#define VTD_DOMAIN_ASK _IOWR('V', 9, struct vtd_domain)
#define VTD_MAP _IOWR('V', 10, struct vtd_map)
#define VTD_UNMAP _IOWR('V', 11, struct vtd_map)
#define VTD_LOOK_UP _IOWR('V', 12, struct vtd_map)
#define VTD_ATTACH _IOWR('V', 13, struct vtd_attach)
#define VTD_DETACH _IOWR('V', 14, struct vtd_attach)
#define VTD_SVA_BIND _IOWR('V', 15, struct vtd_attach)
#define VTD_SVA_UNBIND _IOWR('V', 16, struct vtd_attach)
#define VTD_JOB_START _IOWR('V', 17, struct vtd_job)
#define VTD_JOB_LOOK _IOWR('V', 18, struct vtd_job)
#define VTD_JOB_WAIT _IOWR('V', 19, struct vtd_job)
#define VTD_JOB_STOP _IOWR('V', 20, struct vtd_job)

#endif
