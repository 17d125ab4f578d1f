"""Differences of two runs: where they part first, in what was asked, in what a stage was given, and in what made it.

A run's manifest has its recipe, its stages' fingerprints and its versions. The configuration, the files' digests and
the machine of a stage stand in the manifest of its artifact, so those are compared where the stores are at hand, and
what could not be compared is said. A new kind of comparison is a function here, called by ``compare``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rlbench.graph.artifact import MissingArtifact, Store
from rlbench.reporting.run import SAMPLE_KEYS, SAMPLES, read_manifest, read_samples
from rlbench.reporting.table import Table, plain, wrap
from rlbench.reporting.text import NONE, one_line

ABSENT = "(absent)"
# What a stage's fingerprint covers, in the order in which a reader wants to hear of it.
COVERED = ("function", "version", "config", "inputs")
Stages = Mapping[tuple[str, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Side:
    """One of the two runs: its folder, its manifest, and the store that its artifacts should be in."""

    folder: Path
    manifest: Mapping[str, Any]
    store: Store

    @classmethod
    def load(cls, folder: Path, store: Path) -> Side:
        """Raises UserError where the folder is no run's."""
        return cls(folder, read_manifest(folder), Store(store, create=False))

    @cached_property
    def stages(self) -> Stages:
        """The run's stages by name, upstream first; the number tells stages of one name apart."""
        seen: Counter[str] = Counter()
        found = {}
        for stage in self.manifest["stages"]:
            found[stage["name"], seen[stage["name"]]] = stage
            seen[stage["name"]] += 1
        return found

    @cached_property
    def names(self) -> dict[str, str]:
        """The stages' names by fingerprint."""
        return {stage["fingerprint"]: stage["name"] for stage in self.manifest["stages"]}

    def artifact(self, fingerprint: str) -> dict[str, Any] | None:
        """The manifest of a stage's artifact with its inputs by name; None where the store does not have it."""
        try:
            with warnings.catch_warnings(action="ignore"):
                found = self.store.manifest(fingerprint)
        except MissingArtifact:
            return None
        inputs = {key: f"{self.names.get(value, 'unknown')} {value[:12]}" for key, value in found["inputs"].items()}
        return {**found, "inputs": inputs}


@dataclass(frozen=True)
class Difference:
    """Two values of one key. ``kind`` says what the key is of: recipe, rows, stage, problems, samples, files, ...;
    ``stage`` which stage, where it is of one; ``more`` how many other keys of that kind differ too.
    """

    kind: str
    key: str
    a: Any
    b: Any
    stage: str | None = None
    more: int = 0


@dataclass(frozen=True)
class Comparison:
    """Each kind's first difference of two runs, in the order in which they arise, and what nobody could compare."""

    differences: list[Difference] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where nothing differs, else 1."""
        return 1 if self.differences else 0


def compare(a: Side, b: Side) -> Comparison:
    """The first difference of each kind: of the recipe, the rows, the problem sets, the stages' configuration, the
    samples, the artifacts' files, the libraries, the checkout and the machine.
    """
    found = Comparison()
    for difference in (
        _first("recipe", a.manifest["recipe"], b.manifest["recipe"]),
        _first("rows", _rows(a), _rows(b)),
        _first("problems", _problem_sets(a), _problem_sets(b)),
        *_stages(a, b, found.not_compared),
        _samples(a, b, found.not_compared),
        _files(a, b, found.not_compared),
        _first("versions", a.manifest.get("versions"), b.manifest.get("versions")),
        _of_stages("versions", a, b, a.stages, b.stages),
        _first("checkout", a.manifest.get("git"), b.manifest.get("git")),
        _first("device", a.manifest.get("device"), b.manifest.get("device")),
        _machine(a, b, found.not_compared),
    ):
        if difference is not None:
            found.differences.append(difference)
    return found


def keys_that_differ(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every dotted key under which two trees of tables and lists differ, in the order of ``a``, then what only ``b``
    has.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        pairs: Iterable[tuple[str, Any, Any]] = (
            (str(key), a.get(key, ABSENT), b.get(key, ABSENT)) for key in dict.fromkeys((*a, *b))
        )
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        pairs = ((str(i), x, y) for i, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        if a != b:
            yield prefix.removesuffix("."), a, b
        return
    for key, x, y in pairs:
        yield from keys_that_differ(x, y, f"{prefix}{key}.")


def _first(kind: str, a: Any, b: Any, stage: str | None = None) -> Difference | None:
    differing = list(keys_that_differ(a, b))
    return Difference(kind, *differing[0], stage=stage, more=len(differing) - 1) if differing else None


def _rows(side: Side) -> dict[str, Any]:
    """Of every row what says how it ended: nothing for one that is filled, else the reasons of its empty cells."""
    return {row["method"]: row["reasons_by_seed"] for row in side.manifest["rows"]}


def _problem_sets(side: Side) -> dict[str, str]:
    return {f"{entry['split']}/{entry['name']}": entry["content"] for entry in side.manifest.get("problem_sets", ())}


def _stages(a: Side, b: Side, not_compared: list[str]) -> Iterator[Difference]:
    """The first stage of both runs whose fingerprint differs, with the first key that makes it differ; and stages that
    one run alone has.
    """
    differing = [key for key in a.stages if key in b.stages and _fingerprint(a, key) != _fingerprint(b, key)]
    if differing:
        name = differing[0][0]
        left, right = (side.artifact(_fingerprint(side, differing[0])) for side in (a, b))
        for side, artifact in ((a, left), (b, right)):
            if artifact is None:
                not_compared.append(f"the configuration of {name} of {side.folder}: not in the store {side.store.root}")
        covered = _covered(left, right, name) if left and right else None
        one, other = (_fingerprint(side, differing[0])[:12] for side in (a, b))
        yield covered or Difference("stage", "fingerprint", one, other, stage=name, more=len(differing) - 1)
    for side, against, place in ((a, b, 0), (b, a, 1)):
        if alone := [key for key in side.stages if key not in against.stages]:
            ours, theirs = ("there", ABSENT) if place == 0 else (ABSENT, "there")
            yield Difference("stage", "only in one run", ours, theirs, stage=alone[0][0], more=len(alone) - 1)


def _covered(a: Mapping[str, Any], b: Mapping[str, Any], name: str) -> Difference | None:
    return _first("stage", {key: a.get(key) for key in COVERED}, {key: b.get(key) for key in COVERED}, stage=name)


def _fingerprint(side: Side, key: tuple[str, int]) -> str:
    return side.stages[key]["fingerprint"]


def _samples(a: Side, b: Side, not_compared: list[str]) -> Difference | None:
    """The first evaluation sample whose output or verdict differs, of those that both runs have."""
    without = [side for side in (a, b) if not (side.folder / SAMPLES).exists()]
    if without:
        not_compared.extend(f"samples: {side.folder} has no {SAMPLES}" for side in without)
        return None
    keys = SAMPLE_KEYS
    left, right = (read_samples(side.folder / SAMPLES)[[*keys, "output", "verdict"]] for side in (a, b))
    both = left.merge(right, on=keys, how="inner", suffixes=("_a", "_b"))
    for column in ("output", "verdict"):
        differing = both[(both[f"{column}_a"] != both[f"{column}_b"]).astype(bool)]
        if len(differing):
            first = differing.iloc[0]
            where = f"{column} of {'/'.join(str(first[key]) for key in SAMPLE_KEYS if key != 'split')}"
            return Difference("samples", where, first[f"{column}_a"], first[f"{column}_b"], more=len(differing) - 1)
    if len(left) != len(right) or len(both) != len(left):
        return Difference("samples", "number of samples", len(left), len(right))
    return None


def _files(a: Side, b: Side, not_compared: list[str]) -> Difference | None:
    """The first artifact of one fingerprint in both runs that has other bytes: the same work with another outcome."""
    if a.store.root == b.store.root:
        return None
    common = [key for key in a.stages if key in b.stages and _fingerprint(a, key) == _fingerprint(b, key)]
    lacking = 0
    for key in common:
        left, right = (side.artifact(_fingerprint(side, key)) for side in (a, b))
        if left is None or right is None:
            lacking += 1
        elif difference := _first("files", _digests(left), _digests(right), stage=key[0]):
            return difference
    if lacking:
        stores = f"{a.store.root} and {b.store.root}"
        not_compared.append(f"the files of {lacking} of {len(common)} stages of one fingerprint: not in {stores} both")
    return None


def _digests(artifact: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry["sha256"][:12] for name, entry in artifact["files"].items()}


def _of_stages(kind: str, a: Side, b: Side, left: Stages, right: Stages) -> Difference | None:
    """The first stage of both runs that tells of other values under the key ``kind``; keys of one side alone, such as
    libraries that only one process had imported, tell nothing.
    """
    for key in left:
        x, y = (stages.get(key, {}).get(kind) for stages in (left, right))
        if x and y:
            common = [name for name in x if name in y]
            if difference := _first(kind, {n: x[n] for n in common}, {n: y[n] for n in common}, stage=key[0]):
                return difference
    return None


def _machine(a: Side, b: Side, not_compared: list[str]) -> Difference | None:
    """The first stage that another machine made."""
    left, right = (
        {key: artifact for key in side.stages if (artifact := side.artifact(_fingerprint(side, key))) is not None}
        for side in (a, b)
    )
    if not any("machine" in artifact for artifact in left.values()) or not any(
        "machine" in artifact for artifact in right.values()
    ):
        not_compared.append("machines: no artifact at hand says which made it")
    return _of_stages("machine", a, b, left, right)


def difference_text(a: Side, b: Side, found: Comparison, width: int) -> str:
    """The comparison on one screen: a line per kind, long values cut; ``--json`` has them whole."""
    rows = tuple(
        (
            difference.kind,
            difference.stage or NONE,
            _short(difference.key, 60),
            _short(difference.a, 24),
            _short(difference.b, 24),
            str(difference.more or NONE),
        )
        for difference in found.differences
    )
    notes = tuple(f"Not compared: {text}." for text in dict.fromkeys(found.not_compared))
    sides = f"A is {a.folder}, B is {b.folder}"
    if not rows:
        return "\n".join([f"No difference: {sides}", *wrap(notes, width)])
    each = "Each line has the first key of its kind that differs, and how many others of that kind do."
    headings = ("", "stage", "key", "A", "B", "others")
    table = Table(f"Where they part: {sides}", headings, rows, text=frozenset(range(5)), notes=(each, *notes))
    return plain(table, width)


def _short(value: Any, width: int) -> str:
    text = one_line(str(value))
    return text if len(text) <= width else f"{text[: width - 1]}…"
