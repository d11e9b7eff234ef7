"""Compiles LLVM IR for a processor and makes it callable, with llvmlite."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property

import llvmlite.binding as llvm

from lapsr_cli.device.cpu_features import Processor

__all__ = ["CompiledFunction"]


class CompiledFunction:
    """Machine code of the function ``f`` of a module in LLVM IR.

    ``parameters``: how many it has, all of 64 bits. Compiled on construction, which takes about a
    tenth of a second. Can be called from several threads at once; a call releases the GIL.
    """

    def __init__(self, ir_text: str, processor: Processor, parameters: int) -> None:
        self._ir_text = ir_text
        self._processor = processor
        self._parameters = parameters
        self._entry_point  # noqa: B018 (compiled now, not in the first of several threads)

    def __call__(self, *arguments: int) -> None:
        """Call it with addresses and integers, in the order of its parameters. Nothing is
        checked."""
        self._entry_point(*arguments)

    @cached_property
    def _entry_point(self) -> Callable[..., None]:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=self._processor.name, features=self._processor.features, opt=3, jit=True
        )
        module = llvm.parse_assembly(self._ir_text)
        module.verify()
        passes = llvm.create_pass_builder(
            machine, llvm.create_pipeline_tuning_options(speed_level=2)
        )
        passes.getModulePassManager().run(module, passes)
        self._engine = llvm.create_mcjit_compiler(module, machine)  # owns the code
        self._engine.finalize_object()
        kinds = [ctypes.c_int64] * self._parameters
        return ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address("f"))
