// SPDX-License-Identifier: GPL-2.0
/*
 * The endpoints: a PCI driver, and the jobs of their channels. Registers are
 * those of docs/test-endpoint.md.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "driver.h"

#define ID 0x000
#define VERSION 0x004
#define ENABLED 0x00c
#define TLB_ENTRIES 0x010
#define TLB_INVALIDATIONS 0x018
#define PAGE_REQUESTS 0x020
#define RESPONSES 0x028
#define REQUESTS 0x030
#define CHANNEL(n) (0x100 + 0x80 * (n))
#define COMMAND 0x00
#define STATUS 0x04
#define PASID 0x08
#define STOP 0x0c
#define ADDRESS 0x10
#define LENGTH 0x18
#define PATTERN 0x20
#define VALUE 0x28
#define MOVED 0x30
#define ROUNDS 0x38
#define FAILED 0x40
#define RETRIES 0x48
#define FAULT_ADDRESS 0x50

#define STATE_RUNNING 1
#define STATE_DONE 2

static struct endpoint endpoints[VTD_MAX_ENDPOINTS];
static DEFINE_MUTEX(slots);

struct endpoint *endpoint_find(u32 index)
{
	return index < VTD_MAX_ENDPOINTS ? &endpoints[index] : NULL;
}

/* With the lock held on success: nobody else touches registers, and they are there. */
static struct endpoint *endpoint_enter(u32 index)
{
	struct endpoint *endpoint = endpoint_find(index);

	if (!endpoint)
		return ERR_PTR(-ENODEV);
	mutex_lock(&endpoint->lock);
	if (endpoint->gone) {
		mutex_unlock(&endpoint->lock);
		return ERR_PTR(-ENODEV);
	}
	return endpoint;
}

int endpoint_info(struct vtd_info *info)
{
	struct endpoint *endpoint = endpoint_enter(info->endpoint);
	void __iomem *registers;

	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	registers = endpoint->registers;
	info->bdf = endpoint->bdf;
	info->enabled = readl(registers + ENABLED);
	info->tlb_entries = readl(registers + TLB_ENTRIES);
	info->tlb_invalidations = readq(registers + TLB_INVALIDATIONS);
	info->page_requests = readq(registers + PAGE_REQUESTS);
	info->responses = readq(registers + RESPONSES);
	info->requests = readq(registers + REQUESTS);
	info->interrupts = atomic64_read(&endpoint->interrupts);
	mutex_unlock(&endpoint->lock);
	return 0;
}

int job_start(struct vtd_job *job)
{
	struct endpoint *endpoint;
	struct channel *channel;
	void __iomem *registers;
	int ret = 0;

	if (job->channel >= VTD_CHANNELS)
		return -EINVAL;
	endpoint = endpoint_enter(job->endpoint);
	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	channel = &endpoint->channels[job->channel];
	registers = endpoint->registers + CHANNEL(job->channel);
	if ((readl(registers + STATUS) & 0xff) == STATE_RUNNING) {
		ret = -EBUSY;
	} else if ((job->command & VTD_INTERRUPT) && !channel->vector) {
		ret = -ENXIO;
	} else {
		channel->command = job->command;
		channel->pasid = job->pasid;
		atomic_set(&channel->interrupts, 0);
		writel(job->pasid, registers + PASID);
		writeq(job->address, registers + ADDRESS);
		writel(job->length, registers + LENGTH);
		writeq(job->pattern, registers + PATTERN);
		writel(job->command, registers + COMMAND);
	}
	mutex_unlock(&endpoint->lock);
	return ret;
}

int job_look(struct vtd_job *job)
{
	struct endpoint *endpoint;
	void __iomem *registers;
	u32 status;

	if (job->channel >= VTD_CHANNELS)
		return -EINVAL;
	endpoint = endpoint_enter(job->endpoint);
	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	registers = endpoint->registers + CHANNEL(job->channel);
	/* STATUS changes last, so it is read first. */
	status = readl(registers + STATUS);
	job->state = status & 0xff;
	job->result = status >> 8 & 0xff;
	job->code = status >> 16 & 0xff;
	job->value = readq(registers + VALUE);
	job->moved = readq(registers + MOVED);
	job->rounds = readq(registers + ROUNDS);
	job->failed = readq(registers + FAILED);
	job->retries = readq(registers + RETRIES);
	job->fault_address = readq(registers + FAULT_ADDRESS);
	job->interrupts = atomic_read(&endpoint->channels[job->channel].interrupts);
	mutex_unlock(&endpoint->lock);
	return 0;
}

static int state_of(struct vtd_job *job)
{
	struct endpoint *endpoint = endpoint_enter(job->endpoint);
	int state;

	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	state = readl(endpoint->registers + CHANNEL(job->channel) + STATUS) & 0xff;
	mutex_unlock(&endpoint->lock);
	return state;
}

/*
 * A job that was to interrupt is waited for by its interrupt alone, so that
 * one that does not come is seen: the state is then 2, and interrupts 0.
 */
int job_wait(struct vtd_job *job)
{
	unsigned long end = jiffies + msecs_to_jiffies(job->wait_ms);
	unsigned long pause = 50;
	struct channel *channel;
	long left;
	int state;

	if (job->channel >= VTD_CHANNELS || !endpoint_find(job->endpoint))
		return -EINVAL;
	channel = &endpoint_find(job->endpoint)->channels[job->channel];
	if (channel->command & VTD_INTERRUPT) {
		left = wait_event_interruptible_timeout(channel->wait,
				atomic_read(&channel->interrupts) || channel->endpoint->gone,
				msecs_to_jiffies(job->wait_ms));
		if (left < 0)
			return left;
		return job_look(job);
	}
	for (;;) {
		state = state_of(job);
		if (state < 0)
			return state;
		if (state != STATE_RUNNING || time_after(jiffies, end))
			return job_look(job);
		if (signal_pending(current))
			return -EINTR;
		usleep_range(pause, 2 * pause);
		pause = min(2 * pause, 2000ul);
	}
}

int job_stop(struct vtd_job *job)
{
	struct endpoint *endpoint;

	if (job->channel >= VTD_CHANNELS)
		return -EINVAL;
	endpoint = endpoint_enter(job->endpoint);
	if (IS_ERR(endpoint))
		return PTR_ERR(endpoint);
	writel(1, endpoint->registers + CHANNEL(job->channel) + STOP);
	mutex_unlock(&endpoint->lock);
	return 0;
}

static u32 channel_state(struct endpoint *endpoint, int n)
{
	return readl(endpoint->registers + CHANNEL(n) + STATUS) & 0xff;
}

/* Until the channel is idle; a job that waits for a page is over as well. With the lock held. */
static void channel_stop(struct endpoint *endpoint, int n)
{
	int tries;

	writel(1, endpoint->registers + CHANNEL(n) + STOP);
	for (tries = 0; tries < 2000 && channel_state(endpoint, n) == STATE_RUNNING; tries++)
		usleep_range(500, 1000);
}

/*
 * A driver has to stop page requests of a PASID before it gives the PASID
 * back: the kernel says so where it warns of those that come later. Other DMA
 * may go on, and is blocked by the unit.
 *
 * The kernel itself sees to those that wait for their answers, but Linux 7.3.4
 * does not after the process has ended: its mm release clears the entry without
 * setting FPD, as the present bit is gone by then, and the unbind that follows
 * takes the empty entry for one that needs no drain. A group is freed twice. So
 * the answers are waited for here.
 */
void stop_page_requests(struct endpoint *endpoint, u32 pasid)
{
	struct channel *channel;
	u64 asked;
	int n;

	mutex_lock(&endpoint->lock);
	if (!endpoint->registers) {
		mutex_unlock(&endpoint->lock);
		return;
	}
	for (n = 0; n < VTD_CHANNELS; n++) {
		channel = &endpoint->channels[n];
		if (channel->pasid == pasid && (channel->command & VTD_WITH_PASID) &&
		    ((channel->command & VTD_PAGE_REQUESTS) ||
		     (channel->command & 0xf) == VTD_PAGE_REQUEST) &&
		    channel_state(endpoint, n) == STATE_RUNNING)
			channel_stop(endpoint, n);
	}
	asked = readq(endpoint->registers + PAGE_REQUESTS);
	for (n = 0; n < 2000; n++) {
		/* Those of other PASIDs may go on: as many answers as there are requests now are enough. */
		if (readq(endpoint->registers + RESPONSES) >= asked)
			break;
		usleep_range(500, 1000);
	}
	mutex_unlock(&endpoint->lock);
}

static irqreturn_t channel_interrupt(int irq, void *cookie)
{
	struct channel *channel = cookie;

	atomic_inc(&channel->interrupts);
	atomic64_inc(&channel->endpoint->interrupts);
	wake_up(&channel->wait);
	return IRQ_HANDLED;
}

static void free_vectors(struct endpoint *endpoint)
{
	int n;

	for (n = 0; n < VTD_CHANNELS; n++) {
		if (endpoint->channels[n].vector)
			free_irq(endpoint->channels[n].vector, &endpoint->channels[n]);
		endpoint->channels[n].vector = 0;
	}
	pci_free_irq_vectors(endpoint->pdev);
}

static int take_vectors(struct endpoint *endpoint)
{
	int n, ret, vector;

	ret = pci_alloc_irq_vectors(endpoint->pdev, VTD_CHANNELS, VTD_CHANNELS, PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	for (n = 0; n < VTD_CHANNELS; n++) {
		vector = pci_irq_vector(endpoint->pdev, n);
		ret = request_irq(vector, channel_interrupt, 0, "vtd_endpoint",
				  &endpoint->channels[n]);
		if (ret) {
			free_vectors(endpoint);
			return ret;
		}
		endpoint->channels[n].vector = vector;
	}
	return 0;
}

/* The slot that was the function's before, else one that was nobody's. */
static struct endpoint *take_slot(struct pci_dev *pdev)
{
	u32 bdf = pci_dev_id(pdev);
	struct endpoint *free = NULL;
	int n;

	for (n = 0; n < VTD_MAX_ENDPOINTS; n++) {
		if (endpoints[n].bdf == bdf)
			return &endpoints[n];
		if (!endpoints[n].bdf && !free)
			free = &endpoints[n];
	}
	return free;
}

static int endpoint_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct endpoint *endpoint;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);

	mutex_lock(&slots);
	endpoint = take_slot(pdev);
	if (!endpoint) {
		ret = -ENOSPC;
		goto out;
	}
	endpoint->registers = pcim_iomap(pdev, 0, 0);
	if (!endpoint->registers) {
		ret = -ENOMEM;
		goto out;
	}
	if (readl(endpoint->registers + ID) != 0x45445456 ||
	    readl(endpoint->registers + VERSION) != 1) {
		dev_err(&pdev->dev, "not a test endpoint of version 1\n");
		ret = -ENODEV;
		goto out;
	}
	endpoint->bdf = pci_dev_id(pdev);
	endpoint->pdev = pdev;
	pci_set_drvdata(pdev, endpoint);
	pci_set_master(pdev);
	ret = take_vectors(endpoint);
	if (ret)
		dev_warn(&pdev->dev, "no interrupts: %d\n", ret);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
	/* Later kernels enable page requests by themselves. */
	ret = iommu_dev_enable_feature(&pdev->dev, IOMMU_DEV_FEAT_IOPF);
	if (ret)
		dev_info(&pdev->dev, "no page requests: %d\n", ret);
#endif
	mutex_lock(&endpoint->lock);
	endpoint->gone = false;
	mutex_unlock(&endpoint->lock);
	ret = 0;
out:
	mutex_unlock(&slots);
	return ret;
}

static void endpoint_remove(struct pci_dev *pdev)
{
	struct endpoint *endpoint = pci_get_drvdata(pdev);
	int n;

	mutex_lock(&endpoint->lock);
	endpoint->gone = true;
	for (n = 0; n < VTD_CHANNELS; n++) {
		channel_stop(endpoint, n);
		wake_up(&endpoint->channels[n].wait);
	}
	mutex_unlock(&endpoint->lock);
	clients_forget(endpoint);
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
	iommu_dev_disable_feature(&pdev->dev, IOMMU_DEV_FEAT_IOPF);
#endif
	free_vectors(endpoint);
	pci_clear_master(pdev);
	mutex_lock(&endpoint->lock);
	endpoint->pdev = NULL;
	endpoint->registers = NULL;
	mutex_unlock(&endpoint->lock);
}

/* Before another kernel takes over, nothing may go on by itself. */
static void endpoint_shutdown(struct pci_dev *pdev)
{
	endpoint_remove(pdev);
}

static const struct pci_device_id endpoint_ids[] = {
	{ PCI_DEVICE(0x5654, 0x0001) },
	{ }
};
MODULE_DEVICE_TABLE(pci, endpoint_ids);

static struct pci_driver endpoint_driver = {
	.name = "vtd_endpoint",
	.id_table = endpoint_ids,
	.probe = endpoint_probe,
	.remove = endpoint_remove,
	.shutdown = endpoint_shutdown,
};

int endpoint_init(void)
{
	int n, c;

	for (n = 0; n < VTD_MAX_ENDPOINTS; n++) {
		mutex_init(&endpoints[n].lock);
		endpoints[n].gone = true;
		for (c = 0; c < VTD_CHANNELS; c++) {
			endpoints[n].channels[c].endpoint = &endpoints[n];
			init_waitqueue_head(&endpoints[n].channels[c].wait);
		}
	}
	return pci_register_driver(&endpoint_driver);
}

void endpoint_exit(void)
{
	pci_unregister_driver(&endpoint_driver);
}
