/* An allocator for NumPy's arrays that has blocks of its own allocator begin at a cache line. */
#ifndef FC_LINE_MEMORY_H
#define FC_LINE_MEMORY_H

#include <Python.h>
#include <numpy/arrayobject.h>
#include <stdint.h>
#include <string.h>

enum { FC_LINE_BYTES = 64 };

/* A block begins at the first line that leaves room before it for the address that NumPy's allocator gave. */
static void *fc_at_line(char *memory) {
    if (!memory) return NULL;
    char *block = memory + FC_LINE_BYTES - (size_t)memory % FC_LINE_BYTES;
    ((char **)block)[-1] = memory;
    return block;
}

static void *fc_line_malloc(void *numpy, size_t size) {
    PyDataMemAllocator *its = numpy;
    return size > SIZE_MAX - FC_LINE_BYTES ? NULL : fc_at_line(its->malloc(its->ctx, size + FC_LINE_BYTES));
}

static void *fc_line_calloc(void *numpy, size_t count, size_t size) {
    PyDataMemAllocator *its = numpy;
    if (size && count > (SIZE_MAX - FC_LINE_BYTES) / size) return NULL;
    return fc_at_line(its->calloc(its->ctx, 1, count * size + FC_LINE_BYTES));
}

static void fc_line_free(void *numpy, void *block, size_t size) {
    PyDataMemAllocator *its = numpy;
    if (block) its->free(its->ctx, ((char **)block)[-1], size + FC_LINE_BYTES);
}

static void *fc_line_realloc(void *numpy, void *block, size_t size) {
    PyDataMemAllocator *its = numpy;
    if (!block) return fc_line_malloc(numpy, size);
    if (size > SIZE_MAX - FC_LINE_BYTES) return NULL;
    char *memory = ((char **)block)[-1];
    const size_t before = (size_t)((char *)block - memory);
    memory = its->realloc(its->ctx, memory, size + FC_LINE_BYTES);
    if (!memory) return NULL;
    const size_t now = FC_LINE_BYTES - (size_t)memory % FC_LINE_BYTES;
    if (now != before) memmove(memory + now, memory + before, size);
    return fc_at_line(memory);
}

static PyDataMem_Handler fc_line_handler = {
    "fastconv", 1, {NULL, fc_line_malloc, fc_line_calloc, fc_line_realloc, fc_line_free}};

static PyObject *fc_numpys_handler(void) {
    Py_INCREF(PyDataMem_DefaultHandler);
    return PyDataMem_DefaultHandler;
}

static PyObject *fc_handler_of_lines(void) {
    PyDataMem_Handler *numpys = PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler");
    if (!numpys) return NULL;
    fc_line_handler.allocator.ctx = &numpys->allocator;
    return PyCapsule_New(&fc_line_handler, "mem_handler", NULL);
}

#endif
