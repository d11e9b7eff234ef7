"""LLVM (llvmlite) compiles a function for this processor."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property

import llvmlite.binding as llvm

from lapsr_cli.device.cpu_features import Processor

__all__ = ["Function"]


class Function:
    """Compiled code. Called with addresses and numbers, from any number of threads."""

    def __init__(self, text: str, processor: Processor, parameters: int) -> None:
        self._text = text
        self._processor = processor
        self._parameters = parameters
        self._entry  # noqa: B018 (compiled now, not in the first of several threads)

    def __call__(self, *arguments: int) -> None:
        """Addresses first, as its Code named them. Nothing is checked."""
        self._entry(*arguments)

    @cached_property
    def _entry(self) -> Callable[..., None]:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=self._processor.name, features=self._processor.features, opt=3, jit=True
        )
        module = llvm.parse_assembly(self._text)
        module.verify()
        builder = llvm.create_pass_builder(
            machine, llvm.create_pipeline_tuning_options(speed_level=2)
        )
        builder.getModulePassManager().run(module, builder)
        self._engine = llvm.create_mcjit_compiler(module, machine)  # the code lives as long as it
        self._engine.finalize_object()
        kinds = [ctypes.c_int64] * self._parameters
        return ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address("f"))
