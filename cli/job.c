/* SPDX-License-Identifier: MIT */
/* job: waiting for a command in the foreground, so that a person or a script cannot tell that adit is between.
 *
 * The command stays in adit's process group and session: the terminal's own signals (Ctrl-C, Ctrl-\, Ctrl-Z, a changed
 * window) reach both by themselves. adit holds its signals blocked and reads them here:
 *
 *   SIGTERM SIGHUP SIGUSR1 SIGUSR2   passed on
 *   SIGINT SIGQUIT                   passed on when a process sent them; from the terminal the command has them already
 *   SIGCHLD                          the command ended or stopped
 *
 * A command that stops itself (`suspend` in a shell) must take adit with it, or the shell that waits for adit would
 * never get its prompt back: adit stops too where it is the terminal's foreground group, and wakes the command when it
 * is woken. Nothing is done where the terminal stopped the whole group. */
#include "job.h"
#include <errno.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void signals_fill(sigset_t *set)
{
    static const int waited[] = {SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(waited) / sizeof(waited[0]); i++)
        sigaddset(set, waited[i]);
}

void job_signals_block(sigset_t *old)
{
    sigset_t set;
    signals_fill(&set);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would take the exit status away */
    sigprocmask(SIG_BLOCK, &set, old);
}

static void stop_with(pid_t pid, int how)
{
    bool by_terminal = how != SIGSTOP && getpgid(pid) == getpgrp();
    if (by_terminal || tcgetpgrp(STDIN_FILENO) != getpgrp())
        return;
    raise(SIGSTOP);
    kill(pid, SIGCONT);
}

/* True when the child has ended: *status is what to exit with. */
static bool child_reap(pid_t pid, int *status)
{
    int how;
    pid_t got = waitpid(pid, &how, WNOHANG | WUNTRACED);
    if (got != pid)
        return false;
    if (WIFSTOPPED(how)) {
        stop_with(pid, WSTOPSIG(how));
        return false;
    }
    *status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
    return true;
}

static bool signal_is_from_terminal(const siginfo_t *info)
{
    return (info->si_signo == SIGINT || info->si_signo == SIGQUIT) && info->si_code == SI_KERNEL;
}

int job_wait(pid_t pid)
{
    sigset_t set;
    siginfo_t info;
    int status = 0;
    signals_fill(&set);
    while (!child_reap(pid, &status)) {
        if (sigwaitinfo(&set, &info) < 0 || info.si_signo == SIGCHLD)
            continue;
        if (!signal_is_from_terminal(&info))
            kill(pid, info.si_signo);
    }
    return status;
}

bool job_pause(unsigned ms)
{
    sigset_t set;
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    signals_fill(&set);
    sigdelset(&set, SIGUSR1);
    sigdelset(&set, SIGUSR2);
    sigdelset(&set, SIGCHLD);
    return sigtimedwait(&set, NULL, &left) > 0;
}
