// SPDX-License-Identifier: GPL-2.0
/*
 * The DMA interface, as every driver of a device uses it.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "driver.h"

struct mapping {
	struct object object;
	u32 kind;
	enum dma_data_direction direction;
	dma_addr_t address;
	size_t length;
	struct sg_table table;
};

static struct device *device_of(struct object *object)
{
	return &object->endpoint->pdev->dev;
}

static void mapping_release(struct object *object)
{
	struct mapping *mapping = container_of(object, struct mapping, object);

	if (mapping->kind == VTD_SINGLE) {
		dma_unmap_page(device_of(object), mapping->address, mapping->length,
			       mapping->direction);
	} else {
		dma_unmap_sgtable(device_of(object), &mapping->table, mapping->direction, 0);
		sg_free_table(&mapping->table);
	}
	kfree(mapping);
}

static int map_single(struct mapping *mapping, struct buffer *buffer, struct vtd_dma_map *arg)
{
	struct page *first = buffer->pages[arg->page];
	u32 n;

	for (n = 1; n < arg->count; n++)
		if (page_to_pfn(buffer->pages[arg->page + n]) != page_to_pfn(first) + n)
			return -EINVAL;
	mapping->length = arg->count * PAGE_SIZE;
	mapping->address = dma_map_page(device_of(&mapping->object), first, 0, mapping->length,
					mapping->direction);
	if (dma_mapping_error(device_of(&mapping->object), mapping->address))
		return -EIO;
	arg->segments = 1;
	arg->segment[0].address = mapping->address;
	arg->segment[0].length = mapping->length;
	return 0;
}

static int map_scatter(struct mapping *mapping, struct buffer *buffer, struct vtd_dma_map *arg)
{
	struct scatterlist *entry;
	int ret, n;

	if (arg->count > VTD_MAX_SEGMENTS)
		return -EINVAL;
	ret = sg_alloc_table(&mapping->table, arg->count, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(&mapping->table, entry, n)
		sg_set_page(entry, buffer->pages[arg->page + n], PAGE_SIZE, 0);
	ret = dma_map_sgtable(device_of(&mapping->object), &mapping->table, mapping->direction, 0);
	if (ret) {
		sg_free_table(&mapping->table);
		return ret;
	}
	arg->segments = mapping->table.nents;
	for_each_sgtable_dma_sg(&mapping->table, entry, n) {
		arg->segment[n].address = sg_dma_address(entry);
		arg->segment[n].length = sg_dma_len(entry);
	}
	return 0;
}

static void coherent_release(struct object *object)
{
	struct buffer *buffer = container_of(object, struct buffer, object);

	dma_free_coherent(device_of(object), buffer->count * PAGE_SIZE, buffer->coherent,
			  buffer->address);
	kfree(buffer);
}

/* The memory and the mapping are one: VTD_BUFFER_FREE ends both. */
static int map_coherent(struct client *client, struct endpoint *endpoint, struct vtd_dma_map *arg)
{
	struct buffer *buffer;
	int ret;

	if (!arg->count || arg->count > 1024)
		return -EINVAL;
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	buffer->object.kind = BUFFER;
	buffer->object.endpoint = endpoint;
	buffer->object.release = coherent_release;
	buffer->count = arg->count;
	buffer->coherent = dma_alloc_coherent(&endpoint->pdev->dev, arg->count * PAGE_SIZE,
					      &buffer->address, GFP_KERNEL);
	if (!buffer->coherent) {
		kfree(buffer);
		return -ENOMEM;
	}
	ret = client_add(client, &buffer->object, &arg->buffer);
	if (ret) {
		coherent_release(&buffer->object);
		return ret;
	}
	arg->segments = 1;
	arg->segment[0].address = buffer->address;
	arg->segment[0].length = arg->count * PAGE_SIZE;
	return 0;
}

int dma_map(struct client *client, struct vtd_dma_map *arg)
{
	static const enum dma_data_direction directions[] = {
		[VTD_BIDIRECTIONAL] = DMA_BIDIRECTIONAL,
		[VTD_TO_DEVICE] = DMA_TO_DEVICE,
		[VTD_FROM_DEVICE] = DMA_FROM_DEVICE,
	};
	struct endpoint *endpoint = endpoint_find(arg->endpoint);
	struct mapping *mapping;
	struct buffer *buffer;
	int ret;

	if (!endpoint || endpoint->gone)
		return -ENODEV;
	if (arg->kind == VTD_COHERENT)
		return map_coherent(client, endpoint, arg);
	buffer = client_find(client, arg->buffer, BUFFER);
	if (!buffer)
		return -ENOENT;
	if (!buffer->pages || !buffer_holds(buffer, arg->page, arg->count) ||
	    arg->direction >= ARRAY_SIZE(directions) || arg->kind > VTD_SCATTER)
		return -EINVAL;
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	if (!mapping)
		return -ENOMEM;
	mapping->object.kind = DMA;
	mapping->object.endpoint = endpoint;
	mapping->object.release = mapping_release;
	mapping->kind = arg->kind;
	mapping->direction = directions[arg->direction];
	ret = arg->kind == VTD_SINGLE ? map_single(mapping, buffer, arg) :
					map_scatter(mapping, buffer, arg);
	if (ret) {
		kfree(mapping);
		return ret;
	}
	ret = client_add(client, &mapping->object, &arg->id);
	if (ret)
		mapping_release(&mapping->object);
	return ret;
}
