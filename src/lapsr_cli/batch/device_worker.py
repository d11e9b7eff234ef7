"""Enlarges the parts of pictures on one device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from threading import Semaphore

from lapsr_cli.batch.parts import Frame, Part
from lapsr_cli.batch.results import ResultWriter
from lapsr_cli.batch.run_state import RunState
from lapsr_cli.errors import PictureError
from lapsr_cli.inference.batching import Pyramid, Result, Task
from lapsr_cli.upscaler import Upscaler

__all__ = ["DeviceWorker"]


class DeviceWorker:
    """Takes parts from the queue ``fed``, as other devices do, until it finds None; releases
    ``read_ahead`` for each; and passes the results to ``results``."""

    def __init__(
        self,
        state: RunState,
        upscaler: Upscaler,
        fed: SimpleQueue[Part | None],
        read_ahead: Semaphore,
        results: ResultWriter,
    ) -> None:
        self._state = state
        self._upscaler = upscaler
        self._fed = fed
        self._read_ahead = read_ahead
        self._results = results
        self._stream = upscaler.open_stream(state.report_progress)
        self._second_passes: deque[Task[Frame]] = deque()  # of a cascade

    def run(self) -> None:
        """Process parts until there are no more."""
        while (part := self._next_part()) is not None:
            if not part.read.done() and not part.number:
                self._flush()
            if self._state.begins(part.picture):
                part.read.result()
                self._enlarge(part)
            else:
                part.read.cancel()
                self._state.budget.give(part.need)
        self._flush()

    def _next_part(self) -> Part | None:
        """The next part, or None at the end; pending windows are computed before waiting."""
        try:
            part = self._fed.get_nowait()
        except Empty:
            self._flush()
            part = self._fed.get()
        if part is not None:
            self._read_ahead.release()
        return part

    def _enlarge(self, part: Part) -> None:
        """Submit every frame; a picture that is only downscaled bypasses the network."""
        picture, device = part.picture, self._upscaler.device
        if not part.frames:
            self._results.submit(part)
            return
        with picture.lock:
            picture.model = self._upscaler.model_for(lossy=picture.opened.lossy)
            picture.devices[str(device.torch_device)] = None
            picture.precisions[device.precision] = None
        if not picture.passes:
            if not part.number:
                self._state.events.put((picture.job.source.path, 1.0))
            self._results.submit(part)
            return
        part.remaining = len(part.frames)
        for index in range(len(part.frames)):
            self._submit(_task(part, index, 0))

    def _submit(self, task: Task[Frame]) -> None:
        self._take(self._stream.submit(task))
        while self._second_passes:
            self._take(self._stream.submit(self._second_passes.popleft()))

    def _flush(self) -> None:
        """Compute everything pending, including second passes."""
        self._take(self._stream.flush())
        while self._second_passes:
            self._submit(self._second_passes.popleft())
            self._take(self._stream.flush())

    def _take(self, results: Iterable[Result[Frame]]) -> None:
        """Store the pictures of each result; write parts that are complete."""
        for result in results:
            frame, part = result.key, result.key.part
            picture = part.picture
            picture.count(result)
            if result.failure and picture.failure is None:
                picture.failure = PictureError(f"{picture.job.source.path}: {result.failure}")
            if picture.failure is None and self._keep(frame, result.pyramid):
                continue
            part.remaining -= 1
            if not part.remaining:
                self._results.submit(part)

    def _keep(self, frame: Frame, pyramid: Pyramid) -> bool:
        """Keep a frame's pictures; whether it needs another pass, which this queues."""
        part = frame.part
        for scale, picture in pyramid.items():
            part.frames[frame.index][frame.in_pass.multiple * scale] = picture
        is_last = frame.number + 1 == len(part.picture.passes)
        if not is_last:
            self._second_passes.append(_task(part, frame.index, frame.number + 1))
        return not is_last


def _task(part: Part, index: int, number: int) -> Task[Frame]:
    """Pass ``number`` on a frame, for which the passes before it have made the picture."""
    picture, frames = part.picture, part.frames[index]
    needed = picture.passes[number]
    frame = Frame(part, index, number, picture.work(frames[1], number))
    step = 0.0 if number else picture.opened.chroma_step  # the first pass has restored it
    return Task(frame, frames[needed.multiple], needed.scales, picture.model, step)
