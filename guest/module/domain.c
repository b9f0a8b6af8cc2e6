// SPDX-License-Identifier: GPL-2.0
/*
 * Domains, what they are attached to, and address spaces of processes.
 */
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "driver.h"

struct attachment {
	struct object object;
	struct domain *domain;
	u32 pasid;
	struct iommu_attach_handle handle;	/* how the kernel finds who serves page faults */
};

struct bond {
	struct object object;
	struct iommu_sva *handle;
};

static struct device *device_of(struct object *object)
{
	return &object->endpoint->pdev->dev;
}

static int demand_page(struct domain *domain, struct iommu_fault_page_request *request)
{
	u64 iova = request->addr & PAGE_MASK;
	bool write = request->perm & IOMMU_FAULT_PERM_WRITE;
	u64 page = (iova - domain->demand_iova) >> PAGE_SHIFT;
	int prot = IOMMU_READ | (domain->demand_read_only ? 0 : IOMMU_WRITE);
	int ret = 0;

	if (iova < domain->demand_iova || page >= domain->demand->count ||
	    (write && domain->demand_read_only))
		return -EFAULT;
	mutex_lock(&domain->demand_lock);
	if (!iommu_iova_to_phys(domain->domain, iova))
		ret = iommu_map(domain->domain, iova, page_to_phys(domain->demand->pages[page]),
				PAGE_SIZE, prot, GFP_KERNEL);
	mutex_unlock(&domain->demand_lock);
	return ret;
}

static void demand_work(struct work_struct *work)
{
	struct iopf_group *group = container_of(work, struct iopf_group, work);
	struct attachment *attachment =
		container_of(group->attach_handle, struct attachment, handle);
	struct domain *domain = attachment->domain;
	struct iopf_fault *fault;
	int ret = 0;

	list_for_each_entry(fault, &group->faults, list) {
		ret = demand_page(domain, &fault->fault.prm);
		if (ret)
			break;
	}
	if (ret)
		domain->refused++;
	else
		domain->demanded++;
	iopf_group_response(group, ret ? IOMMU_PAGE_RESP_INVALID : IOMMU_PAGE_RESP_SUCCESS);
	iopf_free_group(group);
}

/* On the kernel's own queue, which it drains before a PASID is detached. */
static int demand_handler(struct iopf_group *group)
{
	INIT_WORK(&group->work, demand_work);
	return queue_work(group->fault_param->queue->wq, &group->work) ? 0 : -EBUSY;
}

static void domain_release(struct object *object)
{
	struct domain *domain = container_of(object, struct domain, object);

	iommu_domain_free(domain->domain);
	kfree(domain);
}

int domain_make(struct client *client, struct vtd_domain *arg)
{
	struct endpoint *endpoint = endpoint_find(arg->endpoint);
	struct buffer *demand = NULL;
	struct domain *domain;
	int ret;

	if (!endpoint || endpoint->gone)
		return -ENODEV;
	if (arg->demand) {
		demand = client_find(client, arg->demand, BUFFER);
		if (!demand || !demand->pages)
			return -ENOENT;
	}
	domain = kzalloc(sizeof(*domain), GFP_KERNEL);
	if (!domain)
		return -ENOMEM;
	domain->object.kind = DOMAIN;
	domain->object.release = domain_release;
	domain->domain = iommu_paging_domain_alloc(&endpoint->pdev->dev);
	if (IS_ERR(domain->domain)) {
		ret = PTR_ERR(domain->domain);
		kfree(domain);
		return ret;
	}
	mutex_init(&domain->demand_lock);
	if (demand) {
		domain->demand = demand;
		domain->demand_iova = arg->demand_iova;
		domain->demand_read_only = arg->demand_read_only;
		domain->domain->iopf_handler = demand_handler;
	}
	ret = client_add(client, &domain->object, &arg->id);
	if (ret) {
		domain_release(&domain->object);
		return ret;
	}
	return domain_ask(client, arg);
}

int domain_ask(struct client *client, struct vtd_domain *arg)
{
	struct domain *domain = client_find(client, arg->id, DOMAIN);

	if (!domain)
		return -ENOENT;
	arg->page_sizes = domain->domain->pgsize_bitmap;
	arg->aperture_end = domain->domain->geometry.aperture_end;
	arg->demanded = domain->demanded;
	arg->refused = domain->refused;
	return 0;
}

static int access_of(u32 access)
{
	return (access & VTD_MAP_READ ? IOMMU_READ : 0) |
	       (access & VTD_MAP_WRITE ? IOMMU_WRITE : 0) |
	       (access & VTD_MAP_NO_EXECUTE ? IOMMU_NOEXEC : 0) |
	       (access & VTD_MAP_PRIVILEGED ? IOMMU_PRIV : 0);
}

/* Pages that continue each other are one call, so that the kernel may take large pages. */
int domain_map(struct client *client, struct vtd_map *arg)
{
	struct domain *domain = client_find(client, arg->domain, DOMAIN);
	struct buffer *buffer = client_find(client, arg->buffer, BUFFER);
	u64 iova = arg->iova;
	u32 n, run;
	int ret;

	if (!domain || !buffer || !buffer->pages)
		return -ENOENT;
	if (!buffer_holds(buffer, arg->page, arg->count))
		return -EINVAL;
	for (n = 0; n < arg->count; n += run) {
		phys_addr_t start = page_to_phys(buffer->pages[arg->page + n]);

		for (run = 1; n + run < arg->count; run++)
			if (page_to_phys(buffer->pages[arg->page + n + run]) !=
			    start + run * PAGE_SIZE)
				break;
		ret = iommu_map(domain->domain, iova, start, run * PAGE_SIZE,
				access_of(arg->access), GFP_KERNEL);
		if (ret) {
			if (iova > arg->iova)
				iommu_unmap(domain->domain, arg->iova, iova - arg->iova);
			return ret;
		}
		iova += run * PAGE_SIZE;
	}
	return 0;
}

int domain_unmap(struct client *client, struct vtd_map *arg)
{
	struct domain *domain = client_find(client, arg->domain, DOMAIN);

	if (!domain)
		return -ENOENT;
	arg->length = iommu_unmap(domain->domain, arg->iova, arg->length);
	return 0;
}

int domain_look_up(struct client *client, struct vtd_map *arg)
{
	struct domain *domain = client_find(client, arg->domain, DOMAIN);

	if (!domain)
		return -ENOENT;
	arg->physical = iommu_iova_to_phys(domain->domain, arg->iova);
	return 0;
}

static void attachment_release(struct object *object)
{
	struct attachment *attachment = container_of(object, struct attachment, object);

	if (attachment->domain->demand)
		stop_page_requests(object->endpoint, attachment->pasid);
	if (attachment->pasid == VTD_NO_PASID)
		iommu_detach_device(attachment->domain->domain, device_of(object));
	else
		iommu_detach_device_pasid(attachment->domain->domain, device_of(object),
					  attachment->pasid);
	attachment->domain->attached--;
	kfree(attachment);
}

int domain_attach(struct client *client, struct vtd_attach *arg)
{
	struct domain *domain = client_find(client, arg->domain, DOMAIN);
	struct endpoint *endpoint = endpoint_find(arg->endpoint);
	struct attachment *attachment;
	int ret;

	if (!domain)
		return -ENOENT;
	if (!endpoint || endpoint->gone)
		return -ENODEV;
	attachment = kzalloc(sizeof(*attachment), GFP_KERNEL);
	if (!attachment)
		return -ENOMEM;
	attachment->object.kind = ATTACHMENT;
	attachment->object.endpoint = endpoint;
	attachment->object.release = attachment_release;
	attachment->domain = domain;
	attachment->pasid = arg->pasid;
	if (arg->pasid == VTD_NO_PASID)
		ret = iommu_attach_device(domain->domain, &endpoint->pdev->dev);
	else
		ret = iommu_attach_device_pasid(domain->domain, &endpoint->pdev->dev, arg->pasid,
						domain->demand ? &attachment->handle : NULL);
	if (ret) {
		kfree(attachment);
		return ret;
	}
	domain->attached++;
	ret = client_add(client, &attachment->object, &arg->id);
	if (ret)
		attachment_release(&attachment->object);
	return ret;
}

/* By its id, or by what is attached. */
int domain_detach(struct client *client, struct vtd_attach *arg)
{
	struct domain *domain = client_find(client, arg->domain, DOMAIN);
	struct attachment *attachment;
	struct object *object;
	unsigned long id;

	if (arg->id)
		return client_release(client, arg->id, ATTACHMENT);
	xa_for_each(&client->objects, id, object) {
		if (object->kind != ATTACHMENT)
			continue;
		attachment = container_of(object, struct attachment, object);
		if (attachment->domain == domain && attachment->pasid == arg->pasid &&
		    object->endpoint == endpoint_find(arg->endpoint))
			return client_release(client, id, ATTACHMENT);
	}
	return -ENOENT;
}

static void bond_release(struct object *object)
{
	struct bond *bond = container_of(object, struct bond, object);

	stop_page_requests(object->endpoint, iommu_sva_get_pasid(bond->handle));
	iommu_sva_unbind_device(bond->handle);
	kfree(bond);
}

int sva_bind(struct client *client, struct vtd_attach *arg)
{
	struct endpoint *endpoint = endpoint_find(arg->endpoint);
	struct bond *bond;
	int ret;

	if (!endpoint || endpoint->gone)
		return -ENODEV;
	if (!current->mm)
		return -EINVAL;
	bond = kzalloc(sizeof(*bond), GFP_KERNEL);
	if (!bond)
		return -ENOMEM;
	bond->object.kind = SVA;
	bond->object.endpoint = endpoint;
	bond->object.release = bond_release;
	bond->handle = iommu_sva_bind_device(&endpoint->pdev->dev, current->mm);
	if (IS_ERR(bond->handle)) {
		ret = PTR_ERR(bond->handle);
		kfree(bond);
		return ret;
	}
	arg->pasid = iommu_sva_get_pasid(bond->handle);
	ret = client_add(client, &bond->object, &arg->id);
	if (ret)
		bond_release(&bond->object);
	return ret;
}
