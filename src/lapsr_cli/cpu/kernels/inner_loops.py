"""The products of a low-precision convolution, by VNNI dot products or AMX matrix products."""

from __future__ import annotations

from lapsr_cli.cpu.jit.builder import FunctionBuilder
from lapsr_cli.cpu.jit.registers import AmxRegisters, VnniAccumulators
from lapsr_cli.cpu.jit.values import Integer
from lapsr_cli.cpu.kernels.epilogue import Epilogue
from lapsr_cli.cpu.kernels.matmul import MICRO_ROWS, column_vectors
from lapsr_cli.cpu.kernels.window import Window

__all__ = ["AMX_CHANNELS", "AMX_PIXELS", "write_with_amx", "write_with_vnni"]

AMX_PIXELS = AMX_CHANNELS = 32
"""Of the outputs that `write_with_amx` accumulates at once: 2 x 2 registers."""


def write_with_vnni(
    code: FunctionBuilder, window: Window, row: Integer, pixel: Integer, epilogue: Epilogue
) -> None:
    """`MICRO_ROWS` outputs of ``row``, from ``pixel`` of the window on, in int8."""
    channels = window.channels
    vectors = column_vectors(code, channels)
    rows = [window.row(row + y) + pixel * window.pixel_bytes for y in range(3)]
    with code.loop(channels, step=vectors * code.lanes) as out:
        accumulators = VnniAccumulators(code, MICRO_ROWS * vectors)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(channels // 4) as four:
                kernel = code.pointers["kernels"].as_bytes()
                kernel = kernel + ((four + tap * (channels // 4)) * channels + out) * 4
                weights = [
                    accumulators.load_signed(kernel + number * code.processor.vector_bytes)
                    for number in range(vectors)
                ]
                for beside in range(MICRO_ROWS):
                    inputs = accumulators.broadcast_unsigned(
                        rows[y] + (x + beside) * window.pixel_bytes + four * 4
                    )
                    for number in range(vectors):
                        accumulators.add_dot_products(
                            beside * vectors + number, inputs, weights[number]
                        )
        for beside in range(MICRO_ROWS):
            sums = [accumulators[beside * vectors + number] for number in range(vectors)]
            epilogue.write(pixel + beside, out, sums)


def write_with_amx(
    code: FunctionBuilder, amx: AmxRegisters, window: Window, row: Integer, epilogue: Epilogue
) -> None:
    """`AMX_PIXELS` outputs of ``row``, all of the window, in int8 or bf16.

    Registers 0 to 3 hold the sums of 16 pixels and 16 channels each, 4 and 5 the inputs of 16
    pixels, 6 and 7 the weights of 16 channels.
    """
    channels, itemsize = window.channels, window.itemsize
    pixel_registers, channel_registers = AMX_PIXELS // 16, AMX_CHANNELS // 16
    rows = [window.row(row + y) for y in range(3)]
    with code.loop(channels, step=AMX_CHANNELS) as out:
        for number in range(pixel_registers * channel_registers):
            amx.zero(number)
        for tap in range(9):
            y, x = divmod(tap, 3)
            with code.loop(window.pixel_bytes, step=64) as first:
                kernel = code.pointers["kernels"].as_bytes() + tap * channels * window.pixel_bytes
                kernel = kernel + (first // 4 * channels + out) * 4
                for column in range(channel_registers):
                    amx.load(6 + column, kernel + 64 * column, 4 * channels)
                for part in range(pixel_registers):
                    pixels = rows[y] + (x + 16 * part) * window.pixel_bytes + first
                    amx.load(4 + part, pixels, window.pixel_bytes)
                    for column in range(channel_registers):
                        number = part * channel_registers + column
                        amx.add_matmul(number, 4 + part, 6 + column, itemsize=itemsize)
        stride = 4 * AMX_CHANNELS
        for number in range(pixel_registers * channel_registers):
            part, column = divmod(number, channel_registers)
            amx.store(number, window.free + (part * 16 * stride + column * 64), stride)
        with code.loop(AMX_PIXELS) as pixel:
            offsets = [pixel * stride + column * 64 for column in range(channel_registers)]
            load = window.free.load_int32 if itemsize == 1 else window.free.load_float
            epilogue.write(pixel, out, [load(offset) for offset in offsets])
