"""Only the newest frame waits before each stage, each stage is one thread, jobs run between; warnings don't flood."""

import threading
from dataclasses import asdict

import pytest

from dps_perception.node.parameters import Parameters
from dps_perception.node.pipeline import stages_alone
from dps_perception.node.throttle import Throttle
from dps_perception.node.worker import Counts, Worker


class Slow:
    """Work that can be held up, and knows when it has begun."""

    def __init__(self):
        self.done, self.threads = [], set()
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, item):
        self.threads.add(threading.current_thread())
        self.begun.release()
        assert self.go.acquire(timeout=10)
        if item == "bad":
            raise ValueError("bad item")
        self.done.append(item)


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def errors():
    return []


@pytest.fixture
def worker(slow, errors):
    worker = Worker({"work": slow}, lambda error, source: errors.append(error))
    yield worker
    slow.go.release(100)
    worker.close(10)


def begin(slow):
    assert slow.begun.acquire(timeout=10)


def finish(worker, slow):
    slow.go.release()
    worker.call(lambda: None).result(10)


def test_only_the_newest_waits_and_the_older_are_counted(worker, slow):
    worker.submit(1)
    begin(slow)
    for item in (2, 3, 4):
        worker.submit(item)
    assert worker.counts() == Counts(received=4, done=0, dropped=2)
    finish(worker, slow)
    begin(slow)
    finish(worker, slow)
    assert slow.done == [1, 4]
    assert worker.counts() == Counts(received=4, done=2, dropped=2)


def test_a_failing_item_is_reported_and_the_next_one_done(worker, slow, errors):
    worker.submit("bad")
    begin(slow)
    worker.submit("good")
    slow.go.release()
    begin(slow)
    finish(worker, slow)
    assert [str(e) for e in errors] == ["bad item"]
    assert slow.done == ["good"]
    assert worker.counts() == Counts(received=2, done=1, dropped=0)


def test_jobs_run_between_two_items_on_the_same_thread(worker, slow):
    worker.submit(1)
    begin(slow)
    worker.submit(2)
    ran = worker.call(lambda: (threading.current_thread(), list(slow.done)))
    slow.go.release()
    thread, done = ran.result(10)
    assert done == [1]  # after the item in work, before the waiting one
    begin(slow)
    finish(worker, slow)
    assert slow.threads == {thread}


def test_a_job_hands_its_exception_to_the_caller(worker):
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0).result(10)


def test_drain_waits_for_the_item_in_work_and_drops_the_waiting_one(worker, slow):
    worker.submit(1)
    begin(slow)
    worker.submit(2)
    assert not worker.drain(0.01)
    slow.go.release()
    assert worker.drain(10)
    assert slow.done == [1]
    assert worker.counts() == Counts()


def test_close_ends_the_thread_and_refuses_jobs(slow, errors):
    worker = Worker({"work": slow}, lambda error, source: errors.append(error))
    worker.close(10)
    with pytest.raises(RuntimeError, match="closed"):
        worker.call(lambda: None)
    assert not any(thread.is_alive() for thread in worker._threads)


class Chain:
    """Three stages that can be held up one by one; what a stage hands on is what it got."""

    NAMES = ("decode", "network", "publish")

    def __init__(self, alone=0):
        self.alone, self.errors = alone, []
        self.stages = {name: Slow() for name in self.NAMES}
        links = {name: lambda item, stage=stage: (stage(item), item)[1] for name, stage in self.stages.items()}
        self.worker = Worker(links, lambda error, source: self.errors.append(error), "network", lambda: self.alone)

    def begin(self, name):
        begin(self.stages[name])

    def go(self, *names, times=1):
        for name in names:
            self.stages[name].go.release(times)

    def waiting(self, *expected):
        """Wait until so many items wait before each stage."""
        with self.worker._changed:
            assert self.worker._changed.wait_for(
                lambda: tuple(len(place) for place in self.worker._places) == expected, 10
            )

    def fill(self):
        """1 is published, 2 in the network, 3 decoded."""
        for item, names in ((1, ("decode", "network")), (2, ("decode",)), (3, ())):
            self.worker.submit(item)
            self.begin("decode")
            for name, following in zip(names, self.NAMES[1:], strict=False):
                self.go(name)
                self.begin(following)


@pytest.fixture
def chain():
    made = Chain()
    yield made
    made.go(*Chain.NAMES, times=100)
    made.worker.close(10)


def test_stages_work_on_three_items_at_once_on_threads_of_their_own_and_in_order(chain):
    chain.fill()
    chain.go("publish", times=100)
    chain.go("network")
    chain.begin("publish")
    chain.go("decode", "network")
    assert drained(chain) == Counts(received=3, done=3, dropped=0)
    assert chain.stages["publish"].done == [1, 2, 3]
    assert len(set.union(*(stage.threads for stage in chain.stages.values()))) == 3


def drained(chain):
    """Counts once nothing is on its way."""
    worker = chain.worker
    with worker._changed:
        assert worker._changed.wait_for(lambda: worker._idle(0, 3), 10)
        return worker._counts.get("", Counts())


@pytest.mark.parametrize(
    ("slowest", "waiting"), [("decode", (1, 0, 0)), ("network", (0, 1, 0)), ("publish", (0, 0, 1))]
)
def test_before_each_stage_only_the_newest_waits_and_the_older_are_counted(chain, slowest, waiting):
    chain.go(*(name for name in Chain.NAMES if name != slowest), times=100)
    for item in (1, 2, 3, 4):
        chain.worker.submit(item)
        if item == 1:
            chain.begin(slowest)
        elif slowest != "decode":  # let each come as far as it can
            chain.waiting(*waiting)
            counted(chain, dropped=item - 2)
    assert chain.worker.counts() == Counts(received=4, done=0, dropped=2)
    chain.go(slowest)
    counted(chain, done=1)
    chain.go(slowest)
    assert drained(chain) == Counts(received=4, done=2, dropped=2)
    assert chain.stages["publish"].done == [1, 4]


def counted(chain, **expected):
    """Wait until these counts are as expected."""
    with chain.worker._changed:
        assert chain.worker._changed.wait_for(
            lambda: expected.items() <= asdict(chain.worker._counts.get("", Counts())).items(), 10
        )


@pytest.mark.parametrize("bad", Chain.NAMES)
def test_an_error_in_any_stage_loses_that_item_only(chain, bad):
    def fail(_):
        raise ValueError(f"bad in {bad}")

    index = Chain.NAMES.index(bad)
    good, chain.worker._stages[index] = chain.worker._stages[index], fail
    chain.go(*Chain.NAMES, times=100)
    chain.worker.submit(1)
    assert drained(chain) == Counts(received=1)
    chain.worker._stages[index] = good
    chain.worker.submit(2)
    assert drained(chain) == Counts(received=2, done=1)
    assert [str(e) for e in chain.errors] == [f"bad in {bad}"]
    assert chain.stages["publish"].done == [2]


def test_drain_finishes_what_is_in_every_stage(chain):
    chain.fill()
    chain.worker.submit(4)
    assert not chain.worker.drain(0.01)
    chain.go(*Chain.NAMES, times=100)
    assert chain.worker.drain(10)
    assert chain.stages["publish"].done[:1] + chain.stages["publish"].done[-1:] == [1, 3]
    assert 4 not in chain.stages["decode"].done


def test_close_finishes_what_is_in_every_stage():
    chain = Chain()
    chain.fill()
    chain.worker.submit(4)
    chain.worker.call(lambda: chain.go("decode", "publish", times=100))
    chain.go("network", times=100)
    chain.worker.close(10)
    assert chain.stages["publish"].done[:1] + chain.stages["publish"].done[-1:] == [1, 3]
    assert not any(thread.is_alive() for thread in chain.worker._threads)


def test_jobs_run_between_two_items_of_their_stage_while_the_others_go_on(chain):
    chain.fill()
    ran = chain.worker.call(lambda: (threading.current_thread(), list(chain.stages["network"].done)))
    chain.go("decode")
    chain.waiting(0, 1, 0)
    chain.go("network")
    thread, done = ran.result(10)
    assert done == [1, 2]
    assert chain.stages["network"].threads == {thread}
    assert chain.stages["publish"].done == []  # 1 is still held up there


@pytest.mark.parametrize(("alone", "at_once"), [(2, {1: "publish"}), (1, {1: "publish", 2: "network"})])
def test_an_item_is_taken_up_when_as_many_stages_are_idle_as_asked(chain, alone, at_once):
    chain.alone = alone
    chain.go("decode", times=100)
    for item, name in at_once.items():
        chain.worker.submit(item)
        for passed in Chain.NAMES[: Chain.NAMES.index(name)]:
            chain.begin(passed)
            if passed != "decode":
                chain.go(passed)
        chain.begin(name)
    chain.worker.submit(8)
    chain.worker.submit(9)  # 8 was never decoded
    assert chain.worker.counts().dropped == 1
    assert chain.stages["decode"].done == list(at_once)
    chain.go("publish", times=100)
    with chain.worker._changed:  # or 9 might overtake 2 while it waits for 1
        assert chain.worker._changed.wait_for(lambda: chain.worker._idle(2, 3), 10)
    chain.go("network", times=100)
    drained(chain)
    assert chain.stages["publish"].done == [*at_once, 9]


@pytest.mark.parametrize(
    ("overlap", "device", "cores", "idle"),
    [
        ("auto", "cpu", 2, 2),
        ("auto", "cpu", 4, 0),
        ("auto", "cuda:0", 2, 0),
        ("none", "cuda:0", 8, 2),
        ("publish", "cpu", 2, 1),
        ("all", "cpu", 2, 0),
    ],
)
def test_what_overlaps(overlap, device, cores, idle):
    assert stages_alone(Parameters(overlap=overlap), device, cores) == idle


def test_throttle_logs_the_first_then_counts():
    lines, now = [], [0.0]
    throttle = Throttle(lines.append, 5.0, lambda: now[0])
    for now[0] in (0.0, 1.0, 4.9):
        throttle("step", "wrong step")
    throttle("size", "zero size")
    now[0] = 5.0
    throttle("step", "wrong step")
    assert lines == ["wrong step", "zero size", "wrong step (2 more like this since the last warning)"]
