"""The compiled reader (`_native.c`); absent where it was not built."""

from collections.abc import Callable

class Lane:
    def __init__(self, prefix: bytes, suffix: bytes, /) -> None: ...
    def feed(self, data: bytes, time_s: float, /) -> int: ...
    def take(self) -> tuple[bytes, bytes, bytes] | None: ...

class Reader:
    def follow(self, fd: int, lane: Lane, /) -> None: ...
    def leave(self, fd: int, /) -> None: ...
    def poll(
        self,
        epoll_fd: int,
        most: int,
        stop_s: float,
        offset_s: float,
        on_other: Callable[[int], None],
        on_unknown: Callable[[int, bytes, float], None],
        on_broken: Callable[[int, int, float], None],
        /,
    ) -> tuple[int, bool, int, int, int, int]: ...
