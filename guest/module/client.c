// SPDX-License-Identifier: GPL-2.0
/*
 * The character device, and what its clients have made.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

static LIST_HEAD(clients);
static DEFINE_MUTEX(clients_lock);

int client_add(struct client *client, struct object *object, u32 *id)
{
	return xa_alloc(&client->objects, id, object, xa_limit_31b, GFP_KERNEL);
}

void *client_find(struct client *client, u32 id, enum kind kind)
{
	struct object *object = xa_load(&client->objects, id);

	return object && object->kind == kind ? object : NULL;
}

int client_release(struct client *client, u32 id, enum kind kind)
{
	struct object *object = client_find(client, id, kind);

	if (!object)
		return -ENOENT;
	xa_erase(&client->objects, id);
	object->release(object);
	return 0;
}

/* All objects, or those of an endpoint that goes away. */
static void client_release_all(struct client *client, struct endpoint *endpoint)
{
	struct object *object;
	unsigned long id;
	enum kind kind;

	for (kind = 0; kind < KINDS; kind++) {
		xa_for_each(&client->objects, id, object) {
			if (object->kind == kind && (!endpoint || object->endpoint == endpoint)) {
				xa_erase(&client->objects, id);
				object->release(object);
			}
		}
	}
}

void clients_forget(struct endpoint *endpoint)
{
	struct client *client;

	mutex_lock(&clients_lock);
	list_for_each_entry(client, &clients, node) {
		mutex_lock(&client->lock);
		client_release_all(client, endpoint);
		mutex_unlock(&client->lock);
	}
	mutex_unlock(&clients_lock);
}

static int client_open(struct inode *inode, struct file *file)
{
	struct client *client = kzalloc(sizeof(*client), GFP_KERNEL);

	if (!client)
		return -ENOMEM;
	mutex_init(&client->lock);
	xa_init_flags(&client->objects, XA_FLAGS_ALLOC1);
	mutex_lock(&clients_lock);
	list_add(&client->node, &clients);
	mutex_unlock(&clients_lock);
	file->private_data = client;
	return 0;
}

static int client_close(struct inode *inode, struct file *file)
{
	struct client *client = file->private_data;

	mutex_lock(&clients_lock);
	list_del(&client->node);
	mutex_unlock(&clients_lock);
	client_release_all(client, NULL);
	xa_destroy(&client->objects);
	kfree(client);
	return 0;
}

static int client_call(struct client *client, unsigned int command, void *arg)
{
	switch (command) {
	case VTD_INFO:
		return endpoint_info(arg);
	case VTD_BUFFER_MAKE:
		return buffer_make(client, arg);
	case VTD_BUFFER_PIN:
		return buffer_pin(client, arg);
	case VTD_BUFFER_FREE:
		return client_release(client, ((struct vtd_buffer *)arg)->id, BUFFER);
	case VTD_CONTENTS:
		return buffer_contents(client, arg);
	case VTD_DMA_MAP:
		return dma_map(client, arg);
	case VTD_DMA_UNMAP:
		return client_release(client, ((struct vtd_dma_map *)arg)->id, DMA);
	case VTD_DOMAIN_MAKE:
		return domain_make(client, arg);
	case VTD_DOMAIN_FREE: {
		struct domain *domain = client_find(client, ((struct vtd_domain *)arg)->id, DOMAIN);

		if (domain && domain->attached)
			return -EBUSY;
		return client_release(client, ((struct vtd_domain *)arg)->id, DOMAIN);
	}
	case VTD_DOMAIN_ASK:
		return domain_ask(client, arg);
	case VTD_MAP:
		return domain_map(client, arg);
	case VTD_UNMAP:
		return domain_unmap(client, arg);
	case VTD_LOOK_UP:
		return domain_look_up(client, arg);
	case VTD_ATTACH:
		return domain_attach(client, arg);
	case VTD_DETACH:
		return domain_detach(client, arg);
	case VTD_SVA_BIND:
		return sva_bind(client, arg);
	case VTD_SVA_UNBIND:
		return client_release(client, ((struct vtd_attach *)arg)->id, SVA);
	case VTD_JOB_START:
		return job_start(arg);
	case VTD_JOB_LOOK:
		return job_look(arg);
	case VTD_JOB_STOP:
		return job_stop(arg);
	default:
		return -ENOTTY;
	}
}

static long client_ioctl(struct file *file, unsigned int command, unsigned long address)
{
	struct client *client = file->private_data;
	void __user *from = (void __user *)address;
	long ret;
	void *arg;

	if (_IOC_TYPE(command) != 'V' || _IOC_SIZE(command) > sizeof(struct vtd_dma_map))
		return -ENOTTY;
	arg = memdup_user(from, _IOC_SIZE(command));
	if (IS_ERR(arg))
		return PTR_ERR(arg);
	if (command == VTD_JOB_WAIT) {
		/* Takes long, and needs nothing of the user's. */
		ret = job_wait(arg);
	} else {
		mutex_lock(&client->lock);
		ret = client_call(client, command, arg);
		mutex_unlock(&client->lock);
	}
	if (!ret && copy_to_user(from, arg, _IOC_SIZE(command)))
		ret = -EFAULT;
	kfree(arg);
	return ret;
}

static const struct file_operations client_operations = {
	.owner = THIS_MODULE,
	.open = client_open,
	.release = client_close,
	.unlocked_ioctl = client_ioctl,
};

static struct miscdevice client_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vtd_endpoint",
	.fops = &client_operations,
	.mode = 0600,
};

static int __init vtd_endpoint_init(void)
{
	int ret = misc_register(&client_device);

	if (ret)
		return ret;
	ret = endpoint_init();
	if (ret)
		misc_deregister(&client_device);
	return ret;
}
module_init(vtd_endpoint_init);

static void __exit vtd_endpoint_exit(void)
{
	misc_deregister(&client_device);
	endpoint_exit();
}
module_exit(vtd_endpoint_exit);

MODULE_DESCRIPTION("Drives the test endpoints of vtd-machine through the kernel's IOMMU and DMA interfaces");
MODULE_LICENSE("GPL");
