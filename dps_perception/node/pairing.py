"""Each image goes on with the CameraInfo of its stamp, and without one where none comes in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from message_filters import ApproximateTimeSynchronizer, SimpleFilter, TimeSynchronizer

from .decode import stamp_ns

QUEUE = 5


class Pairing:
    """Pairs images with camera_info through message_filters, and lets no image be lost for want of a partner.

    An image waits for its camera_info until the next image comes or `timeout_s` has passed, then goes on alone. Once
    no pair was found for `timeout_s`, images don't wait any more, until a pair is seen again. Stamps that jump back (a
    bag that starts again) clear what is waiting.

    Args:
        slop_s: largest difference between the stamps, seconds; 0: equal stamps.
        timeout_s: see above.
        on_frame: called with (image, camera_info or None), images in order of arrival, each once.
        on_alone: called with the reason when images have gone on alone for `timeout_s`.
        clock: seconds, steady.
    """

    def __init__(
        self,
        slop_s: float,
        timeout_s: float,
        on_frame: Callable[[Any, Any | None], None],
        on_alone: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slop_s = slop_s
        self._timeout_s = timeout_s
        self._on_frame = on_frame
        self._on_alone = on_alone
        self._clock = clock
        self.jumps = 0
        self._latest_ns: int | None = None
        self._waiting: Any = None
        self._sent: Any = None
        self._info: Any = None
        self._unpaired_since: float | None = None
        self._connect()

    @property
    def alone(self) -> bool:
        """True once images have lacked a partner for the time-out."""
        return self._unpaired_since is not None and self._clock() - self._unpaired_since >= self._timeout_s

    def image(self, message: Any) -> None:
        """Take an image."""
        stamp = stamp_ns(message)
        if self._latest_ns is not None and stamp < self._latest_ns:
            self._give_up_waiting()
            self.jumps += 1
            self._unpaired_since = None
            self._connect()
            info, self._info = self._info, None
            if info is not None and stamp_ns(info) < self._latest_ns:  # of the new time: it came before its image
                self.camera_info(info)
        self._latest_ns = stamp
        self._images.signalMessage(message)
        if self._sent is message:
            return
        self._give_up_waiting()
        if self._unpaired_since is None:
            self._unpaired_since = self._clock()
        self._waiting = message
        if self.alone:
            self._give_up_waiting()

    def camera_info(self, message: Any) -> None:
        """Take a CameraInfo."""
        self._info = message
        self._infos.signalMessage(message)

    def tick(self) -> None:
        """Let an image go whose successor does not come either; call this a few times per time-out."""
        if self.alone:
            self._give_up_waiting()

    def _connect(self) -> None:
        """Make new, empty queues: old ones would prefer what is left of the time before a jump."""
        self._images, self._infos = SimpleFilter(), SimpleFilter()
        inputs = [self._images, self._infos]
        if self._slop_s > 0:
            self._synchronizer = ApproximateTimeSynchronizer(inputs, QUEUE, self._slop_s)
        else:
            self._synchronizer = TimeSynchronizer(inputs, QUEUE)
        self._synchronizer.registerCallback(self._on_pair)

    def _on_pair(self, image: Any, info: Any) -> None:
        self._unpaired_since = None
        if self._sent is image:  # its camera_info came too late
            return
        if self._waiting is image:
            self._waiting = None
        self._give_up_waiting()
        self._sent = image
        self._on_frame(image, info)

    def _give_up_waiting(self) -> None:
        image, self._waiting = self._waiting, None
        if image is None:
            return
        if self.alone:
            self._on_alone(self._why(image))
        self._sent = image
        self._on_frame(image, None)

    def _why(self, image: Any) -> str:
        if self._info is None:
            return "no camera_info arrives"
        apart = abs(stamp_ns(image) - stamp_ns(self._info)) / 1e9
        limit = (
            f"by more than sync_slop={self._slop_s:g} s" if self._slop_s > 0 else "although sync_slop=0 wants it equal"
        )
        return f"the stamp of camera_info differs from the image's by {apart:.3f} s, {limit}"
