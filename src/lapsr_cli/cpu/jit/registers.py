"""Registers that sums of products are accumulated in: vectors, VNNI's integers, AMX's matrices."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.values import BytePointer, Vector, int64

__all__ = ["Accumulators", "AmxRegisters", "VnniAccumulators"]

_INT8, _INT32 = ir.IntType(8), ir.IntType(32)
_POINTER = ir.PointerType()


class Accumulators:
    """``count`` vectors of floating-point numbers, zero at first."""

    def __init__(self, code: FunctionBuilder, count: int) -> None:
        self._emitter = code.emitter
        vector = self._emitter.vector
        self._variables = [code.local_variable(vector) for _ in range(count)]
        for variable in self._variables:
            self._emitter.builder.store(ir.Constant(vector, None), variable)

    def __len__(self) -> int:
        return len(self._variables)

    def __getitem__(self, number: int) -> Vector:
        builder = self._emitter.builder
        return Vector(builder, builder.load(self._variables[number], typ=self._emitter.vector))

    def add_product(self, number: int, left: Vector, right: Vector) -> None:
        """Add ``left * right`` to accumulator ``number``."""
        total = (self[number] + left * right).value
        self._emitter.builder.store(total, self._variables[number])

    def horizontal_sums(self) -> list[Vector]:
        """The sum over the lanes of each accumulator, in order, as many to a vector as it has
        lanes. There must be a multiple of that."""
        sums = [self[number] for number in range(len(self))]
        for _ in range(self._emitter.lanes.bit_length() - 1):
            pairs = [sums[number : number + 2] for number in range(0, len(sums), 2)]
            sums = [self._every_other(a, b, 0) + self._every_other(a, b, 1) for a, b in pairs]
        return sums

    def _every_other(self, left: Vector, right: Vector, first: int) -> Vector:
        """Every other lane of the two in a row, from lane ``first`` on."""
        builder, lanes = self._emitter.builder, self._emitter.lanes
        mask = ir.Constant(ir.VectorType(_INT32, lanes), list(range(first, 2 * lanes, 2)))
        return Vector(builder, builder.shuffle_vector(left.value, right.value, mask))


class VnniAccumulators:
    """``count`` vectors of int32, zero at first, to which x86's VNNI adds dot products of four
    unsigned and four signed bytes."""

    def __init__(self, code: FunctionBuilder, count: int) -> None:
        self._emitter = code.emitter
        self._kind = self._emitter.int32_vector
        self._variables = [code.local_variable(self._kind) for _ in range(count)]
        for variable in self._variables:
            self._emitter.builder.store(ir.Constant(self._kind, None), variable)
        bits = 8 * self._emitter.vector_bytes
        self._vpdpbusd = code.intrinsic(
            f"llvm.x86.avx512.vpdpbusd.{bits}", self._kind, [self._kind] * 3
        )

    def __getitem__(self, number: int) -> Vector:
        """Converted to fp32."""
        builder = self._emitter.builder
        value = builder.load(self._variables[number], typ=self._kind)
        return Vector(builder, builder.sitofp(value, self._emitter.vector))

    def load_signed(self, pointer: BytePointer) -> Any:
        """Load four signed bytes for each lane."""
        return self._emitter.builder.load(pointer.value, typ=self._kind, align=1)

    def broadcast_unsigned(self, pointer: BytePointer) -> Any:
        """Load four unsigned bytes, the same for all lanes."""
        return self._emitter.broadcast(pointer.value, _INT32, self._kind, align=1)

    def add_dot_products(self, number: int, unsigned: Any, signed: Any) -> None:
        """Add the dot product of four and four bytes in each lane to accumulator ``number``."""
        builder, variable = self._emitter.builder, self._variables[number]
        sums = builder.load(variable, typ=self._kind)
        builder.store(builder.call(self._vpdpbusd, [sums, unsigned, signed]), variable)


class AmxRegisters:
    """The eight matrix registers of x86's AMX, each configured as 16 rows of 64 bytes.

    Every function that uses them must `release` them at its end.
    """

    def __init__(self, code: FunctionBuilder) -> None:
        self._code = code
        builder = code.emitter.builder
        # Palette 1, start row 0; then bytes per row (16 bits each) and rows of 16 registers.
        configuration = bytes([1, 0, *[0] * 14, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
        kind = ir.ArrayType(_INT8, len(configuration))
        with builder.goto_entry_block():
            variable = builder.alloca(kind)
            builder.store(ir.Constant(kind, bytearray(configuration)), variable)
        self._call("ldtilecfg", variable)

    def zero(self, number: int) -> None:
        """Clear register ``number``."""
        self._call("tilezero", number)

    def load(self, number: int, pointer: BytePointer, stride: int) -> None:
        """Load register ``number`` from rows that begin ``stride`` bytes apart."""
        self._call("tileloadd64", number, pointer.value, int64(stride))

    def store(self, number: int, pointer: BytePointer, stride: int) -> None:
        """Store register ``number`` to rows that begin ``stride`` bytes apart."""
        self._call("tilestored64", number, pointer.value, int64(stride))

    def add_matmul(self, sums: int, left: int, right: int, *, itemsize: int) -> None:
        """Add the product of registers ``left`` and ``right`` to the 16 x 16 of ``sums``.

        ``itemsize`` 1: to int32, (16, 64) uint8 by (64, 16) int8, four rows of the latter
        interleaved in a row of the register. 2: to fp32, (16, 32) by (32, 16) bf16, two rows
        interleaved.
        """
        self._call("tdpbusd" if itemsize == 1 else "tdpbf16ps", sums, left, right)

    def release(self) -> None:
        """Return the registers to their initial state, which the system need not save."""
        self._call("tilerelease")

    def _call(self, name: str, *arguments: Any) -> None:
        values = [ir.Constant(_INT8, a) if isinstance(a, int) else a for a in arguments]
        kinds = [_POINTER if isinstance(v.type, ir.PointerType) else v.type for v in values]
        function = self._code.intrinsic(f"llvm.x86.{name}", ir.VoidType(), kinds)
        self._code.emitter.builder.call(function, values)
