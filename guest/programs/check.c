// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Runs a check in a process of its own, and ends it when its time is over.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"

enum verdict { NONE, PASSED, FAILED, SKIPPED };

/* Seen by all processes of a check. */
static struct {
	volatile int verdict;
	char step[256];
	char message[512];
	char figures[256];
	const char *name;
} *shared;

static const struct check *current;

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

static _Noreturn void end(enum verdict verdict, const char *format, va_list list)
{
	int none = NONE;

	/* The first one counts. */
	if (__atomic_compare_exchange_n(&shared->verdict, &none, verdict, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		vsnprintf(shared->message, sizeof(shared->message), format, list);
	_exit(3);
}

void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	end(FAILED, format, list);
}

void skip(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	end(SKIPPED, format, list);
}

void fail_call(const char *what)
{
	fail("%s: %s, at: %s", what, strerror(errno), shared->step);
}

void step(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(shared->step, sizeof(shared->step), format, list);
	va_end(list);
}

void figures(const char *format, ...)
{
	size_t used = strlen(shared->figures);
	va_list list;

	va_start(list, format);
	if (used && used + 1 < sizeof(shared->figures))
		shared->figures[used++] = ' ';
	vsnprintf(shared->figures + used, sizeof(shared->figures) - used, format, list);
	va_end(list);
}

void progress(unsigned done, unsigned all)
{
	static uint64_t last;

	if (now_ms() - last < 1000)
		return;
	last = now_ms();
	printf("VTD: progress %s %u/%u\n", shared->name, done, all);
	fflush(stdout);
}

unsigned rounds(unsigned percent)
{
	uint64_t n = number("VTD_ROUNDS", 100) * percent / 100;

	return n ? n : 1;
}

static uint64_t state;

/* splitmix64: the same numbers for the same vtd.seed. */
uint64_t random64(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

unsigned below(unsigned n)
{
	return random64() % n;
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

void pause_ms(unsigned ms)
{
	usleep(ms * 1000);
}

int child(void (*run)(void *), void *argument)
{
	int pid = fork();

	if (pid < 0)
		fail_call("fork");
	if (!pid) {
		run(argument);
		_exit(0);
	}
	return pid;
}

void child_wait(int pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		fail_call("waitpid");
	if (shared->verdict)
		_exit(3);
	if (WIFSIGNALED(status))
		fail("a process of the check was ended by signal %d, at: %s", WTERMSIG(status),
		     shared->step);
	if (WEXITSTATUS(status))
		fail("a process of the check ended with %d, at: %s", WEXITSTATUS(status),
		     shared->step);
}

/* --- the kernel's log --- */

static int log_file = -1;
static char log_text[1 << 17];
static size_t log_size;

static void log_open(void)
{
	if (log_file >= 0)
		close(log_file);
	log_file = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (log_file >= 0)
		lseek(log_file, 0, SEEK_END);
	log_size = 0;
}

void log_follow(void)
{
	char record[8192], *text;
	ssize_t got;

	for (;;) {
		got = read(log_file, record, sizeof(record) - 1);
		if (got < 0 && errno == EPIPE)
			continue; /* records were lost, the next ones are there */
		if (got <= 0)
			return;
		record[got] = 0;
		text = strchr(record, ';');
		text = text ? text + 1 : record;
		text[strcspn(text, "\n")] = 0;
		if (log_size + strlen(text) + 2 > sizeof(log_text))
			return;
		log_size += sprintf(log_text + log_size, "%s\n", text);
	}
}

/* A line with all of them; NULL: anything. */
bool log_has(const char *first, const char *second, const char *third)
{
	char line[1024];
	const char *at, *next;

	log_follow();
	for (at = log_text; at < log_text + log_size; at = next + 1) {
		next = strchr(at, '\n');
		snprintf(line, sizeof(line), "%.*s", (int)(next - at), at);
		if ((!first || strstr(line, first)) && (!second || strstr(line, second)) &&
		    (!third || strstr(line, third)))
			return true;
	}
	return false;
}

static bool log_find(const char *what, char *line, size_t size)
{
	const char *at, *next;

	for (at = log_text; at < log_text + log_size; at = next + 1) {
		next = strchr(at, '\n');
		snprintf(line, size, "%.*s", (int)(next - at), at);
		if (strstr(line, what))
			return true;
	}
	return false;
}

/* What no check brings about: if the kernel says it, something is wrong. */
static const char *const never[] = {
	"WARNING: ", "BUG: ", "Oops", "INFO: task", "Queue Error", "Invalidation Time-out",
	"Invalidation Completion Error", "Invalidation Queue Error", "QI HEAD",
	"PRQ overflow", "iopf with pasid", "Page request in Privilege Mode",
	"Address is not canonical",
};

static void log_judge(void)
{
	char line[400];
	size_t n;

	log_follow();
	for (n = 0; n < ARRAY(never); n++)
		if (log_find(never[n], line, sizeof(line)))
			fail("the kernel says: %s", line);
	if (!current->faults && log_find("DMAR: [", line, sizeof(line)))
		fail("a fault that the check did not bring about: %s", line);
}

static void log_print(void)
{
	const char *at = log_text + log_size;
	int lines = 0;

	log_follow();
	at = log_text + log_size;
	while (at > log_text && lines <= 60)
		if (*--at == '\n')
			lines++;
	if (*at == '\n')
		at++;
	while (at < log_text + log_size) {
		const char *next = strchr(at, '\n');

		printf("  log: %.*s\n", (int)(next - at), at);
		at = next + 1;
	}
}

/* --- a check and its time --- */

static void print_file(const char *path, const char *what)
{
	char text[4096];
	int file = open(path, O_RDONLY);
	ssize_t got = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	char *line;

	if (file >= 0)
		close(file);
	if (got <= 0)
		return;
	text[got] = 0;
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("  %s: %s\n", what, line);
}

/* Where the processes of the check are in the kernel. */
static void print_stacks(int group)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	char path[300], what[80];

	while (processes && (entry = readdir(processes))) {
		int pid = atoi(entry->d_name);
		DIR *tasks;

		if (!pid || getpgid(pid) != group)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task", pid);
		tasks = opendir(path);
		while (tasks && (entry = readdir(tasks))) {
			if (!atoi(entry->d_name))
				continue;
			snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", pid, entry->d_name);
			snprintf(what, sizeof(what), "stack of %d", atoi(entry->d_name));
			print_file(path, what);
		}
		if (tasks)
			closedir(tasks);
	}
	if (processes)
		closedir(processes);
}

static bool ended(int pid, uint64_t ms, int *status)
{
	uint64_t until = now_ms() + ms;

	while (now_ms() < until) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		pause_ms(5);
	}
	return false;
}

/* 0 passed, 1 failed, 2 skipped, 4 failed and nothing more can be run. */
int check_run(const struct check *check)
{
	uint64_t seconds = number("VTD_DEADLINE", 40), began = now_ms();
	const char *why;
	int pid, status, result = 1;

	current = check;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shared->name = check->name;
	state = number("VTD_SEED", 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("VTD: begin %s\n", check->name);
	why = check->skipped ? check->skipped() : NULL;
	if (why) {
		printf("VTD: skip %s %s\n", check->name, why);
		return 2;
	}
	log_open();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		/* Of its own: what one reads is gone for all that share the file. */
		log_open();
		check->run();
		log_judge();
		__atomic_compare_exchange_n(&shared->verdict, &(int){ NONE }, PASSED, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		exit(0);
	}
	setpgid(pid, pid);
	if (!ended(pid, seconds * 1000, &status)) {
		printf("VTD: fail %s not over after %llu s; it was at: %s\n", check->name,
		       (unsigned long long)seconds, shared->step);
		print_stacks(pid);
		log_print();
		kill(-pid, SIGKILL);
		if (!ended(pid, 10000, &status))
			return 4;
		stop_all();
		return 1;
	}
	/* What is left of its processes, and its jobs, goes: the next check finds the endpoints idle. */
	kill(-pid, SIGKILL);
	stop_all();
	switch (shared->verdict) {
	case PASSED:
		printf("VTD: pass %s %llu ms%s%s\n", check->name,
		       (unsigned long long)(now_ms() - began), *shared->figures ? " " : "",
		       shared->figures);
		result = 0;
		break;
	case SKIPPED:
		printf("VTD: skip %s %s\n", check->name, shared->message);
		result = 2;
		break;
	case FAILED:
		printf("VTD: fail %s %s\n", check->name, shared->message);
		log_print();
		break;
	default:
		printf("VTD: fail %s it ended with status %x, at: %s\n", check->name, status,
		       shared->step);
		log_print();
	}
	fflush(stdout);
	return result;
}
