/* SPDX-License-Identifier: MIT */
/* job: waiting for a command in the foreground, so that a person or a script cannot tell that adit is between.
 *
 * The command stays in adit's process group and session: the terminal's own signals (Ctrl-C, Ctrl-\, Ctrl-Z, a changed
 * window) reach both by themselves. adit holds its signals blocked and reads them here, from a signalfd:
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
#include <sys/signalfd.h>
#include <sys/wait.h>
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

static void child_reap(struct job *j)
{
    int how;
    if (waitpid(j->pid, &how, WNOHANG | WUNTRACED) != j->pid)
        return;
    if (WIFSTOPPED(how)) {
        stop_with(j->pid, WSTOPSIG(how));
        return;
    }
    j->status = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
    j->has_ended = true;
}

int job_open(struct job *j, pid_t pid, struct complaint *why)
{
    sigset_t set;
    signals_fill(&set);
    *j = (struct job){.pid = pid, .signals = signalfd(-1, &set, SFD_CLOEXEC)};
    if (j->signals >= 0)
        return 0;
    complaint_what(why, "no descriptor for the command's signals");
    return complaint_os(why, "signalfd", errno);
}

bool job_take(struct job *j)
{
    struct signalfd_siginfo info;
    if (read(j->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return false;
    int number = (int)info.ssi_signo;
    bool is_typed = (number == SIGINT || number == SIGQUIT) && info.ssi_code == SI_KERNEL;
    if (j->has_ended)
        return number != SIGCHLD && number != SIGUSR1 && number != SIGUSR2;
    if (number != SIGCHLD && !is_typed)
        kill(j->pid, number);
    child_reap(j);
    return false;
}

void job_close(struct job *j)
{
    close(j->signals);
}
