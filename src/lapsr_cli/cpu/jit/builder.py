"""Builds a function in LLVM IR: parameters, loops, local variables.

For operations that torch does not have. The code of a function reads like a program in C: values
(`jit.values`) have Python's operators, `FunctionBuilder.loop` is a for loop. LLVM compiles it for
the instructions of the processor at hand; no compiler has to be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from lapsr_cli.cpu.jit.compiler import CompiledFunction
from lapsr_cli.cpu.jit.values import Emitter, Integer, Pointer, int64
from lapsr_cli.device.cpu_features import Processor

__all__ = ["FunctionBuilder"]

_INT64 = ir.IntType(64)
_POINTER = ir.PointerType()


class FunctionBuilder:
    """A function under construction.

    ``pointers`` and ``integers`` name its parameters, in this order; the attributes of the same
    name give their values. ``itemsize``: of the numbers in its vectors, 4 for fp32 or 8 for fp64.
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
        self._module = ir.Module()
        kinds = [_POINTER] * len(pointers) + [_INT64] * len(integers)
        self._function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), kinds), "f")
        self._builder = ir.IRBuilder(self._function.append_basic_block())
        self.emitter = Emitter(self._builder, itemsize, processor.vector_bytes)
        arguments = iter(self._function.args)
        self.pointers = {name: Pointer(self.emitter, next(arguments)) for name in pointers}
        self.integers = {name: Integer(self._builder, next(arguments)) for name in integers}

    @property
    def lanes(self) -> int:
        """Floating-point numbers per vector."""
        return self.emitter.lanes

    @contextmanager
    def loop(self, end: Integer | int, *, step: int = 1) -> Iterator[Integer]:
        """``for number in range(0, end, step)`` around the body of ``with``."""
        builder = self._builder
        counter = self.local_variable(_INT64)
        builder.store(int64(0), counter)
        head, body, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.load(counter, typ=_INT64)
        builder.cbranch(builder.icmp_signed("<", number, int64(end)), body, after)
        builder.position_at_end(body)
        yield Integer(builder, number)
        builder.store(builder.add(number, int64(step)), counter)
        builder.branch(head)
        builder.position_at_end(after)

    def constant(self, number: int) -> Integer:
        """A known integer."""
        return Integer(self._builder, int64(number))

    def local_variable(self, kind: Any) -> Any:
        """Stack space for a value of the LLVM type ``kind``. LLVM keeps it in registers if its
        address is used for nothing but loads and stores."""
        with self._builder.goto_entry_block():
            return self._builder.alloca(kind)

    def intrinsic(self, name: str, result: Any, parameters: Sequence[Any]) -> Any:
        """The LLVM intrinsic of that name, with LLVM types of its result and parameters."""
        if name not in self._module.globals:
            ir.Function(self._module, ir.FunctionType(result, parameters), name)
        return self._module.globals[name]

    def compiled(self) -> CompiledFunction:
        """End the function and compile it."""
        self._builder.ret_void()
        return CompiledFunction(str(self._module), self.processor, len(self._function.args))
