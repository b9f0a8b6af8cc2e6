// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that DMA is done to, and what is in it.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "driver.h"

#define MOST_PAGES 16384
#define QWORDS (PAGE_SIZE / 8)

bool buffer_holds(struct buffer *buffer, u32 page, u32 count)
{
	return count && page < buffer->count && count <= buffer->count - page;
}

static void buffer_release(struct object *object)
{
	struct buffer *buffer = container_of(object, struct buffer, object);
	u32 n;

	if (buffer->pinned) {
		unpin_user_pages(buffer->pages, buffer->count);
	} else {
		for (n = 0; n < buffer->count; n++)
			__free_page(buffer->pages[n]);
	}
	kvfree(buffer->pages);
	kfree(buffer);
}

static struct buffer *buffer_new(u32 pages)
{
	struct buffer *buffer;

	if (!pages || pages > MOST_PAGES)
		return NULL;
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	if (!buffer)
		return NULL;
	buffer->object.kind = BUFFER;
	buffer->object.release = buffer_release;
	buffer->pages = kvcalloc(pages, sizeof(*buffer->pages), GFP_KERNEL);
	if (!buffer->pages) {
		kfree(buffer);
		return NULL;
	}
	return buffer;
}

static int buffer_add(struct client *client, struct buffer *buffer, u32 *id)
{
	int ret = client_add(client, &buffer->object, id);

	if (ret)
		buffer_release(&buffer->object);
	return ret;
}

int buffer_make(struct client *client, struct vtd_buffer *arg)
{
	struct buffer *buffer;
	struct page *block;
	u32 n;

	if (arg->order > 9 || arg->pages & ((1u << arg->order) - 1))
		return -EINVAL;
	buffer = buffer_new(arg->pages);
	if (!buffer)
		return -ENOMEM;
	while (buffer->count < arg->pages) {
		block = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, arg->order);
		if (!block) {
			buffer_release(&buffer->object);
			return -ENOMEM;
		}
		split_page(block, arg->order);
		for (n = 0; n < 1u << arg->order; n++)
			buffer->pages[buffer->count++] = block + n;
	}
	return buffer_add(client, buffer, &arg->id);
}

/*
 * The pages of a process stay the same pages, whatever the process does
 * afterwards: so one can see whether a device still reaches them.
 */
int buffer_pin(struct client *client, struct vtd_buffer *arg)
{
	struct buffer *buffer = buffer_new(arg->pages);
	int got;

	if (!buffer)
		return -ENOMEM;
	buffer->pinned = true;
	got = pin_user_pages_fast(arg->address, arg->pages, FOLL_WRITE, buffer->pages);
	buffer->count = max(got, 0);
	if (got != arg->pages) {
		buffer_release(&buffer->object);
		return got < 0 ? got : -EFAULT;
	}
	return buffer_add(client, buffer, &arg->id);
}

int buffer_contents(struct client *client, struct vtd_contents *arg)
{
	struct buffer *buffer = client_find(client, arg->buffer, BUFFER);
	u64 value = arg->value, sum = 0, there;
	u32 page, n;
	u64 *at;

	if (!buffer)
		return -ENOENT;
	if (!buffer_holds(buffer, arg->page, arg->count) || arg->operation > VTD_SUM)
		return -EINVAL;
	arg->different = 0;
	for (page = 0; page < arg->count; page++) {
		at = buffer->coherent ? buffer->coherent + (arg->page + page) * PAGE_SIZE :
					kmap_local_page(buffer->pages[arg->page + page]);
		for (n = 0; n < QWORDS; n++, value += arg->step) {
			if (arg->operation == VTD_FILL) {
				WRITE_ONCE(at[n], value);
				continue;
			}
			there = READ_ONCE(at[n]);
			sum += there;
			if (arg->operation == VTD_CHECK && there != value && !arg->different++) {
				arg->first = page * QWORDS + n;
				arg->found = there;
			}
		}
		if (!buffer->coherent)
			kunmap_local(at);
		cond_resched();
	}
	if (arg->operation == VTD_SUM)
		arg->found = sum;
	return 0;
}
