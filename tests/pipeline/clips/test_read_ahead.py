"""Batches come in the order of the plan, whoever fills them, and nothing is started that has no
room.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from unmask.pipeline.clips.read_ahead import ReadAhead

LIMIT = 20


class Room:
    """A buffer that knows how many of its kind are filled and not yet given back."""

    def __init__(self) -> None:
        self.rows: list[int] = []


def begin(buffer: Room, items: list[int]) -> Room:
    buffer.rows = [-1] * len(items)
    buffer.items = items
    return buffer


def fill(raw: Room, rows: range) -> None:
    for row in rows:
        raw.rows[row] = raw.items[row] ** 2


def run(plan, threads, buffers, parts, fill=fill, begin=begin, stop_after=None):
    """The filled rows of each batch, as its consumer sees them."""
    ahead, seen = ReadAhead(begin, fill, plan, [Room() for _ in range(buffers)], parts), []
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(ahead.work) for _ in range(threads)]
        try:
            for _ in plan[:stop_after]:
                buffer, raw = ahead.next()
                seen.append(list(raw.rows))
                ahead.give_back(buffer)
        finally:
            ahead.stop()
    for job in jobs:
        job.result(LIMIT)
    return seen


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("buffers", [1, 2, 7])
@pytest.mark.parametrize("parts", [1, 3])
def test_batches_come_whole_and_in_order_however_long_each_takes(threads, buffers, parts):
    rng = np.random.default_rng(threads * 100 + buffers * 10 + parts)
    plan = [rng.integers(0, 99, rng.integers(1, 9)).tolist() for _ in range(30)]
    waits = iter(rng.random(1000).tolist())

    def slowly(raw: Room, rows: range) -> None:
        time.sleep(next(waits) * 0.002)
        fill(raw, rows)

    assert run(plan, threads, buffers, parts, slowly) == [
        [item**2 for item in items] for items in plan
    ]


def test_no_batch_is_begun_without_a_buffer_of_its_own():
    begun = []

    def counting(buffer: Room, items: list[int]) -> Room:
        begun.append(items)
        return begin(buffer, items)

    ahead = ReadAhead(counting, fill, [[n] for n in range(9)], [Room(), Room()], 1)
    threads = [threading.Thread(target=ahead.work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    first, raw = ahead.next()
    ahead.next()
    time.sleep(0.05)
    assert raw.rows == [0] and len(begun) == 2
    ahead.give_back(first)
    assert ahead.next()[1].rows == [4] and len(begun) == 3
    ahead.stop()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()


def test_a_fault_is_raised_when_its_batch_is_due_and_is_that_of_its_first_row():
    def faulty(raw: Room, rows: range) -> None:
        for row in rows:
            if raw.items[row] >= 7:
                time.sleep(0.02 * (raw.items[row] == 7))  # the later row fails first
                raise ValueError(raw.items[row])
        fill(raw, rows)

    seen = []
    ahead = ReadAhead(begin, faulty, [[1, 2], [3, 7, 0, 8], [4]], [Room(), Room()], 2)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(ahead.work)
        buffer, raw = ahead.next()
        seen.append(raw.rows)
        ahead.give_back(buffer)
        with pytest.raises(ValueError, match=r"^7$"):
            ahead.next()
        ahead.stop()
    assert seen == [[1, 4]]


def test_a_batch_that_cannot_be_begun_is_a_fault_too():
    def refusing(buffer: Room, items: list[int]) -> Room:
        if items == [5]:
            raise KeyError("label")
        return begin(buffer, items)

    with pytest.raises(KeyError, match="label"):
        run([[1], [5], [2]], threads=2, buffers=2, parts=1, begin=refusing)


def test_a_consumer_that_leaves_early_lets_the_threads_end():
    assert run([[n] for n in range(100)], threads=4, buffers=3, parts=1, stop_after=2) == [[0], [1]]
