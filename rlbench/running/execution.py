"""Execution of a run's stages: by which executor, on which cluster, and how many at once."""

from __future__ import annotations

from dataclasses import dataclass

from rlbench.graph.schedule import Executor
from rlbench.records import UserError, nearest

EXECUTORS = ("ray", "local")


@dataclass(frozen=True)
class Execution:
    """The ``executor`` (``ray``: independent stages at once; ``local``: this process, one after the other, for a
    debugger), the ``address`` of a running Ray cluster, and how many stages its ``workers`` run at once.

    Raises:
        UserError: one of them is nothing that can be.
    """

    executor: str = "ray"
    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UserError(
                f"executor {self.executor!r} is none of {', '.join(EXECUTORS)}{nearest(self.executor, EXECUTORS)}"
            )
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers is {self.workers}; it is how many stages run at once, at least 1")

    def open(self, workers: int | None = None) -> Executor:
        """The executor; ``workers`` is the number of a recipe, which counts where none was asked for."""
        if self.executor == "local":
            from rlbench.graph.local_executor import LocalExecutor

            return LocalExecutor()
        from rlbench.graph.ray_executor import RayExecutor

        return RayExecutor(address=self.address, workers=self.workers or workers)


ON_RAY = Execution()  # the default
