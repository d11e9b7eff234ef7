"""The values of a function under construction: integers, conditions, vectors, pointers.

Their operators and methods compute nothing; each emits the LLVM instructions that will, and returns
the value these produce.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir

__all__ = ["BytePointer", "Condition", "Emitter", "Integer", "Pointer", "Vector", "int64"]

_INT8, _INT16, _INT32, _INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_POINTER = ir.PointerType()
_FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}
_CONTRACT = ("contract",)  # a product and a sum may become one FMA, which rounds once

_P = TypeVar("_P", bound="_TypedPointer")


class Emitter:
    """Where instructions are emitted, and the types of the vectors they work on.

    ``builder``: llvmlite's, at the end of the current basic block. ``itemsize``: 4 for fp32, 8 for
    fp64. ``lanes``: floating-point numbers per vector.
    """

    def __init__(self, builder: Any, itemsize: int, vector_bytes: int) -> None:
        self.builder = builder
        self.itemsize = itemsize
        self.vector_bytes = vector_bytes
        self.lanes = vector_bytes // itemsize
        self.element = _FLOATS[itemsize]
        self.vector = ir.VectorType(self.element, self.lanes)
        self.int32_vector = ir.VectorType(_INT32, vector_bytes // 4)

    def splat(self, number: float) -> Vector:
        """A constant in all lanes."""
        return Vector(self.builder, ir.Constant(self.vector, [number] * self.lanes))

    def broadcast(self, pointer: Any, element: Any, vector: Any, align: int) -> Any:
        """Load one ``element`` at ``pointer`` into all lanes of the type ``vector``."""
        number = self.builder.load(pointer, typ=element, align=align)
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(_INT32, 0))
        lanes = ir.Constant(ir.VectorType(_INT32, self.lanes), None)
        return self.builder.shuffle_vector(first, undefined, lanes)


class Condition:
    """True or false."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder = builder
        self.value = value

    def __and__(self, other: Condition) -> Condition:
        return Condition(self._builder, self._builder.and_(self.value, other.value))


class Integer:
    """A signed 64-bit integer: an index or a count."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder = builder
        self.value = value

    def __add__(self, other: Integer | int) -> Integer:
        return self._emit(self._builder.add, other)

    def __sub__(self, other: Integer | int) -> Integer:
        return self._emit(self._builder.sub, other)

    def __mul__(self, other: Integer | int) -> Integer:
        return self._emit(self._builder.mul, other)

    def __floordiv__(self, other: Integer | int) -> Integer:
        """Neither may be negative."""
        return self._emit(self._builder.udiv, other)

    def __mod__(self, other: Integer | int) -> Integer:
        """Neither may be negative."""
        return self._emit(self._builder.urem, other)

    def in_range(self, end: Integer) -> Condition:
        """0 <= self < end, in one unsigned comparison."""
        return Condition(self._builder, self._builder.icmp_unsigned("<", self.value, end.value))

    def clamp_max(self, maximum: int) -> Integer:
        """The smaller of this and ``maximum``."""
        bound = int64(maximum)
        is_less = self._builder.icmp_signed("<", self.value, bound)
        return Integer(self._builder, self._builder.select(is_less, self.value, bound))

    def _emit(self, operation: Callable[..., Any], other: Integer | int) -> Integer:
        return Integer(self._builder, operation(self.value, int64(other)))


class Vector:
    """Floating-point numbers, one per lane; operations are lane by lane."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder = builder
        self.value = value

    def __add__(self, other: Vector) -> Vector:
        return self._emit(self._builder.fadd, other)

    def __sub__(self, other: Vector) -> Vector:
        return self._emit(self._builder.fsub, other)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._emit(self._builder.fmul, other)

    __rmul__ = __mul__

    def maximum(self, other: Vector) -> Vector:
        """The larger number in each lane."""
        is_greater = self._builder.fcmp_ordered(">", self.value, other.value)
        return Vector(self._builder, self._builder.select(is_greater, self.value, other.value))

    def minimum(self, other: Vector) -> Vector:
        """The smaller number in each lane."""
        is_less = self._builder.fcmp_ordered("<", self.value, other.value)
        return Vector(self._builder, self._builder.select(is_less, self.value, other.value))

    def where_positive(self, condition: Vector, otherwise: Vector) -> Vector:
        """This in the lanes where ``condition`` > 0, ``otherwise`` in the others."""
        zero = ir.Constant(condition.value.type, None)
        is_positive = self._builder.fcmp_ordered(">", condition.value, zero)
        return Vector(self._builder, self._builder.select(is_positive, self.value, otherwise.value))

    def _emit(self, operation: Callable[..., Any], other: Vector | float) -> Vector:
        if isinstance(other, Vector):
            value = other.value
        else:
            value = ir.Constant(self.value.type, [other] * self.value.type.count)
        return Vector(self._builder, operation(self.value, value, flags=_CONTRACT))


class _TypedPointer(ABC):
    """An address, offset in units of ``_unit``."""

    def __init__(self, emitter: Emitter, value: Any) -> None:
        self._emitter = emitter
        self.value = value

    @property
    @abstractmethod
    def _unit(self) -> Any:
        """The LLVM type of what it points to."""

    def __add__(self: _P, index: Integer | int) -> _P:
        builder = self._emitter.builder
        address = builder.gep(self.value, [int64(index)], source_etype=self._unit)
        return type(self)(self._emitter, address)

    def select(self: _P, condition: Condition, otherwise: _P) -> _P:
        """This pointer where ``condition`` holds, else ``otherwise``."""
        builder = self._emitter.builder
        value = builder.select(condition.value, self.value, otherwise.value)
        return type(self)(self._emitter, value)


class Pointer(_TypedPointer):
    """The address of floating-point numbers; also of a table of pointers."""

    @property
    def _unit(self) -> Any:
        return self._emitter.element

    def __getitem__(self, index: Integer | int) -> Vector:
        """Load a vector from ``index`` on."""
        emitter = self._emitter
        address = (self + index).value
        value = emitter.builder.load(address, typ=emitter.vector, align=emitter.itemsize)
        return Vector(emitter.builder, value)

    def __setitem__(self, index: Integer | int, vector: Vector) -> None:
        """Store a vector from ``index`` on."""
        address = (self + index).value
        self._emitter.builder.store(vector.value, address, align=self._emitter.itemsize)

    def broadcast(self, index: Integer | int) -> Vector:
        """Load the number at ``index`` into all lanes."""
        emitter = self._emitter
        address = (self + index).value
        value = emitter.broadcast(address, emitter.element, emitter.vector, emitter.itemsize)
        return Vector(emitter.builder, value)

    def load_pointer(self, index: Integer) -> Pointer:
        """Load one entry of a table of pointers."""
        builder = self._emitter.builder
        address = builder.gep(self.value, [index.value], source_etype=_POINTER)
        return Pointer(self._emitter, builder.load(address, typ=_POINTER))

    def is_not_null(self) -> Condition:
        """Whether it points anywhere."""
        builder = self._emitter.builder
        null = ir.Constant(_POINTER, None)
        return Condition(builder, builder.icmp_unsigned("!=", self.value, null))

    def as_bytes(self) -> BytePointer:
        """The same address, offset in bytes."""
        return BytePointer(self._emitter, self.value)


class BytePointer(_TypedPointer):
    """An address, offset in bytes. Loads and stores need no alignment."""

    @property
    def _unit(self) -> Any:
        return _INT8

    def copy_from(self, source: BytePointer, count: int) -> None:
        """Copy ``count`` bytes, a multiple of a vector's."""
        builder, kind = self._emitter.builder, self._emitter.int32_vector
        for first in range(0, count, self._emitter.vector_bytes):
            value = builder.load((source + first).value, typ=kind, align=1)
            builder.store(value, (self + first).value, align=1)

    def load_int32(self, index: Integer | int) -> Vector:
        """Load a vector of int32 and convert it to floating point."""
        builder, kind = self._emitter.builder, self._emitter.int32_vector
        value = builder.load((self + index).value, typ=kind, align=1)
        return Vector(builder, builder.sitofp(value, self._emitter.vector))

    def load_float(self, index: Integer | int) -> Vector:
        """Load a vector of floating-point numbers."""
        address = (self + index).value
        value = self._emitter.builder.load(address, typ=self._emitter.vector, align=1)
        return Vector(self._emitter.builder, value)

    def store_bf16(self, index: Integer | int, vector: Vector) -> None:
        """Round fp32 to bf16, ties to even, and store it."""
        builder, lanes = self._emitter.builder, self._emitter.lanes
        bits = builder.bitcast(vector.value, self._emitter.int32_vector)
        sixteen, one, half = (
            ir.Constant(bits.type, [number] * lanes) for number in (16, 1, 0x7FFF)
        )
        odd = builder.and_(builder.lshr(bits, sixteen), one)
        rounded = builder.lshr(builder.add(builder.add(bits, half), odd), sixteen)
        upper = builder.trunc(rounded, ir.VectorType(_INT16, lanes))
        builder.store(upper, (self + index).value, align=1)

    def store_uint8(self, index: Integer | int, vector: Vector) -> None:
        """Clamp to 0..255, round to the nearest integer, halves up, and store it."""
        emitter, builder = self._emitter, self._emitter.builder
        clamped = vector.maximum(emitter.splat(0)).minimum(emitter.splat(255))
        rounded = builder.fptosi((clamped + emitter.splat(0.5)).value, emitter.int32_vector)
        octets = builder.trunc(rounded, ir.VectorType(_INT8, emitter.lanes))
        builder.store(octets, (self + index).value, align=1)


def int64(number: Integer | int) -> Any:
    """LLVM's value of an integer, be it a constant or computed."""
    return ir.Constant(_INT64, number) if isinstance(number, int) else number.value
