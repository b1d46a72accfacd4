/* A token server with an exact schedule, and a minimal client that reads it.
 *
 *   paced serve PORT TTFT_MS ITL_MS         streams "max_tokens" events for each POST: the first TTFT_MS after the request was
 *                                           read, then one each ITL_MS. On SIGUSR1 and SIGTERM it says how many
 *                                           there were, and how late: all, the first tokens alone, and
 *                                           the gaps between tokens beyond ITL_MS (99th percentile).
 *   paced serve PORT TTFT_MS ITL_MS CERT    the same over TLS, with key and certificate in the PEM file CERT (built with
 *                                           -DWITH_TLS -lssl -lcrypto).
 *   paced read PORT STREAMS TOKENS SPREAD_MS  reads STREAMS answers with epoll, recv and a clock reading and nothing else, its
 *                                           requests spread over SPREAD_MS. Prints its CPU time: the floor for every client.
 *
 * All streams share one TTFT and one ITL, so what is due next is always the head of one of two queues. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum { MAX_EVENTS = 1024, REQUEST_BYTES = 1 << 16 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double cpu_s(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + 1e-6 * (r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void allow_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return a;
}

/* ---- the server ---- */

typedef struct conn {
    int fd, tokens, sent, length;
    double due, late;
    struct conn *next;
#ifdef WITH_TLS
    SSL *tls;
#endif
    char request[REQUEST_BYTES + 1];
} conn;

typedef struct { conn *head, *tail; } queue;

static queue first_tokens, next_tokens;
static volatile sig_atomic_t stopped, asked;
static long sends, firsts;
static double late_sum, late_max, first_late_sum;
enum { BINS = 200000 }; /* of 1 us, zero in the middle; the outermost include everything beyond */
static long gap_bins[BINS];

static double gap_late_p99_ms(void) {
    long below = 0;
    int i = 0;
    while (i < BINS - 1 && (below += gap_bins[i]) < (sends - firsts) * 0.99) i++;
    return (i - BINS / 2) / 1e3;
}

static void push(queue *q, conn *c) {
    c->next = NULL;
    if (q->tail) q->tail->next = c; else q->head = c;
    q->tail = c;
}

static conn *pop(queue *q) {
    conn *c = q->head;
    q->head = c->next;
    if (!q->head) q->tail = NULL;
    return c;
}

#ifdef WITH_TLS
static SSL_CTX *context;

static void use_certificate(const char *path) {
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM);
    if (SSL_CTX_use_certificate_file(context, path, SSL_FILETYPE_PEM) != 1) exit(1);
}
#endif

static int put(conn *c, const char *data, int n) {
#ifdef WITH_TLS
    if (c->tls) return SSL_write(c->tls, data, n);
#endif
    return send(c->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Bytes read, 0 for the end, -1 for none now. The handshake happens by itself in SSL_read. */
static int get(conn *c, char *data, int n) {
    int r;
#ifdef WITH_TLS
    if (c->tls) {
        r = SSL_read(c->tls, data, n);
        if (r > 0) return r;
        r = SSL_get_error(c->tls, r);
        return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? -1 : 0;
    }
#endif
    r = recv(c->fd, data, n, MSG_DONTWAIT);
    return r < 0 && errno != EAGAIN ? 0 : r;
}

static int chunk(char *out, const char *data, int n) {
    int k = sprintf(out, "%x\r\n", n);
    memcpy(out + k, data, n);
    memcpy(out + k + n, "\r\n", 2);
    return k + n + 2;
}

static void send_token(conn *c) {
    char event[512], out[2048];
    int last = c->sent + 1 == c->tokens;
    int n = sprintf(event,
        "data: {\"id\":\"cmpl-%08d5fceea167a5a36dedd4bea25\",\"object\":\"text_completion\",\"created\":1732416000,\"model\":\"paced\","
        "\"choices\":[{\"index\":0,\"text\":\" tok%d\",\"logprobs\":null,\"finish_reason\":%s,\"stop_reason\":null}]}\n\n",
        c->fd, c->sent % 1000, last ? "\"length\"" : "null");
    int size = chunk(out, event, n);
    c->sent++;
    if (last) {
        n = sprintf(event, "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":%d}}\n\n", c->sent);
        size += chunk(out + size, event, n);
        size += chunk(out + size, "data: [DONE]\n\n", 14);
        memcpy(out + size, "0\r\n\r\n", 5);
        size += 5;
        c->tokens = 0;
    }
    /* A client that lags by a whole socket buffer loses bytes: this server is for clients that keep up. */
    if (put(c, out, size) != size) c->tokens = 0;
}

/* A whole request in the buffer starts a stream. */
static void take_request(conn *c, double ttft) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    c->request[c->length] = 0;
    char *body = strstr(c->request, "\r\n\r\n"), *length = strcasestr(c->request, "content-length:");
    if (body && strncmp(c->request, "POST ", 5)) { /* clients ask for models, metrics and the like */
        static const char models[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n"
                                     "{\"object\":\"list\",\"data\":[{\"id\":\"paced\"}]}";
        c->length = 0;
        put(c, models, sizeof models - 1);
        return;
    }
    if (!body || !length || c->length - (body + 4 - c->request) < atoi(length + 15)) return;
    if (!strncmp(c->request, "POST /tokenize ", 15)) { /* like many servers: no such path */
        static const char none[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        c->length = 0;
        put(c, none, sizeof none - 1);
        return;
    }
    char *tokens = strstr(body, "\"max_tokens\":");
    c->tokens = tokens ? atoi(tokens + 13) : 1;
    c->sent = c->length = 0;
    c->due = now() + ttft;
    put(c, head, sizeof head - 1);
    push(&first_tokens, c);
}

static void on_signal(int s) {
    if (s == SIGUSR1)
        asked = 1;
    else
        stopped = 1;
}

static void say(void) {
    printf("{\"sends\": %ld, \"late_mean_ms\": %.4f, \"late_max_ms\": %.4f, \"first_late_mean_ms\": %.4f, \"gap_late_p99_ms\": %.3f, \"cpu_s\": %.3f}\n",
           sends, sends ? late_sum / sends * 1e3 : 0, late_max * 1e3, firsts ? first_late_sum / firsts * 1e3 : 0,
           sends > firsts ? gap_late_p99_ms() : 0, cpu_s());
    fflush(stdout);
}

static int serve(int port, double ttft, double itl) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), set = epoll_create1(0);
    struct sockaddr_in address = loopback(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 16384)) die("listen");
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}}, events[MAX_EVENTS];
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    pid_t parent = getppid();
    while (!stopped && getppid() == parent) { /* it ends with the process that started it */
        if (asked) {
            asked = 0;
            say();
        }
        conn *a = first_tokens.head, *b = next_tokens.head;
        double due = a && (!b || a->due < b->due) ? a->due : b ? b->due : now() + 1;
        double wait = due - now();
        if (wait < 0) wait = 0;
        struct timespec t = {(time_t)wait, (long)((wait - (time_t)wait) * 1e9)};
        int n = epoll_pwait2(set, events, MAX_EVENTS, &t, NULL);
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    conn *made = malloc(sizeof *made);
                    made->fd = fd;
                    made->tokens = made->sent = made->length = 0;
#ifdef WITH_TLS
                    made->tls = NULL;
                    if (context) {
                        made->tls = SSL_new(context);
                        SSL_set_fd(made->tls, fd);
                        SSL_set_accept_state(made->tls);
                    }
#endif
                    event.data.ptr = made;
                    epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            int r = get(c, c->request + c->length, REQUEST_BYTES - c->length);
            if (r > 0) {
                c->length += r;
                if (!c->tokens) take_request(c, ttft);
            } else if (r == 0) {
                epoll_ctl(set, EPOLL_CTL_DEL, c->fd, NULL);
                close(c->fd); /* the struct stays: it may be queued, and a benchmark is short */
                c->fd = -1;
            }
        }
        double time = now();
        for (queue *q = &first_tokens;; q = &next_tokens) {
            while (q->head && q->head->due <= time) {
                conn *c = pop(q);
                double late = now() - c->due;
                late_sum += late;
                if (late > late_max) late_max = late;
                if (c->sent) {
                    double bin = (late - c->late) * 1e6 + BINS / 2;
                    gap_bins[bin < 0 ? 0 : bin < BINS ? (int)bin : BINS - 1]++;
                } else {
                    first_late_sum += late;
                    firsts++;
                }
                c->late = late;
                sends++;
                send_token(c);
                if (c->tokens) {
                    c->due += itl;
                    push(&next_tokens, c);
                }
            }
            if (q == &next_tokens) break;
        }
    }
    say();
    return 0;
}

/* ---- the floor ---- */

static int read_all(int port, int streams, int tokens, double spread) {
    char body[128], request[512], buffer[1 << 16];
    int body_size = sprintf(body, "{\"model\":\"paced\",\"max_tokens\":%d}", tokens);
    int size = sprintf(request, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", body_size, body);
    int set = epoll_create1(0), open = streams, *fds = malloc(streams * sizeof *fds);
    struct sockaddr_in address = loopback(port);
    for (int i = 0; i < streams; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (void *)&address, sizeof address)) die("connect");
        struct epoll_event event = {EPOLLIN, {.fd = fds[i]}};
        epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event);
    }
    double begun = cpu_s();
    for (int i = 0; i < streams; i++) {
        if (send(fds[i], request, size, 0) != size) die("send");
        if (spread > 0) usleep(spread / streams * 1e6);
    }
    volatile double last = 0;
    struct epoll_event events[MAX_EVENTS];
    while (open) {
        int n = epoll_wait(set, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            ssize_t r = recv(events[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT);
            last = now();
            (void)last;
            if (r <= 0 || (r >= 5 && !memcmp(buffer + r - 5, "0\r\n\r\n", 5))) {
                close(events[i].data.fd);
                open--;
            }
        }
    }
    printf("{\"cpu_s\": %.6f}\n", cpu_s() - begun);
    return 0;
}

int main(int argc, char **argv) {
    allow_files();
    signal(SIGPIPE, SIG_IGN);
#ifdef WITH_TLS
    if (argc == 6 && !strcmp(argv[1], "serve")) {
        use_certificate(argv[5]);
        argc = 5;
    }
#endif
    if (argc == 5 && !strcmp(argv[1], "serve")) return serve(atoi(argv[2]), atof(argv[3]) / 1e3, atof(argv[4]) / 1e3);
    if (argc == 6 && !strcmp(argv[1], "read")) return read_all(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atof(argv[5]) / 1e3);
    fprintf(stderr, "usage: %s serve PORT TTFT_MS ITL_MS [CERT] | read PORT STREAMS TOKENS SPREAD_MS\n", argv[0]);
    return 2;
}
