"""ncnn: the network in ncnn's own format, on the CPU."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from lapsr_cli.bench.runtimes.base import (
    Luma,
    OtherRuntime,
    RuntimeFailed,
    Workload,
    import_package,
)
from lapsr_cli.network.pyramid import NEGATIVE_SLOPE, LaplacianPyramid, Level

__all__ = ["load"]

_MAGIC = 7767517
_LEAKY_RELU = 2
_ARRAY = -23300
"""ncnn's key of parameter n is this minus n if its value is an array."""


def load(workload: Workload) -> OtherRuntime:
    """Winograd and packed layouts on, which is the default; half precision off for weights,
    features and arithmetic. ncnn's memory pools made no difference.

    The graph is the one that ncnn's converter pnnx makes of the reference network, written here so
    that pnnx is not needed. Raises RuntimeMissing, RuntimeFailed.
    """
    workload.require_cpu("ncnn")
    ncnn = import_package("ncnn")
    net = ncnn.Net()
    option = net.opt
    option.num_threads = workload.threads
    option.use_vulkan_compute = False
    option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
    option.use_bf16_packed = option.use_bf16_storage = False
    layers = _Layers.of(workload.model, workload.scale)
    _check(net.load_param_mem(layers.text()), "load_param_mem")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.bin"
        path.write_bytes(layers.weights())
        _check(net.load_model(str(path)), "load_model")

    def enlarge(luma: Luma) -> Luma:
        run = net.create_extractor()
        _check(run.input("luma", ncnn.Mat(luma[None])), "input")  # (1, H, W)
        code, picture = run.extract("picture")  # (1, scale H, scale W)
        _check(code, "extract")
        enlarged: Luma = np.array(picture, copy=True)[0]
        return enlarged

    return OtherRuntime("ncnn", ncnn.__version__, enlarge)


class _Layer(NamedTuple):
    """``parameters``: "number=value" pairs, in ncnn's numbering for this kind of layer."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    parameters: str


class _Layers:
    """A network in ncnn's format: a line of text for each layer, and the weights in the order of
    the lines. Shared weights are repeated for each use, as ncnn cannot share them."""

    def __init__(self) -> None:
        self._layers = [_Layer("Input", (), "luma", "")]
        self._weights: list[bytes] = []

    @classmethod
    def of(cls, model: LaplacianPyramid, scale: int) -> _Layers:
        """The reference network from the blob "luma" to "picture", the output at ``scale``."""
        config, layers = model.config, cls()
        last = config.level_of(scale)
        picture = "luma"
        features = layers.convolve(picture, model.conv_in, activated=not config.shared)
        for number in range(1, last + 1):
            level = model.level(number)
            if config.shared:
                features = layers._shared_body(model, level, features)
            else:
                for conv in level.convs:
                    features = layers.convolve(features, conv, activated=True)
            features = layers.enlarge(features, level.up, activated=not config.shared)
            residual = layers.convolve(features, level.conv_res)
            if level.up_image is not None:
                residual = layers.add(layers.enlarge(picture, level.up_image), residual)
            picture = residual
        layers._rename_last("picture")
        return layers

    def _shared_body(self, model: LaplacianPyramid, level: Level, source: str) -> str:
        x = source
        for _ in range(model.config.recursions):
            h = self.activate(x)
            for conv in level.convs[:-1]:
                h = self.convolve(h, conv, activated=True)
            h = self.convolve(h, level.convs[-1])
            if model.config.skip == "ss":
                x = self.add(h, source)
            elif model.config.skip == "ds":
                x = self.add(h, x)
            else:
                x = h
        return self.activate(x)

    def activate(self, blob: str) -> str:
        return self._append("ReLU", (blob,), f"0={NEGATIVE_SLOPE}")

    def add(self, a: str, b: str) -> str:
        return self._append("BinaryOp", (a, b), "0=0")

    def convolve(self, blob: str, conv: nn.Module, *, activated: bool = False) -> str:
        """A 3x3 convolution with zero padding, its activation in the same layer."""
        assert isinstance(conv, nn.Conv2d)
        self._add_weights(conv.weight, conv.bias)
        parameters = f"4=1 {_common_parameters(conv, conv.out_channels, activated)}"
        return self._append("Convolution", (blob,), parameters)

    def enlarge(self, blob: str, up: nn.Module, *, activated: bool = False) -> str:
        """A transposed convolution, cropped to ``stride`` times the input's height and width."""
        assert isinstance(up, nn.ConvTranspose2d)
        stride = up.stride[0]
        before = (stride - 2) // 2 if up.padding == (0, 0) else stride // 2
        after = up.kernel_size[0] - stride - before
        crop = f"4={before} 14={before} 15={after} 16={after}"
        self._add_weights(up.weight.transpose(0, 1), up.bias)  # (out, in, k, k)
        common = _common_parameters(up, up.out_channels, activated)
        return self._append("Deconvolution", (blob,), f"3={stride} {crop} {common}")

    def text(self) -> str:
        """The param file. A blob can be read only once, so Split makes a copy for each reader."""
        readers = Counter(blob for layer in self._layers for blob in layer.inputs)
        lines, read = [], Counter[str]()
        blobs = len(self._layers)
        for kind, inputs, output, parameters in self._layers:
            names = []
            for blob in inputs:
                names.append(f"{blob}_{read[blob]}" if readers[blob] > 1 else blob)
                read[blob] += 1
            lines.append(_line(kind, output, names, [output], parameters))
            if readers[output] > 1:
                copies = [f"{output}_{number}" for number in range(readers[output])]
                blobs += len(copies)
                lines.append(_line("Split", f"split_{output}", [output], copies, ""))
        return "\n".join([str(_MAGIC), f"{len(lines)} {blobs}", *lines, ""])

    def weights(self) -> bytes:
        """The bin file: kernels (out, in, k, k), each preceded by a zero, which means fp32, and
        biases, both in the order in which they are used."""
        return b"".join(self._weights)

    def _add_weights(self, kernel: Tensor, bias: Tensor | None) -> None:
        self._weights.append(np.int32(0).tobytes())
        for tensor in (kernel, bias):
            if tensor is not None:
                self._weights.append(tensor.detach().contiguous().numpy().tobytes())

    def _append(self, kind: str, inputs: tuple[str, ...], parameters: str) -> str:
        output = f"blob{len(self._layers)}"
        self._layers.append(_Layer(kind, inputs, output, parameters))
        return output

    def _rename_last(self, output: str) -> None:
        self._layers[-1] = self._layers[-1]._replace(output=output)


def _line(kind: str, name: str, inputs: list[str], outputs: list[str], parameters: str) -> str:
    counts = f"{len(inputs)} {len(outputs)}"
    return " ".join([kind, name, counts, *inputs, *outputs, parameters])


def _common_parameters(conv: nn.Conv2d | nn.ConvTranspose2d, channels: int, activated: bool) -> str:
    """The parameters of both kinds of convolution: channels, kernel, bias, weights, activation."""
    bias = int(conv.bias is not None)
    common = f"0={channels} 1={conv.kernel_size[0]} 5={bias} 6={conv.weight.numel()}"
    activation = f" 9={_LEAKY_RELU} {_ARRAY - 10}=1,{NEGATIVE_SLOPE}"
    return common + activation if activated else common


def _check(code: int, function: str) -> None:
    """Raise RuntimeFailed if the return code of one of ncnn's functions is not 0."""
    if code != 0:
        raise RuntimeFailed(f"ncnn: {function} returned {code}")
