/* The reader's loop in C: epoll, recvmsg with kernel timestamps, recognition of plain token events.
 * It creates no Python object per event. Everything that is not plain goes to Python callbacks.
 *
 * Lane   the form of one stream's plain events, and the times and texts of those received.
 *        `template.PythonLane` is the same in Python; both pass the same tests.
 * Reader the lanes by descriptor, and `poll`.
 *
 * Uses CPython's stable ABI: one build works with every version from 3.11. No format has a `#`:
 * built with the headers of 3.13, it raises SystemError on older versions.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (16 << 10)
#define MAX_EVENTS 512
#define MAX_SIZE_DIGITS 8
#define MAX_FD (1 << 24)
#ifndef SCM_TIMESTAMPNS
#define SCM_TIMESTAMPNS 35 /* linux/asm-generic/socket.h */
#endif

static double now_s(void) /* the clock of time.perf_counter */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Text: is it the content of a JSON string? ---- */

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of the \uXXXX at `s`, -1 for anything else. */
static int code_unit(const unsigned char *s, size_t left)
{
    int value = 0;
    if (left < 6 || s[0] != '\\' || s[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Length of the escape at `s`, 0 if invalid. Surrogates must come in pairs. */
static size_t escape_length(const unsigned char *s, size_t left)
{
    if (left < 2)
        return 0;
    if (s[1] != 'u')
        return s[1] && strchr("\"\\/bfnrt", s[1]) ? 2 : 0;
    int unit = code_unit(s, left);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return 0;
    if (unit < 0xD800 || unit > 0xDFFF)
        return 6;
    int low = code_unit(s + 6, left - 6);
    return low >= 0xDC00 && low <= 0xDFFF ? 12 : 0;
}

/* Length of the multi-byte UTF-8 character at `s`, 0 if invalid. */
static size_t character_length(const unsigned char *s, size_t left)
{
    unsigned char first = s[0], low = 0x80, high = 0xBF;
    size_t length;
    if (first >= 0xC2 && first <= 0xDF)
        length = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        length = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        length = 4;
    else
        return 0;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xED)
        high = 0x9F; /* no surrogates */
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F;
    if (left < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (s[i] < 0x80 || s[i] > 0xBF)
            return 0;
    return length;
}

/* Empty texts are left to the full parse: for some backends they are not a token. */
static int valid_text(const char *text, size_t size)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + size;
    while (s < end) {
        size_t length = 1;
        if (*s < 0x20 || *s == '"')
            return 0;
        if (*s == '\\')
            length = escape_length(s, (size_t)(end - s));
        else if (*s >= 0x80)
            length = character_length(s, (size_t)(end - s));
        if (!length)
            return 0;
        s += length;
    }
    return size > 0;
}

/* ---- Lane ---- */

typedef struct {
    PyObject_HEAD
    char *prefix, *suffix; /* of the body of a chunk */
    size_t prefix_size, suffix_size;
    double *times;  /* of each event */
    uint32_t *ends; /* where the text of each event ends in `texts` */
    size_t events, events_room;
    char *texts;
    size_t texts_size, texts_room;
} Lane;

static int grow(void **buffer, size_t *room, size_t needed, size_t item)
{
    size_t wanted = *room ? *room : 64;
    while (wanted < needed)
        wanted *= 2;
    void *bigger = realloc(*buffer, wanted * item);
    if (!bigger)
        return -1;
    *buffer = bigger;
    *room = wanted;
    return 0;
}

static int make_room(Lane *lane, size_t text_size)
{
    if (lane->events == lane->events_room) {
        size_t room = lane->events_room;
        if (grow((void **)&lane->times, &room, lane->events + 1, sizeof *lane->times))
            return -1;
        room = lane->events_room;
        if (grow((void **)&lane->ends, &room, lane->events + 1, sizeof *lane->ends))
            return -1;
        lane->events_room = room;
    }
    size_t needed = lane->texts_size + text_size;
    if (needed > lane->texts_room)
        return grow((void **)&lane->texts, &lane->texts_room, needed, 1);
    return 0;
}

/* The body of the complete plain chunk at `*at`, which is advanced past it; NULL for anything else. */
static const char *next_chunk(const char **at, const char *end, size_t *body_size)
{
    const char *s = *at;
    size_t size = 0;
    int digit, digits = 0;
    for (; s < end && (digit = hex_digit((unsigned char)*s)) >= 0; s++) {
        if (++digits > MAX_SIZE_DIGITS)
            return NULL;
        size = size * 16 + (size_t)digit;
    }
    if (!digits || !size || end - s < 4 || s[0] != '\r' || s[1] != '\n')
        return NULL;
    s += 2;
    if (size > (size_t)(end - s) - 2 || s[size] != '\r' || s[size + 1] != '\n')
        return NULL;
    *at = s + size + 2;
    *body_size = size;
    return s;
}

/* The number of events kept: all of `data`, or 0 for none; -1 if out of memory. */
static Py_ssize_t lane_take_in(Lane *lane, const char *data, size_t size, double time_s)
{
    const char *at = data, *end = data + size;
    size_t events_before = lane->events, texts_before = lane->texts_size, body_size;
    size_t around = lane->prefix_size + lane->suffix_size;
    while (at < end) {
        const char *body = next_chunk(&at, end, &body_size);
        if (!body || body_size <= around)
            goto unknown;
        const char *text = body + lane->prefix_size;
        size_t text_size = body_size - around;
        if (memcmp(body, lane->prefix, lane->prefix_size) ||
            memcmp(text + text_size, lane->suffix, lane->suffix_size) ||
            !valid_text(text, text_size) || lane->texts_size + text_size > UINT32_MAX)
            goto unknown;
        if (make_room(lane, text_size)) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(lane->texts + lane->texts_size, text, text_size);
        lane->texts_size += text_size;
        lane->times[lane->events] = time_s;
        lane->ends[lane->events++] = (uint32_t)lane->texts_size;
    }
    return (Py_ssize_t)(lane->events - events_before);
unknown:
    lane->events = events_before;
    lane->texts_size = texts_before;
    return 0;
}

static PyObject *bytes_of(const void *data, size_t size)
{
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
}

static PyObject *lane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *prefix, *suffix;
    if (kwargs && PyDict_Size(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Lane takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "SS", &prefix, &suffix))
        return NULL;
    size_t prefix_size = (size_t)PyBytes_Size(prefix), suffix_size = (size_t)PyBytes_Size(suffix);
    Lane *lane = (Lane *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (!lane)
        return NULL;
    lane->prefix = malloc(prefix_size + suffix_size + 1);
    if (!lane->prefix) {
        Py_DECREF(lane);
        return PyErr_NoMemory();
    }
    memcpy(lane->prefix, PyBytes_AsString(prefix), prefix_size);
    lane->suffix = lane->prefix + prefix_size;
    memcpy(lane->suffix, PyBytes_AsString(suffix), suffix_size);
    lane->prefix_size = prefix_size;
    lane->suffix_size = suffix_size;
    return (PyObject *)lane;
}

static void lane_dealloc(PyObject *self)
{
    Lane *lane = (Lane *)self;
    PyTypeObject *type = Py_TYPE(self);
    free(lane->prefix);
    free(lane->times);
    free(lane->ends);
    free(lane->texts);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *lane_feed(PyObject *self, PyObject *args)
{
    PyObject *data;
    double time_s;
    if (!PyArg_ParseTuple(args, "Sd", &data, &time_s))
        return NULL;
    Py_ssize_t events = lane_take_in((Lane *)self, PyBytes_AsString(data),
                                     (size_t)PyBytes_Size(data), time_s);
    return events < 0 ? NULL : PyLong_FromSsize_t(events);
}

static PyObject *lane_take(PyObject *self, PyObject *unused)
{
    Lane *lane = (Lane *)self;
    (void)unused;
    if (!lane->events)
        Py_RETURN_NONE;
    PyObject *taken = Py_BuildValue(
        "(NNN)", bytes_of(lane->times, lane->events * sizeof *lane->times),
        bytes_of(lane->texts, lane->texts_size),
        bytes_of(lane->ends, lane->events * sizeof *lane->ends));
    if (taken)
        lane->events = lane->texts_size = 0;
    return taken;
}

static PyMethodDef lane_methods[] = {
    {"feed", lane_feed, METH_VARARGS,
     "feed(data, time_s): how many plain events data was, kept with that time; 0 if it was\n"
     "anything but whole chunks of one plain event each, and then nothing is kept."},
    {"take", lane_take, METH_NOARGS,
     "take(): (times, texts, ends) of the events since the last call, None if there were none.\n"
     "float64, bytes and uint32, each as bytes; ends: where each text ends in texts."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot lane_slots[] = {
    {Py_tp_new, lane_new},
    {Py_tp_dealloc, lane_dealloc},
    {Py_tp_methods, lane_methods},
    {Py_tp_doc, "Lane(prefix, suffix): the plain events of one stream"},
    {0, NULL}};

static PyType_Spec lane_spec = {"llmbench_locust.transport._native.Lane", sizeof(Lane), 0,
                                Py_TPFLAGS_DEFAULT, lane_slots};

/* ---- Reader ---- */

typedef struct {
    PyObject_HEAD
    PyObject **lanes; /* by descriptor; None: received here, no lane; NULL: Python receives */
    size_t size;
    int epoll_fd;
    char buffer[READ_BYTES];
} Reader;

static PyTypeObject *the_lane_type; /* set once, at module creation */

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    int epoll_fd;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "i", &epoll_fd))
        return NULL;
    Reader *reader = (Reader *)PyType_GenericAlloc(type, 0); /* zeroed */
    if (reader)
        reader->epoll_fd = epoll_fd;
    return (PyObject *)reader;
}

/* Streams read here are edge-triggered: the kernel polls a level-triggered one a second time to find
 * it empty, which costs a tenth of a chunk. A socket that was not read to its end must be registered
 * again, which makes it ready if it has data. */
static int watch(Reader *reader, int fd, uint32_t how)
{
    struct epoll_event event = {.events = EPOLLIN | how, .data.fd = fd};
    return epoll_ctl(reader->epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

#define IN_LANE (EPOLLET | EPOLLRDHUP)

static PyObject *lane_of(Reader *reader, int fd)
{
    return fd >= 0 && (size_t)fd < reader->size ? reader->lanes[fd] : NULL;
}

static int is_lane(PyObject *lane)
{
    return lane && lane != Py_None;
}

static void reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t fd = 0; fd < reader->size; fd++)
        Py_XDECREF(reader->lanes[fd]);
    free(reader->lanes);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *reader_follow(PyObject *self, PyObject *args)
{
    Reader *reader = (Reader *)self;
    PyObject *lane;
    int fd;
    if (!PyArg_ParseTuple(args, "iO", &fd, &lane))
        return NULL;
    if (lane != Py_None && Py_TYPE(lane) != the_lane_type) {
        PyErr_SetString(PyExc_TypeError, "neither a Lane nor None");
        return NULL;
    }
    if (fd < 0 || fd > MAX_FD) {
        PyErr_SetString(PyExc_ValueError, "no descriptor");
        return NULL;
    }
    size_t room = reader->size;
    if ((size_t)fd >= room) {
        if (grow((void **)&reader->lanes, &room, (size_t)fd + 1, sizeof *reader->lanes))
            return PyErr_NoMemory();
        memset(reader->lanes + reader->size, 0, (room - reader->size) * sizeof *reader->lanes);
        reader->size = room;
    }
    if (is_lane(lane) && watch(reader, fd, IN_LANE))
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *old = reader->lanes[fd];
    Py_INCREF(lane);
    reader->lanes[fd] = lane;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

static PyObject *reader_leave(PyObject *self, PyObject *args)
{
    Reader *reader = (Reader *)self;
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    PyObject *lane = lane_of(reader, fd);
    if (is_lane(lane)) {
        Py_INCREF(Py_None);
        reader->lanes[fd] = Py_None;
        Py_DECREF(lane);
        watch(reader, fd, 0);
    }
    Py_RETURN_NONE;
}

static PyObject *reader_forget(PyObject *self, PyObject *args)
{
    Reader *reader = (Reader *)self;
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd))
        return NULL;
    if (fd >= 0 && (size_t)fd < reader->size)
        Py_CLEAR(reader->lanes[fd]);
    Py_RETURN_NONE;
}

/* Like recvmsg. `*time_s`: the kernel's receive time on the clock of `now_s`; NaN if it gave none. */
static ssize_t receive(int fd, char *buffer, double offset_s, double *time_s)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr align;
    } control;
    struct iovec piece = {buffer, READ_BYTES};
    struct msghdr message = {0};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
#ifdef SYS_recvmsg /* glibc's own is a cancellation point: two atomic operations a call */
    ssize_t got = syscall(SYS_recvmsg, fd, &message, MSG_DONTWAIT);
#else
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
#endif
    *time_s = NAN;
    if (got < 0 || isnan(offset_s))
        return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        struct timespec stamp;
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS &&
            c->cmsg_len >= CMSG_LEN(sizeof stamp)) {
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            *time_s = (double)stamp.tv_sec + offset_s + (double)stamp.tv_nsec * 1e-9;
        }
    }
    return got;
}

typedef struct {
    Py_ssize_t tokens, bytes, shared, unstamped;
    PyObject *on_other, *on_data, *on_broken;
} Round;

/* Read one descriptor's data. -1 with an exception set if a callback raised. */
static int read_one(Reader *reader, struct epoll_event event, double offset_s, Round *round)
{
    int fd = event.data.fd;
    PyObject *lane = lane_of(reader, fd), *done;
    double time_s;
    if (!lane) {
        done = PyObject_CallFunction(round->on_other, "i", fd);
    } else {
        ssize_t got = receive(fd, reader->buffer, offset_s, &time_s);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got < 0 && errno == EINTR)
            return is_lane(lane) ? watch(reader, fd, IN_LANE), 0 : 0;
        if (got < 0) {
            done = PyObject_CallFunction(round->on_broken, "iid", fd, errno, now_s());
        } else {
            if (isnan(time_s)) {
                time_s = now_s();
                round->unstamped++;
            }
            Py_ssize_t events = 0;
            if (is_lane(lane))
                events = lane_take_in((Lane *)lane, reader->buffer, (size_t)got, time_s);
            if (events > 0) {
                round->tokens += events;
                round->shared += events - 1;
                round->bytes += got;
                if (got == READ_BYTES || event.events & ~(uint32_t)EPOLLIN)
                    watch(reader, fd, IN_LANE); /* there may be more, or the end */
                return 0;
            }
            if (events < 0)
                return -1;
            done = PyObject_CallFunction(round->on_data, "iNd", fd,
                                         bytes_of(reader->buffer, (size_t)got), time_s);
        }
    }
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyObject *reader_poll(PyObject *self, PyObject *args)
{
    Reader *reader = (Reader *)self;
    int most, read = 0, failed = 0;
    double stop_s, offset_s;
    Round round = {0};
    struct epoll_event events[MAX_EVENTS];
    if (!PyArg_ParseTuple(args, "iddOOO", &most, &stop_s, &offset_s, &round.on_other,
                          &round.on_data, &round.on_broken))
        return NULL;
    if (most < 1 || most > MAX_EVENTS)
        most = MAX_EVENTS;
    int ready = epoll_wait(reader->epoll_fd, events, most, 0);
    if (ready < 0 && errno != EINTR)
        return PyErr_SetFromErrno(PyExc_OSError);
    while (read < ready && !failed) {
        failed = read_one(reader, events[read++], offset_s, &round);
        if (now_s() > stop_s)
            break;
    }
    for (int i = read; i < ready; i++)
        if (is_lane(lane_of(reader, events[i].data.fd)))
            watch(reader, events[i].data.fd, IN_LANE);
    if (failed)
        return NULL;
    return Py_BuildValue("(iinnnn)", read, ready == most || read < ready, round.tokens,
                         round.bytes, round.shared, round.unstamped);
}

static PyMethodDef reader_methods[] = {
    {"follow", reader_follow, METH_VARARGS,
     "follow(fd, lane): receive fd here; lane: what recognises it, None for nothing."},
    {"leave", reader_leave, METH_VARARGS, "leave(fd): as follow(fd, None), if a lane followed it."},
    {"forget", reader_forget, METH_VARARGS, "forget(fd): it is no longer received here."},
    {"poll", reader_poll, METH_VARARGS,
     "poll(most, stop_s, offset_s, on_other, on_data, on_broken)\n"
     "-> (descriptors read, whether some were left, token events, bytes, events that shared a\n"
     "read with another, reads without a stamp). Never waits; stops after stop_s. offset_s:\n"
     "the clock less wall-clock time, NaN where stamps are not to be trusted.\n"
     "on_other(fd): nobody follows it. on_data(fd, data, time_s): not plain, b'' at the end.\n"
     "on_broken(fd, errno, time_s)."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, "Reader(epoll_fd): lanes by descriptor"},
    {0, NULL}};

static PyType_Spec reader_spec = {"llmbench_locust.transport._native.Reader", sizeof(Reader), 0,
                                  Py_TPFLAGS_DEFAULT, reader_slots};

static struct PyModuleDef module_def = {PyModuleDef_HEAD_INIT, "_native",
                                        "The compiled reader.", -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    PyObject *module = PyModule_Create(&module_def);
    PyObject *lane = PyType_FromSpec(&lane_spec), *reader = PyType_FromSpec(&reader_spec);
    if (!module || !lane || !reader || PyModule_AddObjectRef(module, "Lane", lane) ||
        PyModule_AddObjectRef(module, "Reader", reader)) {
        Py_CLEAR(module);
        Py_XDECREF(lane);
    } else {
        the_lane_type = (PyTypeObject *)lane; /* keeps the reference */
    }
    Py_XDECREF(reader);
    return module;
}
