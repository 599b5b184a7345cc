"""The threads beside the caller's: part of _core.pyx, which includes it.

They are started by OpenMP, in one parallel loop that never ends, and take tasks of calls by the C side's team
(src/team.h). So no call waits for OpenMP: its own waits would spin for milliseconds on cores that others need, end the
process where the system refuses a thread, and hang in a forked child.
"""

import threading

from cpython.exc cimport PyErr_Occurred
from cython.parallel cimport prange

cdef extern from "wait.h" nogil:
    int64_t fc_now()

ctypedef int (*question)() noexcept nogil

cdef extern from "team.h" nogil:
    ctypedef void (*fc_task_function)(const void *call, int64_t task, int slot) noexcept nogil

    int fc_team_run(fc_task_function run, const void *call, int64_t tasks, int slots, question interrupted)
    void fc_team_serve(int member)
    void fc_team_rest()
    int fc_team_members()
    bint fc_team_may_grow()
    void fc_team_grown(int members)
    int fc_threads_to_be_had(int wanted)

cdef extern from "build.h" nogil:
    int omp_get_max_threads()
    int omp_get_num_procs()

cdef extern from *:
    unsigned long PyThread_start_new_thread(void (*run)(void *) noexcept nogil, void *what)
    unsigned long PyThread_get_thread_ident() nogil
    const unsigned long PYTHREAD_INVALID_THREAD_ID
    int PyErr_CheckSignals() nogil  # without "except": run_tasks looks for the exception

cdef int64_t NANOSECONDS = 1_000_000_000
cdef int64_t refused = -NANOSECONDS  # when the system last had no further thread
# Threads of OpenMP where nobody limits them, which somebody may do just now.
cdef int unlimited = omp_get_max_threads() if os.environ.get("OMP_NUM_THREADS") else omp_get_num_procs()
cdef unsigned long main_thread = threading.main_thread().ident


def processors():
    """CPUs that OpenMP found this process may use, before it bound threads to some of them."""
    return omp_get_num_procs()


def thread_limit():
    """The most threads that the calling thread's OpenMP regions may have, if something lowered that; else 0.

    ``threadpoolctl.threadpool_limits`` does.
    """
    cdef int most = omp_get_max_threads()
    return most if most < unlimited else 0


cdef int run_tasks(fc_task_function run, const void *call, int64_t tasks, int threads) except -1:
    """Computes all tasks on this thread and some of the team, so many in all.

    Raises what a handler of a signal raises meanwhile, as Ctrl-C's does; some tasks are not computed then.
    """
    cdef int stopped
    cdef question asked = NULL
    if tasks < threads:
        threads = <int>tasks
    if threads - 1 > fc_team_members():
        grow(threads - 1)
    # Handlers run in the main thread alone. Others do not ask: while Python ends, taking the GIL would end them.
    if PyThread_get_thread_ident() == main_thread:
        asked = interrupted
    with nogil:
        stopped = fc_team_run(run, call, tasks, threads, asked)
    if stopped:
        if PyErr_Occurred() == NULL:
            raise RuntimeError("this process was forked while it computed a result, which cannot be completed")
        return -1
    return 0


cdef int interrupted() noexcept nogil:
    """Whether a signal has come whose handler raises."""
    with gil:
        return PyErr_CheckSignals()


cdef int grow(int wanted) except -1:
    """Adds threads to the team until it has so many, or the system has no more: then calls get what there is."""
    global refused
    cdef int members
    cdef int more = 0
    if not FC_OPENMP or fc_now() - refused < NANOSECONDS or not fc_team_may_grow():
        return 0
    members = fc_team_members()
    try:
        # One thread has to start the loop. OpenMP would end the process if the system refused it one of the others.
        more = fc_threads_to_be_had(wanted - members + 1) - 1
        # Not by the module _thread, which gevent patches.
        if more > 0 and PyThread_start_new_thread(serve, <void *><size_t>(members << 16 | more)) != (
            PYTHREAD_INVALID_THREAD_ID
        ):
            members += more
    finally:
        fc_team_grown(members)
    if members < wanted:
        refused = fc_now()
    return 0


cdef void serve(void *what) noexcept nogil:
    """Runs some members of the team, until the process ends: the number of the first, and how many, in 16 bits each.

    The thread that begins the loop sleeps: OMP_PROC_BIND would put it on the CPU of the thread that makes the calls.
    """
    cdef int first = <int>(<size_t>what >> 16)
    cdef int count = <int>(<size_t>what & 0xffff)
    cdef int thread
    for thread in prange(count + 1, num_threads=count + 1, schedule="static", chunksize=1):
        if thread == 0:
            fc_team_rest()
        else:
            fc_team_serve(first + thread - 1)
