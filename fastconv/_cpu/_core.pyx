# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, freethreading_compatible=True
"""The C side: its instruction sets, its threads, and the calls whose tasks they compute."""

import os
import threading

from cpython.exc cimport PyErr_Occurred
from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

cdef extern from "build.h" nogil:
    const int FC_OPENMP
    const char *FC_COMPILER
    const char *FC_FLAGS
    int omp_get_max_threads()
    int omp_get_num_procs()

cdef extern from "threads/scratch.h" nogil:
    void *fc_take_scratch(size_t bytes)
    void fc_give_scratch(void *scratch)
    size_t fc_scratch_bytes()

cdef extern from "threads/wait.h" nogil:
    int64_t fc_now()

ctypedef int (*question)() noexcept nogil

cdef extern from "threads/team.h" nogil:
    ctypedef void (*fc_task_function)(const void *call, int64_t task, int slot) noexcept nogil

    int fc_team_run(fc_task_function run, const void *call, int64_t tasks, int slots, question interrupted)
    void fc_team_serve(int member)
    void fc_team_rest()
    int fc_team_members()
    bint fc_team_may_grow()
    void fc_team_grown(int members)
    int fc_threads_to_be_had(int wanted)

cdef extern from *:
    unsigned long PyThread_start_new_thread(void (*run)(void *) noexcept nogil, void *what)
    unsigned long PyThread_get_thread_ident() nogil
    const unsigned long PYTHREAD_INVALID_THREAD_ID
    int PyErr_CheckSignals() nogil  # without "except": run_tasks looks for the exception

WINOGRAD_TAPS = FC_WIDEST  # taps of a filter along an axis, at most
WINOGRAD_RANGE = FC_RANGE  # terms or columns that share transformed tiles in gradients of filters
SPATIAL_LANES = FC_SPATIAL_LANES  # lanes that sums over pixels are dealt out to

cdef const fc_kernels *chosen = NULL


cdef str _text(const char *bytes_):
    return (<bytes>bytes_).decode("ascii")


def use_instruction_set(str wanted):
    """Uses the instruction set of this name, or the best that this CPU has; for the import and for tests.

    Not while calls run in other threads.
    """
    global chosen
    cdef int i
    for i in range(fc_kernels_count()):
        name = _text(fc_kernels_built(i).name)
        if fc_kernels_supported(i) and wanted in ("", name):
            chosen = fc_kernels_built(i)
            return
    have = ", ".join(name for name, supported in instruction_sets().items() if supported)
    raise ImportError(f"FASTCONV_ISA={wanted!r} is not an instruction set of this CPU and build, which have {have}")


def instruction_sets():
    """Every instruction set in this build, best first, and whether this CPU has it."""
    cdef int i
    supported = {}
    for i in range(fc_kernels_count()):
        name = _text(fc_kernels_built(i).name)
        supported[name] = supported.get(name, False) or bool(fc_kernels_supported(i))
    return supported


def instruction_set():
    """The name of the instruction set in use."""
    return _text(chosen.name)


cdef const fc_kernels *kernels() noexcept:
    return chosen


def build():
    """What the extension was built with, and whether multiply-adds in use are fused."""
    return {
        "compiler": _text(FC_COMPILER),
        "flags": _text(FC_FLAGS),
        "openmp": FC_OPENMP,
        "fused_multiply_add": bool(chosen.fused),
    }


def scratch_bytes():
    """What the last convolution took for all its threads, its own packed filters included; for the benchmarks."""
    return fc_scratch_bytes()


METHODS = {}  # each forward method's name, and its place in the table of src/conv/forward.c
FILTER_METHODS = {}  # the same of src/conv/backprop_filter.c
cdef int place = 0
while fc_methods[place] != NULL:
    METHODS[_text(fc_methods[place].name)] = place
    place += 1
place = 0
while fc_filter_methods[place] != NULL:
    FILTER_METHODS[_text(fc_filter_methods[place].name)] = place
    place += 1


cdef const fc_method *method_of(str name) except NULL:
    return fc_methods[<int>METHODS[name]]


cdef const fc_filter_method *filter_method_of(str name) except NULL:
    return fc_filter_methods[<int>FILTER_METHODS[name]]


# Threads beside the caller's are started by OpenMP, in one parallel loop that never ends, and take tasks of calls by
# the C side's team (src/threads/team.h). So no call waits for OpenMP: its own waits would spin for milliseconds on
# cores that others need, end the process where the system refuses a thread, and hang in a forked child.

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


cdef void serve(void *members) noexcept nogil:
    """Runs some members of the team, until the process ends: the number of the first, and how many, in 16 bits each.

    The thread that begins the loop sleeps: OMP_PROC_BIND would put it on the CPU of the thread that makes the calls.
    """
    cdef int first = <int>(<size_t>members >> 16)
    cdef int count = <int>(<size_t>members & 0xffff)
    cdef int thread
    for thread in prange(count + 1, num_threads=count + 1, schedule="static", chunksize=1):
        if thread == 0:
            fc_team_rest()
        else:
            fc_team_serve(first + thread - 1)


cdef struct Scratch:  # of each thread, and what all share
    char *slots
    int64_t each  # bytes of a slot
    char *shared


cdef int take_scratch(Scratch *scratch, int slots, int64_t each, int64_t shared) except -1:
    """To be given back by fc_give_scratch(scratch.slots)."""
    scratch.each = (each + 63) // 64 * 64
    cdef int64_t size = slots * scratch.each + shared
    scratch.slots = <char *>fc_take_scratch(<size_t>size)
    if scratch.slots == NULL:
        raise MemoryError(f"no memory for {size} bytes of scratch")
    scratch.shared = scratch.slots + slots * scratch.each
    return 0


cdef struct ForwardJob:
    const fc_forward *calls
    int count
    Scratch scratch


cdef void forward_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const ForwardJob *j = <const ForwardJob *>job
    fc_forward_task_of(j.calls, j.count, task, j.scratch.slots + slot * j.scratch.each)


cdef int run_forward(fc_forward *calls, int count, int threads) except -1:
    """Computes convolutions, on so many threads or as many as there are tasks."""
    cdef int index
    cdef int64_t parts = 0
    cdef bint may_be_exact = False
    cdef fc_forward *apart
    with nogil:
        for index in range(count):
            may_be_exact = may_be_exact or fc_may_be_exact(&calls[index])
    if not may_be_exact:
        return run_prepared(calls, count, threads)
    for index in range(count):
        parts += fc_parts_at_most(&calls[index])
    apart = <fc_forward *>calloc(parts, sizeof(fc_forward))
    if apart == NULL:
        raise MemoryError(f"no memory for {parts} images")
    try:
        parts = 0
        with nogil:
            for index in range(count):
                parts += fc_take_apart(&calls[index], apart + parts)
        return run_prepared(apart, <int>parts, threads)
    finally:
        free(apart)


cdef int run_prepared(fc_forward *calls, int count, int threads) except -1:
    """Prepares the calls, packs and measures what has to be before their tasks, and computes these."""
    cdef int64_t tasks = 0
    cdef int64_t each = 0
    cdef int64_t shared = 0
    cdef int slot
    cdef int index
    cdef ForwardJob job
    cdef char *free_memory
    job.calls = calls
    job.count = count
    for index in range(count):
        fc_prepare(&calls[index], threads)
        calls[index].first_task = tasks
        tasks += calls[index].tasks
        each = max(each, calls[index].scratch_bytes)
        if calls[index].pack_tasks:
            shared += fc_packed_size(&calls[index])
        shared += fc_magnitudes_size(&calls[index])
    if tasks == 0:
        return 0
    cdef int team = <int>min(<int64_t>threads, tasks)
    take_scratch(&job.scratch, team, each, shared)
    free_memory = job.scratch.shared
    for slot in range(team):
        fc_forward_begin(job.scratch.slots + slot * job.scratch.each)
    try:
        for index in range(count):
            if calls[index].pack_tasks:
                run_pack(&calls[index], calls[index].pack_tasks, free_memory, threads)
                calls[index].packed = free_memory
                free_memory += fc_packed_size(&calls[index])
            if fc_magnitudes_size(&calls[index]):
                with nogil:
                    fc_measure(&calls[index], free_memory)
                calls[index].magnitudes = free_memory
                free_memory += fc_magnitudes_size(&calls[index])
        run_tasks(forward_task, &job, tasks, team)
    finally:
        fc_give_scratch(job.scratch.slots)
    return 0


cdef struct PackJob:
    const fc_forward *call
    void *packed


cdef void pack_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const PackJob *j = <const PackJob *>job
    fc_pack(j.call, task, j.packed)


cdef int run_pack(const fc_forward *call, int64_t tasks, void *packed, int threads) except -1:
    """Packs all filters of a call."""
    cdef PackJob job
    job.call = call
    job.packed = packed
    return run_tasks(pack_task, &job, tasks, threads)


cdef struct FilterJob:
    const fc_backprop_filter *call
    Scratch scratch


cdef void filter_task(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const FilterJob *j = <const FilterJob *>job
    fc_filter_task(j.call, task, j.scratch.slots + slot * j.scratch.each, j.scratch.shared)


cdef void filter_sum(const void *job, int64_t task, int slot) noexcept nogil:
    cdef const FilterJob *j = <const FilterJob *>job
    fc_sum_slices(j.call, task, j.scratch.shared)


cdef int run_backprop_filter(fc_backprop_filter *call, int threads) except -1:
    """Computes a gradient of filters, but for what direct sums are to replace: an fc_outcome."""
    cdef fc_outcome outcome
    cdef bint is_exact
    cdef FilterJob job
    with nogil:
        is_exact = fc_filter_is_exact(call)
    if is_exact:
        return FC_REPLACE_ALL
    fc_prepare_filter(call, threads)
    threads = <int>min(<int64_t>threads, call.tasks)
    job.call = call
    take_scratch(&job.scratch, threads, call.scratch_bytes, call.partial_bytes)
    try:
        for call.portion in range(call.pixels.portions):
            run_tasks(filter_task, &job, call.tasks, threads)
            run_tasks(filter_sum, &job, call.sum_tasks, threads)
        with nogil:
            outcome = fc_filter_outcome(call, job.scratch.shared)
        return outcome
    finally:
        fc_give_scratch(job.scratch.slots)


cdef void epilogue_pass_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_epilogue_pass_task(<const fc_epilogue_pass *>call, task)


cdef int run_epilogue_pass(fc_epilogue_pass *call, int threads) except -1:
    fc_epilogue_pass_split(call)
    return run_tasks(epilogue_pass_task, call, call.tasks, threads)


cdef void pool_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_pool_task(<const fc_pool *>call, task)


cdef int run_pool(fc_pool *call, int threads) except -1:
    fc_pool_split(call, threads)
    return run_tasks(pool_task, call, call.tasks, threads)


cdef void normalization_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_normalization_task(<const fc_normalization_call *>call, task)


cdef int run_normalization(fc_normalization_call *call, int threads) except -1:
    fc_normalization_split(call)
    return run_tasks(normalization_task, call, call.tasks, threads)


cdef void activation_grad_task(const void *call, int64_t task, int slot) noexcept nogil:
    fc_activation_grad_task(<const fc_activation_grad *>call, task)


cdef int run_activation_grad(fc_activation_grad *call, int threads) except -1:
    fc_activation_grad_split(call)
    return run_tasks(activation_grad_task, call, call.tasks, threads)


use_instruction_set(os.environ.get("FASTCONV_ISA", ""))
