// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * The disk, all of whose DMA goes through the unit: what is written is read
 * back, past the page cache and through it, by several threads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "endpoint.h"
#include "needs.h"

#define THREADS 3
#define LARGEST 64	/* pages of one transfer */
#define MARK "the machine has been asked to reset"

static char path[48];
static uint64_t disk_pages;

static int disk_open(int flags)
{
	uint64_t size = 0;
	int file;

	snprintf(path, sizeof(path), "/dev/%s", machine.disk);
	file = open(path, flags | O_CLOEXEC);
	if (file < 0)
		fail_call(path);
	if (ioctl(file, BLKGETSIZE64, &size))
		fail_call("size of the disk");
	/* The last page is the mark's. */
	disk_pages = size / PAGE - 1;
	return file;
}

/* What page of the disk holds in its generation; a page that went elsewhere is seen. */
static uint64_t content(uint64_t page, unsigned generation, unsigned word)
{
	uint64_t z = page * 0x9e3779b97f4a7c15 + generation * 0xbf58476d1ce4e5b9ull + word;

	return z ^ z >> 29;
}

static void put_pages(uint64_t *at, uint64_t page, unsigned pages, unsigned generation)
{
	unsigned n, word;

	for (n = 0; n < pages; n++)
		for (word = 0; word < 512; word++)
			*at++ = content(page + n, generation, word);
}

static void test_pages(const uint64_t *at, uint64_t page, unsigned pages, unsigned generation,
		       const char *what)
{
	unsigned n, word;

	for (n = 0; n < pages; n++)
		for (word = 0; word < 512; word++, at++)
			if (*at != content(page + n, generation, word))
				fail("%s: page %llx of the disk, byte %x holds %llx and not %llx", what,
				     (unsigned long long)(page + n), word * 8, (unsigned long long)*at,
				     (unsigned long long)content(page + n, generation, word));
}

static void move(int file, bool write, void *at, uint64_t page, unsigned pages, const char *what)
{
	ssize_t moved = write ? pwrite(file, at, pages * PAGE, page * PAGE) :
				pread(file, at, pages * PAGE, page * PAGE);

	if (moved != (ssize_t)(pages * PAGE)) {
		if (moved < 0)
			fail_call(what);
		fail("%s: %zd bytes of %llu", what, moved, pages * PAGE);
	}
}

struct worker {
	pthread_t thread;
	uint64_t first, pages;
	unsigned seed, rounds;
	uint64_t moved;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	int direct = disk_open(O_RDWR | O_DIRECT), buffered = disk_open(O_RDWR);
	unsigned *generation = calloc(worker->pages, sizeof(unsigned));
	unsigned round, pages, seed = worker->seed, n;
	uint64_t *at;
	uint64_t page;

	if (posix_memalign((void **)&at, PAGE, LARGEST * PAGE))
		fail("no memory");
	for (round = 0; round < worker->rounds; round++) {
		pages = 1 + rand_r(&seed) % LARGEST;
		page = rand_r(&seed) % (worker->pages - pages);
		step("the disk, round %u of thread %u", round, worker->seed);
		/* A range is of one generation where it is tested. */
		for (n = 0; n < pages; n++)
			generation[page + n] = round + 1;
		put_pages(at, worker->first + page, pages, round + 1);
		if (round % 4 == 3) {
			move(buffered, true, at, worker->first + page, pages, "a buffered write");
			if (fdatasync(buffered))
				fail_call("fdatasync");
		} else {
			move(direct, true, at, worker->first + page, pages, "a direct write");
		}
		memset(at, 0xee, pages * PAGE);
		move(direct, false, at, worker->first + page, pages, "a direct read");
		test_pages(at, worker->first + page, pages, round + 1, "a direct read");
		worker->moved += 2 * pages;
	}
	/* Everything once more, through the page cache, by the generations that it has to have. */
	if (posix_fadvise(buffered, 0, 0, POSIX_FADV_DONTNEED))
		fail("posix_fadvise");
	for (page = 0; page < worker->pages; page++) {
		if (!generation[page])
			continue;
		move(buffered, false, at, worker->first + page, 1, "a buffered read");
		test_pages(at, worker->first + page, 1, generation[page], "a buffered read");
		worker->moved++;
	}
	free(generation);
	free(at);
	close(direct);
	close(buffered);
	return NULL;
}

static void work_all(unsigned percent)
{
	struct worker worker[THREADS];
	uint64_t moved = 0, began = now_ms();
	unsigned n;

	close(disk_open(O_RDONLY));
	if (disk_pages < THREADS * 2 * LARGEST)
		fail("the disk has %llu pages, and %u are needed", (unsigned long long)disk_pages,
		     THREADS * 2 * LARGEST);
	for (n = 0; n < THREADS; n++) {
		worker[n] = (struct worker){
			.first = disk_pages / THREADS * n,
			.pages = disk_pages / THREADS > 1024 ? 1024 : disk_pages / THREADS,
			.seed = n + 1, .rounds = rounds(percent),
		};
		if (pthread_create(&worker[n].thread, NULL, work, &worker[n]))
			fail("pthread_create");
	}
	for (n = 0; n < THREADS; n++) {
		pthread_join(worker[n].thread, NULL);
		moved += worker[n].moved;
	}
	figures("%llu KiB in %llu ms", (unsigned long long)moved * 4,
		(unsigned long long)(now_ms() - began));
}

static void run_block(void)
{
	work_all(20);
}

const struct check block = { .name = "block", .skipped = needs_disk, .run = run_block };

/*
 * The same while endpoints write and their pages are taken away under them.
 * One burst after the other: endlessly repeating jobs would leave the disk no
 * processor on a small machine.
 */
static _Noreturn void bursts(void *argument)
{
	uint32_t buffer = buffer_make(8), pasid = machine.pasid ? 0x600 : VTD_NO_PASID, domain;
	struct vtd_dma_map map_;
	unsigned n;

	(void)argument;
	domain = domain_make(0);
	for (n = 1; (int)n < machine.endpoints; n++)
		attach(domain, n, pasid);
	for (;;) {
		map_ = dma_map(0, buffer, 0, 4, VTD_SCATTER, VTD_BIDIRECTIONAL);
		job_start(0, 5, VTD_WRITE, VTD_NO_PASID, map_.segment[0].address, map_.segment[0].length, 0);
		map(domain, 0x10000000, buffer, 4, 4, VTD_MAP_READ | VTD_MAP_WRITE);
		for (n = 1; (int)n < machine.endpoints; n++)
			job_start(n, 6, machine.ats && n % 2 ? VTD_TLB_WRITE : VTD_WRITE, pasid, 0x10000000,
				  4 * PAGE, 0);
		unmap(domain, 0x10000000, 4);
		job_end(0, 5);
		dma_unmap(&map_);
		for (n = 1; (int)n < machine.endpoints; n++)
			job_end(n, 6);
		pause_ms(2);
	}
}

static void burst_child(void *argument)
{
	bursts(argument);
}

static void run_load(void)
{
	uint64_t requests = info_of(0).requests;
	int pid;

	module_close();
	pid = child(burst_child, NULL);
	work_all(12);
	if (kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid)
		fail("the bursts of DMA ended early");
	requests = info_of(0).requests - requests;
	if (!requests)
		fail("there was no DMA next to the disk's");
	figures("%llu requests of the first endpoint", (unsigned long long)requests);
}

static const char *needs_disk_and_endpoint(void)
{
	return needs_disk() ? needs_disk() : needs_endpoint();
}

const struct check block_load = {
	.name = "block-load", .skipped = needs_disk_and_endpoint, .run = run_load, .faults = true,
};

/* The last page of the disk tells the boot after a reset from the one before. */
static int mark_move(bool write, char *at)
{
	uint64_t size = 0;
	int file, moved = -1;

	snprintf(path, sizeof(path), "/dev/%s", machine.disk);
	file = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (file < 0)
		return -1;
	if (!ioctl(file, BLKGETSIZE64, &size) && size >= PAGE)
		moved = write ? pwrite(file, at, PAGE, size / PAGE * PAGE - PAGE) :
				pread(file, at, PAGE, size / PAGE * PAGE - PAGE);
	fsync(file);
	close(file);
	return moved == (int)PAGE ? 0 : -1;
}

int disk_mark(const char *what)
{
	char *at = aligned_alloc(PAGE, PAGE);
	bool test = !strcmp(what, "test");

	if (!*machine.disk || !at)
		return 1;
	memset(at, 0, PAGE);
	if (!strcmp(what, "set"))
		strcpy(at, MARK);
	if (mark_move(!test, at))
		return 1;
	return test && strcmp(at, MARK) ? 1 : 0;
}
