"""Grading in worker processes that can be killed: an answer that hangs or exhausts math-verify costs itself and nothing
else.

Plain cases (no answer, the gold's own text, two plain numbers) are decided in this process. The others go to workers,
started when first needed, as JSON lines over pipes. Workers are fresh Python processes and not forks: the parent may
hold torch, CUDA, threads or a Ray actor. One whose answer is not back at the wall-clock limit is killed with SIGKILL
and replaced.

No worker outlives its parent: an idle one ends when its input closes, and each answer arms a timer whose signal ends
the process by the kernel's hand, as code stuck inside one huge integer operation would never see a Python handler.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, cast

from rlbench.grading.boxed import last_boxed
from rlbench.grading.extract import Reading, without_markers
from rlbench.grading.registry import DEFAULT, grader_spec
from rlbench.records import UserError, Verdict

Case = tuple[str, str]  # gold, answer

_ROOT = str(Path(__file__).resolve().parents[2])
# The parent's import path, as it is: what stands in the working folder must not shadow a module of the worker.
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:]; from rlbench.grading.pool import serve; "
    "serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))"
)
_START_LIMIT_S = 120.0  # importing sympy takes a second or two, on a machine with idle cores
_RETIRE_AFTER = 2000  # answers, so that what earlier ones left in sympy's caches stays bounded
_CACHE_SIZE = 200_000


@dataclass(frozen=True, slots=True)
class Graded:
    """The verdict on an output, and the answer that was read from it (None where there is none, or one too long to be
    one).
    """

    verdict: Verdict
    answer: str | None


@cache
def shared_grader(name: str = DEFAULT) -> Grader:
    """The one grader of that name in this process, for stages that follow each other: its workers
    and its cache stay.
    """
    return Grader(name)


class Grader:
    """Grades outputs against golds, each answer within ``limit_s`` seconds of wall clock and ``memory_bytes`` of
    address space.

    ``grader`` is of ``rlbench.grading.GRADERS`` (UserError: it is not); ``reading`` says where in an output the answer
    stands, see ``rlbench.grading.extract``.

    Verdicts: ``correct``; ``wrong``; ``unparsed`` (no answer, or none that can be read as mathematics); ``timeout``
    (over the limit; the worker was killed); ``error`` (the worker crashed or ran out of memory). Equal cases are graded
    once. Safe to use from any thread; a context manager that ends its workers, which otherwise end with the object.
    """

    def __init__(
        self,
        grader: str = DEFAULT,
        limit_s: float = 5.0,
        memory_bytes: int = 2 << 30,
        workers: int = 1,
        reading: Reading = "box",
    ) -> None:
        if limit_s <= 0 or workers < 1:
            raise ValueError(f"a grader needs a positive limit and at least one worker, not {limit_s} s and {workers}")
        self.spec = grader_spec(grader)
        self.name, self.version, self.reading = self.spec.name, self.spec.version, reading
        self._rules = self.spec.rules()
        self.limit_s, self.memory_bytes, self.workers = limit_s, memory_bytes, workers
        self._idle: list[_Worker] = []
        self._cache: dict[Case, Verdict] = {}
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _end, self._idle)

    def grade(self, cases: Iterable[tuple[str, str]]) -> list[Graded]:
        """Grade (gold, output) pairs; results stand in the order of the pairs.

        Raises:
            UserError: a worker process cannot be started, for instance as math-verify is not installed.
        """
        answers = [self._read(gold, output) for gold, output in cases]
        verdicts: dict[Case, Verdict] = {}
        hard: dict[Case, None] = {}
        for gold, answer in answers:
            if answer is None or (gold, answer) in verdicts or (gold, answer) in hard:
                continue
            verdict: Verdict | None = "correct" if gold.strip() == answer else self._rules.fast(gold, answer)
            if verdict is None:
                hard[gold, answer] = None
            else:
                verdicts[gold, answer] = verdict
        if hard:
            with self._lock:
                verdicts.update(self._grade_hard(list(hard)))
        return [Graded("unparsed" if answer is None else verdicts[gold, answer], answer) for gold, answer in answers]

    def _read(self, gold: str, output: str) -> tuple[str, str | None]:
        whole = gold.strip()
        gold = self._rules.read_gold(gold, self.reading)
        if without_markers(output).strip() == whole and (self.reading == "final" or last_boxed(whole) is not None):
            return gold, gold.strip()  # an output that is the gold says what the gold says
        return gold, self._rules.read(output, gold, self.reading)

    def close(self) -> None:
        """End the worker processes; the next ``grade`` that needs one starts it again."""
        with self._lock:
            _end(self._idle)

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _grade_hard(self, cases: Sequence[Case]) -> dict[Case, Verdict]:
        known = {case: self._cache[case] for case in cases if case in self._cache}
        todo = [case for case in cases if case not in known]
        new = _Batch(self, todo).run() if todo else {}
        if len(self._cache) + len(new) > _CACHE_SIZE:
            self._cache.clear()
        # A time-out or a crash may be the machine's doing and not the answer's: such a case is tried again when it is
        # asked again.
        self._cache.update({case: verdict for case, verdict in new.items() if verdict not in ("timeout", "error")})
        return {**known, **new}

    def take_worker(self) -> _Worker:
        """An idle worker that lives, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None and worker.answers < _RETIRE_AFTER:
                return worker
            worker.kill()
        return _Worker(self.name, self.limit_s, self.memory_bytes)

    def give_back(self, worker: _Worker) -> None:
        """Keep a worker that has answered for the next case."""
        self._idle.append(worker)


class _Worker:
    """A worker process as its parent sees it: ``ready`` after its first line, then one line for each case sent."""

    def __init__(self, grader: str, limit_s: float, memory_bytes: int) -> None:
        limits = [str(limit_s), str(memory_bytes)]
        command = [sys.executable, "-c", _PROGRAM, grader, *limits, _ROOT, *(path for path in sys.path if path)]
        # A fixed hash seed: sympy's order of terms, and with it its time and now and then its result, follows string
        # hashes.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # an interrupt from the keyboard is for the parent
        )
        self.ready, self.answers, self.deadline = False, 0, time.monotonic() + _START_LIMIT_S
        self.case: Case | None = None
        self._buffer = b""

    @property
    def output(self) -> IO[bytes]:
        """The pipe that its lines come from."""
        assert self.process.stdout is not None
        return self.process.stdout

    def send(self, limit_s: float) -> None:
        """Send ``case``, once ready; its time starts now. BrokenPipeError when the worker is gone."""
        assert self.process.stdin is not None and self.case is not None
        line = json.dumps(self.case).encode() + b"\n"
        self.deadline = time.monotonic() + limit_s
        while line:
            line = line[self.process.stdin.write(line) or 0 :]

    def receive(self) -> str | None:
        """The next line if one is complete, else None. EOFError when the worker is gone."""
        data = os.read(self.output.fileno(), 65536)
        if not data:
            raise EOFError
        self._buffer += data
        if b"\n" not in self._buffer:
            return None
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    def kill(self) -> None:
        """End the process at once and reap it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()


class _Batch:
    """One call's hard cases on their way through the workers: an event loop in the calling thread."""

    def __init__(self, grader: Grader, cases: Sequence[Case]) -> None:
        self.grader, self.queue = grader, deque(cases)
        self.verdicts: dict[Case, Verdict] = {}
        self.selector = selectors.DefaultSelector()
        self.busy: list[_Worker] = []

    def run(self) -> dict[Case, Verdict]:
        """The verdict of every case. Whatever goes wrong, no worker is left with a case that nobody waits for."""
        try:
            while self.queue or self.busy:
                while self.queue and len(self.busy) < self.grader.workers:
                    self._assign(self.grader.take_worker())
                if self.busy:
                    self._wait()
        except BaseException:
            for worker in self.busy:
                worker.kill()
            raise
        finally:
            self.selector.close()
        return self.verdicts

    def _assign(self, worker: _Worker) -> None:
        worker.case = self.queue.popleft()
        self.busy.append(worker)
        self.selector.register(worker.output, selectors.EVENT_READ, worker)
        if worker.ready:
            self._send(worker)

    def _send(self, worker: _Worker) -> None:
        try:
            worker.send(self.grader.limit_s)
        except BrokenPipeError:  # it died before it saw the case, so the case is not to blame
            assert worker.case is not None
            self.queue.appendleft(worker.case)
            self._release(worker)
            worker.kill()

    def _wait(self) -> None:
        nearest = min(worker.deadline for worker in self.busy)
        for key, _ in self.selector.select(max(0.0, nearest - time.monotonic())):
            self._hear(key.data)
        now = time.monotonic()
        for worker in [w for w in self.busy if w.deadline <= now]:
            if not worker.ready:
                raise UserError(f"the grader's worker process did not start within {_START_LIMIT_S:g} s")
            self._finish(worker, "timeout")

    def _hear(self, worker: _Worker) -> None:
        try:
            line = worker.receive()
        except EOFError:
            if not worker.ready:
                raise UserError(
                    f"the grader's worker process ended at its start (exit code {worker.process.wait()})"
                ) from None
            self._finish(worker, "error")
            return
        if line is None:
            return
        if worker.ready:
            worker.answers += 1
            self._finish(worker, cast(Verdict, line))
        elif line == "ready":
            worker.ready = True
            self._send(worker)
        else:
            raise UserError(f"the grader's worker process cannot start: {line}")

    def _finish(self, worker: _Worker, verdict: Verdict) -> None:
        assert worker.case is not None
        self.verdicts[worker.case] = verdict
        self._release(worker)
        if verdict in ("timeout", "error"):
            worker.kill()
        else:
            self.grader.give_back(worker)

    def _release(self, worker: _Worker) -> None:
        self.selector.unregister(worker.output)
        self.busy.remove(worker)
        worker.case = None


def _end(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().kill()


def serve(grader: str, limit_s: float, memory_bytes: int) -> None:
    """The worker's side: say ``ready``, then answer each line (a JSON pair of gold and answer) with a verdict until
    input ends.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints is not an answer
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        slow = grader_spec(grader).rules().slow
        slow("x + 1", "x + 2")  # imports everything and builds the grammar's tables, outside of any answer's time
    except Exception as error:
        channel.write(f"{type(error).__name__}: {error}".replace("\n", " ") + "\n")
        return
    channel.write("ready\n")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, 2 * limit_s + 1)
        verdict = _guarded(slow, *json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.write(verdict + "\n")


def _guarded(slow: Callable[[str, str], Verdict], gold: str, answer: str) -> Verdict:
    try:
        return slow(gold, answer)
    except Exception:  # MemoryError and RecursionError, and whatever a parser of arbitrary text may still raise
        return "error"
