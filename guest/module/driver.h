/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VTD_DRIVER_H
#define VTD_DRIVER_H

#include <linux/iommu.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "vtd_endpoint.h"

struct channel {
	struct endpoint *endpoint;
	int vector;		/* Linux interrupt number, 0 without */
	u32 command;		/* of the last job */
	u32 pasid;
	atomic_t interrupts;	/* since the job began */
	wait_queue_head_t wait;
};

struct endpoint {
	u32 bdf;		/* kept after removal: the slot is its own again when it is back */
	struct mutex lock;	/* registers, and gone */
	bool gone;
	struct pci_dev *pdev;
	void __iomem *registers;
	atomic64_t interrupts;
	struct channel channels[VTD_CHANNELS];
};

/*
 * What a user has made. Released in this order when the file is closed: what
 * lets a device reach memory goes before the memory.
 */
enum kind { SVA, ATTACHMENT, DMA, DOMAIN, BUFFER, KINDS };

struct object {
	enum kind kind;
	struct endpoint *endpoint;	/* what goes with it is released with it; or NULL */
	void (*release)(struct object *object);
};

struct client {
	struct mutex lock;
	struct xarray objects;
	struct list_head node;
};

struct buffer {
	struct object object;
	u32 count;
	bool pinned;
	struct page **pages;		/* NULL: coherent */
	void *coherent;
	dma_addr_t address;
};

struct domain {
	struct object object;
	struct iommu_domain *domain;
	u32 attached;
	struct buffer *demand;
	bool demand_read_only;
	u64 demand_iova;
	struct mutex demand_lock;
	u64 demanded, refused;
};

/* endpoint.c */
struct endpoint *endpoint_find(u32 index);
int endpoint_info(struct vtd_info *info);
int job_start(struct vtd_job *job);
int job_look(struct vtd_job *job);
int job_wait(struct vtd_job *job);
int job_stop(struct vtd_job *job);
void stop_page_requests(struct endpoint *endpoint, u32 pasid);
int endpoint_init(void);
void endpoint_exit(void);

/* client.c */
int client_add(struct client *client, struct object *object, u32 *id);
void *client_find(struct client *client, u32 id, enum kind kind);
int client_release(struct client *client, u32 id, enum kind kind);
void clients_forget(struct endpoint *endpoint);

/* buffer.c */
int buffer_make(struct client *client, struct vtd_buffer *arg);
int buffer_pin(struct client *client, struct vtd_buffer *arg);
int buffer_contents(struct client *client, struct vtd_contents *arg);
bool buffer_holds(struct buffer *buffer, u32 page, u32 count);

/* dma.c */
int dma_map(struct client *client, struct vtd_dma_map *arg);

/* domain.c */
int domain_make(struct client *client, struct vtd_domain *arg);
int domain_ask(struct client *client, struct vtd_domain *arg);
int domain_map(struct client *client, struct vtd_map *arg);
int domain_unmap(struct client *client, struct vtd_map *arg);
int domain_look_up(struct client *client, struct vtd_map *arg);
int domain_attach(struct client *client, struct vtd_attach *arg);
int domain_detach(struct client *client, struct vtd_attach *arg);
int sva_bind(struct client *client, struct vtd_attach *arg);

#endif
