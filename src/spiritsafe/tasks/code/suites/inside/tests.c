/* The side of the tests, where they are many: each has a process of its own.

   Standard input has, with spaces between, a word that no test knows, the exit code of tests that come to their end, and
   the numbers of the tests to run; the first argument is the microseconds that a test may compute. What tests print is
   on standard output, and behind each "\n<word> <status>\n": what waitpid says of it. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void suite_limit(const char *microseconds);

static char given[4096];
static int code_returned;

static void run_test(int (*call)(int), int number, const char *microseconds) {
    setpgid(0, 0);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(1, 2);
    suite_limit(microseconds);
    int failed = call(number);
    fflush(stdout);
    _exit(failed ? 1 : code_returned);
}

int suite_tests(int (*call)(int), const char *microseconds) {
    if (read(0, given, sizeof given - 1) <= 0) return 1;
    char *rest, *mark = strtok_r(given, " ", &rest);
    code_returned = atoi(strtok_r(NULL, " ", &rest));
    prctl(PR_SET_DUMPABLE, 0); /* no test reads this process */
    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        int status, number = atoi(word);
        pid_t test = fork();
        if (test == 0) {
            explicit_bzero(given, sizeof given);
            run_test(call, number, microseconds);
        }
        if (test < 0 || waitpid(test, &status, 0) != test) return 1;
        kill(-test, SIGKILL); /* what it forked */
        dprintf(1, "\n%s %d\n", mark, status);
    }
    return 0;
}
