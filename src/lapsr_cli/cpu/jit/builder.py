"""Loops and vector arithmetic, compiled for this processor while the program runs.

For what torch has no operation for. A function is written down by calling these few words, as a
program is: ``Integer`` and ``Vector`` have Python's operators, ``Code`` has loops and memory. LLVM
(llvmlite) compiles it in a tenth of a second, for the instructions that this very processor has;
nobody needs a compiler. Calls release the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from lapsr_cli.cpu.jit.compiler import Function
from lapsr_cli.device.cpu_features import Processor

__all__ = [
    "Bytes",
    "DotProducts",
    "FunctionBuilder",
    "Integer",
    "Pointer",
    "Tiles",
    "Vector",
]

_INTEGER = ir.IntType(64)
_POINTER = ir.PointerType()
_FLOATS = {4: ir.FloatType(), 8: ir.DoubleType()}
_CONTRACT = ("contract",)  # a product and a sum may become one instruction that rounds once


class Integer:
    """A 64-bit number that the code computes: an index or a count."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    @classmethod
    def of(cls, builder: Any, number: int) -> Integer:
        """A number that is known now."""
        return cls(builder, _integer(number))

    def __add__(self, other: Integer | int) -> Integer:
        return self._made(self.builder.add, other)

    def __sub__(self, other: Integer | int) -> Integer:
        return self._made(self.builder.sub, other)

    def __mul__(self, other: Integer | int) -> Integer:
        return self._made(self.builder.mul, other)

    def __floordiv__(self, other: Integer | int) -> Integer:
        """Of numbers that are not negative."""
        return self._made(self.builder.udiv, other)

    def __mod__(self, other: Integer | int) -> Integer:
        """Of numbers that are not negative."""
        return self._made(self.builder.urem, other)

    def within(self, end: Integer) -> Any:
        """A condition: from 0 up to, not including, ``end``."""
        return self.builder.icmp_unsigned("<", self.value, end.value)

    def clamp_max(self, other: int) -> Integer:
        """The lesser one."""
        bound = _integer(other)
        less = self.builder.icmp_signed("<", self.value, bound)
        return Integer(self.builder, self.builder.select(less, self.value, bound))

    def _made(self, operation: Callable[..., Any], other: Integer | int) -> Integer:
        return Integer(self.builder, operation(self.value, _integer(other)))


class Vector:
    """Floating-point numbers side by side, computed with by one instruction."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def __add__(self, other: Vector) -> Vector:
        return self._made(self.builder.fadd, other)

    def __sub__(self, other: Vector) -> Vector:
        return self._made(self.builder.fsub, other)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._made(self.builder.fmul, other)

    __rmul__ = __mul__

    def maximum(self, other: Vector) -> Vector:
        """The larger one in every place."""
        condition = self.builder.fcmp_ordered(">", self.value, other.value)
        return Vector(self.builder, self.builder.select(condition, self.value, other.value))

    def minimum(self, other: Vector) -> Vector:
        """The smaller one in every place."""
        condition = self.builder.fcmp_ordered("<", self.value, other.value)
        return Vector(self.builder, self.builder.select(condition, self.value, other.value))

    def _made(self, operation: Callable[..., Any], other: Vector | float) -> Vector:
        if isinstance(other, Vector):
            value = other.value
        else:
            value = ir.Constant(self.value.type, [other] * self.value.type.count)
        return Vector(self.builder, operation(self.value, value, flags=_CONTRACT))


class Pointer:
    """To floating-point numbers in memory."""

    def __init__(self, code: FunctionBuilder, value: Any) -> None:
        self._code = code
        self.value = value

    def __getitem__(self, index: Integer | int) -> Vector:
        """As many as a vector has, from ``index`` on."""
        value = self._code.builder.load(
            (self + index).value, typ=self._code.vector, align=self._code.itemsize
        )
        return Vector(self._code.builder, value)

    def __setitem__(self, index: Integer | int, vector: Vector) -> None:
        place = (self + index).value
        self._code.builder.store(vector.value, place, align=self._code.itemsize)

    def __add__(self, index: Integer | int) -> Pointer:
        place = self._code.builder.gep(
            self.value, [_integer(index)], source_etype=self._code.element
        )
        return Pointer(self._code, place)

    def broadcast(self, index: Integer | int) -> Vector:
        """The one number at ``index``, in every place of a vector."""
        code = self._code
        one = code.builder.load((self + index).value, typ=code.element, align=code.itemsize)
        undefined = ir.Constant(code.vector, ir.Undefined)
        first = code.builder.insert_element(undefined, one, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), code.lanes), None)
        return Vector(code.builder, code.builder.shuffle_vector(first, undefined, places))

    def select(self, condition: Any, otherwise: Pointer) -> Pointer:
        """This one where ``condition`` holds."""
        value = self._code.builder.select(condition, self.value, otherwise.value)
        return Pointer(self._code, value)


class Bytes:
    """To 8-bit numbers in memory."""

    def __init__(self, code: FunctionBuilder, value: Any) -> None:
        self._code = code
        self.value = value

    def __add__(self, index: Integer | int) -> Bytes:
        place = self._code.builder.gep(self.value, [_integer(index)], source_etype=ir.IntType(8))
        return Bytes(self._code, place)

    def select(self, condition: Any, otherwise: Bytes) -> Bytes:
        """This one where ``condition`` holds."""
        value = self._code.builder.select(condition, self.value, otherwise.value)
        return Bytes(self._code, value)

    def copy(self, source: Bytes, count: int) -> None:
        """``count`` bytes, a multiple of a vector's, to here."""
        size = self._code.processor.vector_bytes
        for first in range(0, count, size):
            value = self._code.builder.load(
                (source + first).value, typ=self._code.integers_of(4), align=1
            )
            self._code.builder.store(value, (self + first).value, align=1)

    def integers(self, index: Integer | int) -> Vector:
        """A vector of 32-bit integers, ``index`` bytes from here, as floating-point numbers."""
        kind = self._code.integers_of(4)
        value = self._code.builder.load((self + index).value, typ=kind, align=1)
        return Vector(self._code.builder, self._code.builder.sitofp(value, self._code.vector))

    def floats(self, index: Integer | int) -> Vector:
        """A vector of floating-point numbers, ``index`` bytes from here."""
        place = (self + index).value
        value = self._code.builder.load(place, typ=self._code.vector, align=1)
        return Vector(self._code.builder, value)

    def put_bf16(self, index: Integer | int, vector: Vector) -> None:
        """The numbers of ``vector`` as bf16, rounded to even, ``index`` bytes from here."""
        builder, lanes = self._code.builder, self._code.lanes
        bits = builder.bitcast(vector.value, self._code.integers_of(4))
        sixteen, one, half = (
            ir.Constant(bits.type, [number] * lanes) for number in (16, 1, 0x7FFF)
        )
        odd = builder.and_(builder.lshr(bits, sixteen), one)
        rounded = builder.lshr(builder.add(builder.add(bits, half), odd), sixteen)
        narrow = builder.trunc(rounded, ir.VectorType(ir.IntType(16), lanes))
        builder.store(narrow, (self + index).value, align=1)

    def put(self, index: Integer | int, vector: Vector) -> None:
        """The numbers of ``vector`` from ``index`` on, rounded, 0 to 255."""
        builder = self._code.builder
        kind = self._code.integers_of(4)
        limits = (ir.Constant(vector.value.type, [limit] * self._code.lanes) for limit in (0, 255))
        least, most = (Vector(builder, limit) for limit in limits)
        inside = vector.maximum(least).minimum(most)
        half = ir.Constant(vector.value.type, [0.5] * self._code.lanes)
        whole = builder.fptosi((inside + Vector(builder, half)).value, kind)
        narrow = builder.trunc(whole, ir.VectorType(ir.IntType(8), self._code.lanes))
        builder.store(narrow, (self + index).value, align=1)


class FunctionBuilder:
    """A function that is being written.

    ``pointers`` and ``integers`` name its parameters, in this order; ``itemsize`` is 4 or 8, of the
    numbers in its vectors.
    """

    def __init__(
        self,
        pointers: Sequence[str],
        integers: Sequence[str],
        *,
        itemsize: int,
        processor: Processor,
    ) -> None:
        self.processor = processor
        self.itemsize = itemsize
        self.lanes = processor.vector_bytes // itemsize
        self.element = _FLOATS[itemsize]
        self.vector = ir.VectorType(self.element, self.lanes)
        self._module = ir.Module()
        self._tiles: Tiles | None = None
        kinds = [_POINTER] * len(pointers) + [_INTEGER] * len(integers)
        self._function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), kinds), "f")
        self.builder = ir.IRBuilder(self._function.append_basic_block())
        arguments = iter(self._function.args)
        self.pointers = {name: Pointer(self, next(arguments)) for name in pointers}
        self.integers = {name: Integer(self.builder, next(arguments)) for name in integers}

    @contextmanager
    def loop(self, end: Integer | int, *, step: int = 1) -> Iterator[Integer]:
        """The body of ``with`` for every number from 0 up to, not including, ``end``."""
        builder = self.builder
        counter = self._slot(_INTEGER)
        builder.store(_integer(0), counter)
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.load(counter, typ=_INTEGER)
        builder.cbranch(builder.icmp_signed("<", number, _integer(end)), body, after)
        builder.position_at_end(body)
        yield Integer(builder, number)
        builder.store(builder.add(number, _integer(step)), counter)
        builder.branch(head)
        builder.position_at_end(after)

    def pointer_at(self, table: Pointer, index: Integer) -> Pointer:
        """One of a table of pointers."""
        place = self.builder.gep(table.value, [index.value], source_etype=_POINTER)
        return Pointer(self, self.builder.load(place, typ=_POINTER))

    def is_there(self, pointer: Pointer) -> Any:
        """A condition: not the null pointer."""
        return self.builder.icmp_unsigned("!=", pointer.value, ir.Constant(_POINTER, None))

    def both(self, one: Any, other: Any) -> Any:
        """A condition of two."""
        return self.builder.and_(one, other)

    def sums(self, count: int) -> Sums:
        """Vectors to add up in, zero so far; they stay in registers."""
        return Sums(self, count)

    def bytes(self, pointer: Pointer) -> Bytes:
        """The same place in memory."""
        return Bytes(self, pointer.value)

    def dot_products(self, count: int) -> DotProducts:
        """Vectors to add up products of 8-bit numbers in, zero so far; they stay in registers."""
        return DotProducts(self, count)

    def tiles(self) -> Tiles:
        """The matrix registers, for this function; it gives them back when it ends."""
        self._tiles = Tiles(self)
        return self._tiles

    def integers_of(self, size: int) -> Any:
        """The type of a vector of integers, of so many bytes each."""
        return ir.VectorType(ir.IntType(8 * size), self.processor.vector_bytes // size)

    def declared(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """An instruction of the processor that LLVM has as a function of that name."""
        if name not in self._module.globals:
            ir.Function(self._module, ir.FunctionType(result, arguments), name)
        return self._module.globals[name]

    def lane_sums(self, vectors: Sequence[Vector]) -> list[Vector]:
        """The sum over each vector, as many of them in a vector as it has lanes. ``vectors``: a
        multiple of that."""
        sums = list(vectors)
        for _ in range(self.lanes.bit_length() - 1):
            pairs = [sums[number : number + 2] for number in range(0, len(sums), 2)]
            sums = [self._every_other(a, b, 0) + self._every_other(a, b, 1) for a, b in pairs]
        return sums

    def compiled(self) -> Function:
        """The function, once all is written."""
        if self._tiles is not None:
            self._tiles.release()
        self.builder.ret_void()
        return Function(str(self._module), self.processor, len(self._function.args))

    def _every_other(self, one: Vector, other: Vector, first: int) -> Vector:
        places = list(range(first, 2 * self.lanes, 2))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), places)
        return Vector(self.builder, self.builder.shuffle_vector(one.value, other.value, mask))

    def _slot(self, kind: Any) -> Any:
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind)


class Sums:
    """See Code.sums."""

    def __init__(self, code: FunctionBuilder, count: int) -> None:
        self._code = code
        self._slots = [code._slot(code.vector) for _ in range(count)]  # noqa: SLF001 (one of two)
        for slot in self._slots:
            code.builder.store(ir.Constant(code.vector, None), slot)

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, number: int) -> Vector:
        value = self._code.builder.load(self._slots[number], typ=self._code.vector)
        return Vector(self._code.builder, value)

    def add_product(self, number: int, one: Vector, other: Vector) -> None:
        """Into the sum of that number."""
        self._code.builder.store((self[number] + one * other).value, self._slots[number])


class DotProducts:
    """See Code.dot_products. 32-bit integers, as many as a vector of fp32 has."""

    def __init__(self, code: FunctionBuilder, count: int) -> None:
        self._code = code
        self._kind = code.integers_of(4)
        self._slots = [code._slot(self._kind) for _ in range(count)]  # noqa: SLF001 (as Sums)
        for slot in self._slots:
            code.builder.store(ir.Constant(self._kind, None), slot)
        bits = 8 * code.processor.vector_bytes
        self._instruction = code.declared(
            f"llvm.x86.avx512.vpdpbusd.{bits}", self._kind, [self._kind] * 3
        )

    def __getitem__(self, number: int) -> Vector:
        builder = self._code.builder
        value = builder.load(self._slots[number], typ=self._kind)
        return Vector(builder, builder.sitofp(value, self._code.vector))

    def fours(self, place: Bytes) -> Any:
        """Four signed bytes for every sum."""
        return self._code.builder.load(place.value, typ=self._kind, align=1)

    def broadcast(self, place: Bytes) -> Any:
        """The same four unsigned bytes for every sum."""
        builder = self._code.builder
        one = builder.load(place.value, typ=ir.IntType(32), align=1)
        undefined = ir.Constant(self._kind, ir.Undefined)
        first = builder.insert_element(undefined, one, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), self._code.lanes), None)
        return builder.shuffle_vector(first, undefined, places)

    def add(self, number: int, unsigned: Any, signed: Any) -> None:
        """The products of four and four bytes to each sum of that number."""
        slot = self._slots[number]
        sums = self._code.builder.load(slot, typ=self._kind)
        self._code.builder.store(
            self._code.builder.call(self._instruction, [sums, unsigned, signed]), slot
        )


class Tiles:
    """See Code.tiles. Eight registers, each 16 rows of 64 bytes."""

    def __init__(self, code: FunctionBuilder) -> None:
        self._code = code
        layout = bytes([1, 0, *[0] * 14, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
        kind = ir.ArrayType(ir.IntType(8), len(layout))
        with code.builder.goto_entry_block():
            place = code.builder.alloca(kind)
            code.builder.store(ir.Constant(kind, bytearray(layout)), place)
        self._call("ldtilecfg", place)

    def clear(self, number: int) -> None:
        """Zeros in all of that register."""
        self._call("tilezero", number)

    def load(self, number: int, place: Bytes, step: int) -> None:
        """Rows that lie ``step`` bytes apart."""
        self._call("tileloadd64", number, place.value, _integer(step))

    def store(self, number: int, place: Bytes, step: int) -> None:
        """The same to memory."""
        self._call("tilestored64", number, place.value, _integer(step))

    def add_products(self, sums: int, left: int, right: int, *, size: int) -> None:
        """To the 16 x 16 sums. ``size`` 1: to 32-bit integers 16 rows of 64 unsigned bytes times 64
        rows of 16 signed ones; a row of ``right`` has four of these, column by column. ``size`` 2:
        to fp32 the same of half as many bf16, a row of ``right`` has two."""
        self._call("tdpbusd" if size == 1 else "tdpbf16ps", sums, left, right)

    def release(self) -> None:
        """Nothing in them has to be kept any more."""
        self._call("tilerelease")

    def _call(self, name: str, *arguments: Any) -> None:
        byte = ir.IntType(8)
        values = [ir.Constant(byte, a) if isinstance(a, int) else a for a in arguments]
        kinds = [_POINTER if isinstance(v.type, ir.PointerType) else v.type for v in values]
        function = self._code.declared(f"llvm.x86.{name}", ir.VoidType(), kinds)
        self._code.builder.call(function, values)


def _integer(number: Integer | int) -> Any:
    return ir.Constant(_INTEGER, number) if isinstance(number, int) else number.value
