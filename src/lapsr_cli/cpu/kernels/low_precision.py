"""3x3 convolutions in int8 and bf16.

Feature maps take a quarter or half of the memory of fp32, and one instruction multiplies several
numbers: VNNI's dot products of bytes, or AMX's matrix products. Accumulators have 32 bits, and what
follows them is computed in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.registers import AmxRegisters
from lapsr_cli.cpu.kernels.epilogue import Epilogue
from lapsr_cli.cpu.kernels.inner_loops import (
    AMX_CHANNELS,
    AMX_PIXELS,
    write_with_amx,
    write_with_vnni,
)
from lapsr_cli.cpu.kernels.kernel import Kernel, fills_vectors, row_addresses
from lapsr_cli.cpu.kernels.matmul import MICRO_ROWS
from lapsr_cli.cpu.kernels.window import Window
from lapsr_cli.cpu.quantization import QuantParams, quantized_weights
from lapsr_cli.device.cpu_features import Processor, this_processor

__all__ = ["Bf16Conv", "Int8Conv", "LowPrecisionConv", "supports_bf16", "supports_int8"]

_VNNI_PIXELS = 8 * MICRO_ROWS
"""Outputs of a row per window for dot products."""


class LowPrecisionConv:
    """Leaky ReLU and the 3x3 convolution after it, in int8 or bf16.

    ``kernels``: (C out, C in, 3, 3), int8 or bf16. ``factors``, ``offsets``: (C out), by which
    accumulators are multiplied and what is added to them. ``quantization``: (3, C), how a map in
    fp32 becomes uint8: reciprocal scales and zero points of the input, zero points of the output;
    not used in bf16. ``low_precision_output``: the output is activated and in the dtype that the
    next convolution reads (uint8 or bf16), else in fp32 and not activated.

    Pads with zeros on the left and right. A call uses one core; several threads may call at once.
    """

    def __init__(
        self,
        kernels: Tensor,
        factors: Tensor,
        offsets: Tensor,
        quantization: Tensor,
        *,
        low_precision_output: bool,
        processor: Processor | None = None,
    ) -> None:
        out, into = kernels.shape[:2]
        self._dtype = torch.uint8 if kernels.dtype == torch.int8 else kernels.dtype
        interleaved = 4 // kernels.dtype.itemsize
        taps = kernels.permute(2, 3, 1, 0).reshape(9, into // interleaved, interleaved, out)
        self._kernels = taps.transpose(2, 3).contiguous()  # (9, C in / 4 or 2, C out, 4 or 2)
        self._channels = out
        self._factors, self._offsets = factors.float(), offsets.float()
        self._quantization = quantization.float().contiguous()
        self._low_precision_output = low_precision_output
        self._processor = processor or this_processor()

    def __call__(
        self,
        pieces: Sequence[Tensor],
        added: Sequence[Tensor] = (),
        *,
        pad_top: bool,
        pad_bottom: bool,
    ) -> Tensor:
        """Convolve ``pieces``, consecutive rows (B, C, n, W) of a map, channels-last, from top to
        bottom -> (B, C, m, W).

        The map is in fp32, or activated and in low precision. A row of zeros pads it above if
        ``pad_top``, below if ``pad_bottom``; m is the number of rows including these, less two, but
        not below 0. ``added``: m rows in fp32, also in pieces, that are added to an output in fp32.
        """
        batch, _, _, width = pieces[0].shape
        count = max(0, sum(piece.shape[2] for piece in pieces) + pad_top + pad_bottom - 2)
        outputs = torch.empty(
            (batch, self._channels, count, width),
            dtype=self._dtype if self._low_precision_output else torch.float32,
            memory_format=torch.channels_last,
        )
        compute = _compiled(
            self._channels,
            self._dtype,
            low_precision_input=pieces[0].dtype == self._dtype,
            low_precision_output=self._low_precision_output,
            processor=self._processor,
        )
        parameters = [self._kernels, self._factors, self._offsets, self._quantization]
        for number in range(batch if count else 0):
            rows = [0] * pad_top + row_addresses(pieces, number) + [0] * pad_bottom
            skips = row_addresses(added, number) or [0] * count
            compute([rows, skips], [outputs[number], *parameters], count, width)
        return outputs


def supports_int8(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed by `Int8Conv`: 3x3, in fp32, with as many input as output
    channels, which fill whole vectors of bytes of ``processor`` (default: this one)."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    return (
        processor.has_vnni
        and conv.weight.dtype == torch.float32
        and size == [3, 3]
        and out == into
        and out % processor.vector_bytes == 0
        and fills_vectors(out, conv.weight.dtype, processor)
    )


class Int8Conv(LowPrecisionConv):
    """Leaky ReLU and the 3x3 convolution after it, in int8.

    ``input_params``: of the activated input. ``output_params``: of the next convolution's activated
    input, in which the output is then given; None for an output in fp32, not activated.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        input_params: QuantParams,
        output_params: QuantParams | None,
        processor: Processor | None = None,
    ) -> None:
        weights, scales = quantized_weights(conv.weight * input_params.scales[:, None, None])
        factors = scales.double()
        offsets = -(weights.double().sum((2, 3)) * input_params.zero_points).sum(1) * factors
        if conv.bias is not None:
            offsets += conv.bias.double()
        output = output_params or QuantParams(torch.ones_like(scales), torch.zeros_like(scales))
        super().__init__(
            weights,
            factors / output.scales,
            offsets / output.scales,
            torch.stack([1 / input_params.scales, input_params.zero_points, output.zero_points]),
            low_precision_output=output_params is not None,
            processor=processor,
        )


def supports_bf16(conv: nn.Conv2d, processor: Processor | None = None) -> bool:
    """Whether ``conv`` can be computed by `Bf16Conv`: 3x3, in bf16, with as many input as output
    channels, a multiple of 32, on a ``processor`` (default: this one) with AMX for bf16."""
    processor = processor or this_processor()
    out, into, *size = conv.weight.shape
    fits = size == [3, 3] and out == into and out % AMX_CHANNELS == 0
    bf16 = torch.bfloat16
    return conv.weight.dtype == bf16 and fits and processor.has_amx(bf16.itemsize)


class Bf16Conv(LowPrecisionConv):
    """Leaky ReLU and the 3x3 convolution after it, in bf16.

    ``low_precision_output``: the output is activated and in bf16, else in fp32 and not activated.
    """

    def __init__(
        self, conv: nn.Conv2d, *, low_precision_output: bool, processor: Processor | None = None
    ) -> None:
        out = conv.out_channels
        super().__init__(
            conv.weight,
            torch.ones(out),
            torch.zeros(out) if conv.bias is None else conv.bias,
            torch.zeros(3, out),
            low_precision_output=low_precision_output,
            processor=processor,
        )


@cache
def _compiled(
    channels: int,
    dtype: torch.dtype,
    *,
    low_precision_input: bool,
    low_precision_output: bool,
    processor: Processor,
) -> Kernel:
    """From left to right in windows of some columns, each from top to bottom."""
    code = FunctionBuilder(
        ["rows", "added", "outputs", "kernels", "factors", "offsets", "quantization", "scratch"],
        ["count", "width"],
        itemsize=4,
        processor=processor,
    )
    amx = AmxRegisters(code) if processor.has_amx(dtype.itemsize) else None
    pixels = AMX_PIXELS if amx else _VNNI_PIXELS
    window = Window(code, channels, dtype.itemsize, pixels, is_quantized=low_precision_input)
    count, width = code.integers["count"], code.integers["width"]
    with code.loop(width, step=pixels) as left:
        for above in range(2):
            window.read(code.constant(above), left)
        with code.loop(count) as row:
            window.read(row + 2, left)
            epilogue = Epilogue(code, window, row, left, quantizes=low_precision_output)
            if amx:
                write_with_amx(code, amx, window, row, epilogue)
            else:
                with code.loop((width - left).clamp_max(pixels), step=MICRO_ROWS) as pixel:
                    write_with_vnni(code, window, row, pixel, epilogue)
    if amx:
        amx.release()
    sums = AMX_PIXELS * AMX_CHANNELS
    return Kernel(code.compiled(), torch.float32, window.size + sums)
