/* One static program, the only file of its image: no shell, no libraries, no /tmp.
   It is a server to deploy and a command to migrate with; `usage` below says what it does. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *usage =
    "no-shell serve                 wait for SIGTERM, then exit 0\n"
    "no-shell exit N                exit N\n"
    "no-shell fail N                say so on stderr, exit N\n"
    "no-shell sleep SECONDS [N]     sleep, exit N (0); on SIGTERM say so and exit 143\n"
    "no-shell stubborn SECONDS [N]  the same, but SIGTERM is only reported\n"
    "no-shell print TEXT [N]        one line on stdout, exit N (0)\n"
    "no-shell args WORD...          each word on a line of its own, in brackets\n"
    "no-shell env NAME              the variable's value; exit 1 if there is none\n"
    "no-shell id                    user, group and process id\n";

static volatile sig_atomic_t received;

static void note(int number) { received = number; }

static int number(const char *text)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || end == text || value < 0 || value > 86400) {
        fprintf(stderr, "no-shell: %s is not a number from 0 to 86400\n", text);
        exit(64);
    }
    return (int)value;
}

static double now(void)
{
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    return (double)clock.tv_sec + (double)clock.tv_nsec / 1e9;
}

static int doze(int seconds, int code, int stubborn)
{
    double end = now() + seconds;
    printf("sleeping %d s\n", seconds);
    while (now() < end) {
        /* Short naps: a signal between the look and the sleep costs a tenth of a second, not the whole sleep. */
        struct timespec nap = {0, 100000000L};
        nanosleep(&nap, NULL);
        if (!received)
            continue;
        printf("received signal %d\n", (int)received);
        if (!stubborn)
            return 128 + received;
        received = 0;
    }
    printf("slept, exiting with %d\n", code);
    return code;
}

static int serve(void)
{
    struct timespec nap = {0, 100000000L};
    puts("serving");
    while (!received)
        nanosleep(&nap, NULL);
    puts("gone");
    return 0;
}

int main(int count, char **words)
{
    const char *command = count > 1 ? words[1] : "";
    const char *argument = count > 2 ? words[2] : NULL;
    int code = count > 3 && strcmp(command, "args") ? number(words[3]) : 0;
    struct sigaction action = {.sa_handler = note};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);

    if (!strcmp(command, "serve"))
        return serve();
    if (!strcmp(command, "id")) {
        printf("uid=%d gid=%d pid=%d\n", (int)getuid(), (int)getgid(), (int)getpid());
        return 0;
    }
    if (!strcmp(command, "args")) {
        for (int i = 2; i < count; i++)
            printf("[%s]\n", words[i]);
        return 0;
    }
    if (argument && !strcmp(command, "exit"))
        return number(argument);
    if (argument && !strcmp(command, "fail")) {
        fprintf(stderr, "no-shell: failing with %d, as asked\n", number(argument));
        return number(argument);
    }
    if (argument && !strcmp(command, "sleep"))
        return doze(number(argument), code, 0);
    if (argument && !strcmp(command, "stubborn"))
        return doze(number(argument), code, 1);
    if (argument && !strcmp(command, "print")) {
        puts(argument);
        return code;
    }
    if (argument && !strcmp(command, "env")) {
        const char *value = getenv(argument);
        if (!value)
            return 1;
        puts(value);
        return 0;
    }
    fputs(usage, stderr);
    return 64;
}
