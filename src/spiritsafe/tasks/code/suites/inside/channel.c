/* Both ends of the way between tests and code, which is descriptor 3.

   The side of the tests says N (a new test begins), which is answered by R, and C with what a function is given,
   which is answered by A with what it gave, by X (it crashed) or by T (it took too long). Each test has a process of its
   own on the side of the code too, so that no test finds what another left there. */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHANNEL = 3, LOST = 96, NEW_TEST = 97, NO_MORE = 98, MOST_LOOPS = 3 };

/* Signed, because lengths that a wrong program makes up may be negative. */
static int all(ssize_t (*move)(int, void *, size_t), char *bytes, int64_t count) {
    while (count > 0) {
        ssize_t moved = move(CHANNEL, bytes, (size_t)count);
        if (moved <= 0) return 0;
        bytes += moved;
        count -= moved;
    }
    return 1;
}

static ssize_t send_part(int socket, void *bytes, size_t count) { return send(socket, bytes, count, MSG_NOSIGNAL); }

/* The other side is gone where one of these cannot do all of it. */
void suite_send(void *bytes, int64_t count) {
    if (!all(send_part, bytes, count)) _exit(LOST);
}

void suite_receive(void *bytes, int64_t count) {
    if (!all(read, bytes, count)) _exit(LOST);
}

static void say(char letter) { suite_send(&letter, 1); }

static char hear(void) {
    char letter;
    suite_receive(&letter, 1);
    return letter;
}

/* Seconds that this process may compute; SIGPROF ends it. */
void suite_limit(const char *microseconds) {
    long most = atol(microseconds);
    struct itimerval timer = {.it_value = {.tv_sec = most / 1000000, .tv_usec = most % 1000000}};
    setitimer(ITIMER_PROF, &timer, NULL);
}

/* On the side of the tests: before what the function is given, and before what it gave. */
void suite_call(void) {
    static int has_begun = 0;
    if (!has_begun) {
        say('N');
        if (hear() != 'R') _exit(LOST);
        has_begun = 1;
    }
    say('C');
}

void suite_await(void) {
    char answer = hear();
    if (answer == 'A') return;
    fprintf(stderr, "the function %s\n", answer == 'T' ? "took too long" : "crashed");
    _exit(1);
}

/* On the side of the code: before what the function gave. */
void suite_answer(void) { say('A'); }

static void serve_test(void (*answer)(void), const char *microseconds) {
    char letter;
    suite_limit(microseconds);
    while (all(read, &letter, 1)) {
        if (letter == 'N') _exit(NEW_TEST);
        answer();
    }
    _exit(NO_MORE);
}

int suite_serve(void (*answer)(void), const char *microseconds) {
    int num_loops = 0;
    for (;;) {
        int status;
        pid_t child = fork();
        if (child == 0) serve_test(answer, microseconds);
        if (child < 0 || waitpid(child, &status, 0) != child) return 1;
        if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGXCPU)) {
            say('T');
            if (++num_loops == MOST_LOOPS) return 0; /* what loops in so many tests loops in the next */
            continue;
        }
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        if (code == NO_MORE || code == LOST) return 0;
        say(code == NEW_TEST ? 'R' : 'X');
    }
}
