// Positions on three axes: of outputs, of terms, of cells.
#pragma once
#include "device.cuh"

// A position on three axes, of which the last counts fastest.
struct Position {
    int outer, middle, inner;
};

// index / size, of numbers that are not negative. Division in 64 bits takes a hundred instructions; few sizes need it.
FC_DEVICE long long quotient(long long index, long long size) {
    return ((index | size) >> 32) == 0 ? (long long)((unsigned)index / (unsigned)size) : index / size;
}

FC_DEVICE Position position_of(long long index, int middle, int inner) {
    long long rest = index / inner;
    Position found = {(int)(rest / middle), (int)(rest % middle), (int)(index % inner)};
    return found;
}

// The same with such divisions, for kernels that do little else and have registers to spare.
FC_DEVICE Position position_soon(long long index, int middle, int inner) {
    const long long rest = quotient(index, inner), outer = quotient(rest, middle);
    Position found = {(int)outer, (int)(rest - outer * middle), (int)(index - rest * inner)};
    return found;
}

// The position so many steps, few enough for 32 bits, behind another.
FC_DEVICE Position position_behind(const Position &first, int steps, int middle, int inner) {
    unsigned columns = (unsigned)first.inner + steps, rows = first.middle + columns / inner;
    Position found = {first.outer + (int)(rows / middle), (int)(rows % middle), (int)(columns % inner)};
    return found;
}

// Moves on by another position, without division.
FC_DEVICE void advance(Position &position, const Position &by, int middle, int inner) {
    position.inner += by.inner;
    int carry = position.inner >= inner;
    position.inner -= carry ? inner : 0;
    position.middle += by.middle + carry;
    carry = position.middle >= middle;
    position.middle -= carry ? middle : 0;
    position.outer += by.outer + carry;
}
