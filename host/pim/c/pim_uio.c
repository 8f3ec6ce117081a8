/* See pim_uio.h. */
#define _GNU_SOURCE

#include "pim_uio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_BYTES 4096 /* addresses of the registers have 12 bits */
#define GUIDE "(docs/board-bring-up.md)"
#define UIO_VARIABLE "PIMLOOP_BOARD_UIO"
#define BUFFER_VARIABLE "PIMLOOP_BOARD_BUFFER"
#define PATH_BYTES 512

struct failure {
  char *text;
  size_t bytes;
};

__attribute__((format(printf, 2, 3))) static int fail(struct failure *failure, const char *format,
                                                      ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure->text, failure->bytes, format, arguments);
  va_end(arguments);
  return PIM_ERROR_IO;
}

/* Reads the line of a file of /sys; returns 0 when there is none. */
static int read_line(const char *path, char *line, size_t bytes) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  int there = fgets(line, (int)bytes, file) != NULL;
  fclose(file);
  if (there) line[strcspn(line, "\n")] = 0;
  return there;
}

/* Reads the number of a file of /sys, decimal or 0x...; returns 0 when there is none. */
static int read_number(const char *path, uint64_t *value) {
  char line[64], *end;
  if (!read_line(path, line, sizeof line)) return 0;
  errno = 0;
  *value = strtoull(line, &end, 0);
  return end != line && *end == 0 && errno == 0;
}

/* Returns N of the folder uioN whose `name` is this one, -1 when there is none or another. */
static int find_uio(const char *root, const char *name, struct failure *failure) {
  char path[PATH_BYTES], line[128];
  int number = -1, other = -1, length;
  snprintf(path, sizeof path, "%s/sys/class/uio", root);
  DIR *folder = opendir(path);
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    int here;
    if (sscanf(entry->d_name, "uio%d%n", &here, &length) != 1 || entry->d_name[length] != 0) continue;
    snprintf(path, sizeof path, "%s/sys/class/uio/uio%d/name", root, here);
    if (!read_line(path, line, sizeof line) || strcmp(line, name) != 0) continue;
    other = number;
    number = here;
    if (other >= 0) break;
  }
  if (folder != NULL) closedir(folder);
  if (other >= 0) {
    fail(failure, "uio%d and uio%d are both called '%s': give them names of their own in the "
         "device tree and choose one by " UIO_VARIABLE " " GUIDE,
         other < number ? other : number, other < number ? number : other, name);
    return -1;
  }
  if (number < 0) {
    fail(failure,
         "there is no UIO device called '%s' in %s/sys/class/uio: load the overlay and "
         "uio_pdrv_genirq, or give its name in " UIO_VARIABLE " " GUIDE,
         name, root);
  }
  return number;
}

static int open_file(const char *path, int flags, struct failure *failure) {
  int descriptor = open(path, O_RDWR | O_CLOEXEC | flags);
  if (descriptor < 0) {
    const char *next = errno == EACCES || errno == EPERM ? "add the udev rule, or run as root"
                                                         : "check that its driver is loaded";
    fail(failure, "cannot open %s: %s: %s " GUIDE, path, strerror(errno), next);
  }
  return descriptor;
}

static int open_registers(struct pim_uio *board, const char *root, const char *name,
                          struct failure *failure) {
  char path[PATH_BYTES];
  uint64_t size, offset = 0;
  int number = find_uio(root, name, failure);
  if (number < 0) return PIM_ERROR_IO;
  snprintf(path, sizeof path, "%s/sys/class/uio/uio%d/maps/map0/size", root, number);
  if (!read_number(path, &size) || size < WINDOW_BYTES) {
    return fail(failure, "%s must say at least %d bytes: mend `reg` in the device tree, or choose "
                "another device by " UIO_VARIABLE " " GUIDE, path, WINDOW_BYTES);
  }
  snprintf(path, sizeof path, "%s/sys/class/uio/uio%d/maps/map0/offset", root, number);
  if (!read_number(path, &offset)) offset = 0; /* older kernels */
  snprintf(path, sizeof path, "%s/dev/uio%d", root, number);
  board->uio = open_file(path, O_SYNC, failure);
  if (board->uio < 0) return PIM_ERROR_IO;
  if (flock(board->uio, LOCK_EX | LOCK_NB) != 0) {
    return fail(failure, "%s is used by another process: wait for its end, or choose another "
                "device by " UIO_VARIABLE, path);
  }
  snprintf(board->name, sizeof board->name, "uio%d", number);
  board->window_bytes = (size_t)offset + WINDOW_BYTES;
  board->window =
      mmap(NULL, board->window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, board->uio, 0);
  if (board->window == MAP_FAILED) {
    board->window = NULL;
    return fail(failure, "cannot map %d bytes of %s: %s: mend `reg` in the device tree " GUIDE,
                (int)board->window_bytes, path, strerror(errno));
  }
  board->registers = (volatile uint32_t *)(void *)((uint8_t *)board->window + offset);
  return PIM_OK;
}

static int open_buffer(struct pim_uio *board, const char *root, const char *name,
                       struct failure *failure) {
  char folder[PATH_BYTES], path[PATH_BYTES + 32];
  uint64_t coherent = 0, mode = 0;
  snprintf(folder, sizeof folder, "%s/sys/class/u-dma-buf/%s", root, name);
  if (access(folder, F_OK) != 0) {
    snprintf(folder, sizeof folder, "%s/sys/class/udmabuf/%s", root, name); /* older modules */
  }
  snprintf(path, sizeof path, "%s/size", folder);
  if (!read_number(path, &board->bytes) || board->bytes == 0) {
    return fail(failure, "there is no DMA buffer called '%s' with a size in "
                "%s/sys/class/u-dma-buf: load u-dma-buf, or give its name in " BUFFER_VARIABLE
                " " GUIDE, name, root);
  }
  snprintf(path, sizeof path, "%s/phys_addr", folder);
  if (!read_number(path, &board->address)) {
    return fail(failure, "cannot read an address from %s: load u-dma-buf again, or choose another "
                "buffer by " BUFFER_VARIABLE " " GUIDE, path);
  }
  snprintf(path, sizeof path, "%s/dma_coherent", folder);
  if (!read_number(path, &coherent)) coherent = 0;
  snprintf(path, sizeof path, "%s/sync_mode", folder);
  /* Not cached, and normal memory: 1 is device memory, where an unaligned access is a bus error. */
  if (coherent != 1 && (!read_number(path, &mode) || (mode & 3) < 2)) {
    return fail(failure, "%s must be 2 or 3, or the port coherent: set it, or say `dma-coherent` "
                "in the device tree " GUIDE, path);
  }
  snprintf(path, sizeof path, "%s/dev/%s", root, name);
  int descriptor = open_file(path, coherent == 1 ? 0 : O_SYNC, failure);
  if (descriptor < 0) return PIM_ERROR_IO;
  void *mapped =
      mmap(NULL, (size_t)board->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  int reason = errno;
  close(descriptor);
  if (mapped == MAP_FAILED) {
    return fail(failure, "cannot map %llu bytes of %s: %s: load u-dma-buf with a smaller "
                "buffer " GUIDE, (unsigned long long)board->bytes, path, strerror(reason));
  }
  board->buffer = mapped;
  return PIM_OK;
}

static const char *chosen(const char *given, const char *variable, const char *usual) {
  const char *value = given != NULL ? given : getenv(variable);
  return value != NULL && *value != 0 ? value : usual;
}

int pim_uio_open(struct pim_uio *board, const char *root, const char *uio, const char *buffer,
                 char *message, size_t message_bytes) {
  struct failure failure = {message, message_bytes};
  memset(board, 0, sizeof *board);
  board->uio = -1;
  if (root == NULL) root = "";
  int result =
      open_registers(board, root, chosen(uio, UIO_VARIABLE, "pim"), &failure);
  if (result == PIM_OK) {
    result = open_buffer(board, root, chosen(buffer, BUFFER_VARIABLE, "udmabuf0"), &failure);
  }
  if (result != PIM_OK) pim_uio_close(board);
  return result;
}

void pim_uio_close(struct pim_uio *board) {
  if (board->buffer != NULL) { /* without one nothing was started */
    struct pim_io io = pim_uio_io(board);
    pim_stop(&io);
    munmap(board->buffer, (size_t)board->bytes);
  }
  if (board->window != NULL) munmap(board->window, board->window_bytes);
  if (board->uio >= 0) close(board->uio);
  memset(board, 0, sizeof *board);
  board->uio = -1;
}

static uint32_t read_register(void *context, uint32_t offset) {
  return ((struct pim_uio *)context)->registers[offset / 4];
}

static void write_register(void *context, uint32_t offset, uint32_t value) {
  ((struct pim_uio *)context)->registers[offset / 4] = value;
}

/* Unmasks the interrupt, which comes at once while the line is high, and waits for it. */
static int wait_interrupt(void *context, uint32_t milliseconds) {
  struct pim_uio *board = context;
  int32_t word = 1;
  if (write(board->uio, &word, sizeof word) != sizeof word) return PIM_ERROR_IO;
  struct pollfd entry = {.fd = board->uio, .events = POLLIN};
  int ready;
  do {
    ready = poll(&entry, 1, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
  } while (ready < 0 && errno == EINTR); /* a signal: wait again */
  if (ready == 0) {
    word = 0; /* none comes while nobody waits */
    return write(board->uio, &word, sizeof word) == sizeof word ? PIM_ERROR_TIMEOUT : PIM_ERROR_IO;
  }
  if (ready < 0 || read(board->uio, &word, sizeof word) != sizeof word) return PIM_ERROR_IO;
  return PIM_OK;
}

static uint64_t milliseconds_now(void *context) {
  (void)context;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct pim_io pim_uio_io(struct pim_uio *board) {
  struct pim_io io = {board, read_register, write_register, wait_interrupt, milliseconds_now};
  return io;
}
