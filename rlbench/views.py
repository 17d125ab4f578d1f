"""Views: the rows that a method trains on, made of worked solutions or of the rollout bank.

Pure functions from records to ``TrainingSequence`` lists. Each keeps the order of its input, so the same records give
the same rows; problems stand in the order in which they first appear. Token ids of rollouts are kept as they were
sampled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlbench import models
from rlbench.records import (
    Problem,
    Rollout,
    StageFailure,
    TrainingSequence,
    UserError,
    read_problems,
    read_records,
    write_records,
)

EncodePrompt = Callable[[Problem], list[int]]
EncodeCompletion = Callable[[str], list[int]]


def demonstrations(
    problems: Sequence[Problem], encode_prompt: EncodePrompt, encode_completion: EncodeCompletion
) -> list[TrainingSequence]:
    """Every problem's worked solution, with reward 1; problems without one are left out.

    Raises:
        StageFailure: no problem has a solution.
    """
    solved = [problem for problem in problems if problem.solution]
    if not solved:
        raise StageFailure(f"no demonstration: none of the {len(problems)} problems has a solution")
    return [
        TrainingSequence(unit, problem.id, encode_prompt(problem), encode_completion(problem.solution or ""), [], 1.0)
        for unit, problem in enumerate(solved)
    ]


def correct(rollouts: Sequence[Rollout]) -> list[TrainingSequence]:
    """Every rollout that was graded correct, one row a sample, without de-duplication.

    Raises:
        StageFailure: none was.
    """
    kept = [rollout for rollout in rollouts if rollout.verdict == "correct"]
    if not kept:
        raise StageFailure(f"no correct rollout among {len(rollouts)}")
    return [_sequence(unit, rollout, 1.0) for unit, rollout in enumerate(kept)]


def pairs(rollouts: Sequence[Rollout], per_problem: int = 1, seed: int = 0) -> list[TrainingSequence]:
    """Correct (chosen, reward 1) beside not correct (rejected, reward 0) samples of one problem, as units of two,
    chosen first.

    A problem gives at most ``per_problem`` pairs, and none of its samples stands in two. Which samples are taken is a
    shuffle by ``seed`` that depends on the problem and its samples alone, not on the rest of the bank.

    Raises:
        StageFailure: no problem has both kinds.
        UserError: ``per_problem`` is not positive.
    """
    if per_problem < 1:
        raise UserError(f"`per_problem` of the view rollouts.pairs must be at least 1, not {per_problem}")
    rows: list[TrainingSequence] = []
    for problem, samples in _by_problem(rollouts).items():
        shuffled = sorted(samples, key=lambda rollout: _draw(seed, problem, rollout.sample_index))
        right = [rollout for rollout in shuffled if rollout.verdict == "correct"]
        wrong = [
            rollout for rollout in shuffled if rollout.verdict in ("wrong", "unparsed")
        ]  # never one that could not be graded
        for chosen, rejected in list(zip(right, wrong, strict=False))[:per_problem]:
            unit = len(rows) // 2
            rows += [_sequence(unit, chosen, 1.0), _sequence(unit, rejected, 0.0)]
    if not rows:
        count = len(_by_problem(rollouts))
        raise StageFailure(
            f"no pair: none of {count} problems has both a correct and a wrong rollout ({len(rollouts)} rollouts)"
        )
    return rows


def groups(rollouts: Sequence[Rollout]) -> list[TrainingSequence]:
    """Every rollout with the bank's reward, the samples of one problem next to each other; nothing is dropped.

    A sequence is a unit of its own; ``group`` says which belong together.

    Raises:
        StageFailure: there is no rollout.
    """
    ordered = [rollout for samples in _by_problem(rollouts).values() for rollout in samples]
    if not ordered:
        raise StageFailure("no rollout: the bank is empty")
    return [_sequence(unit, rollout, rollout.reward) for unit, rollout in enumerate(ordered)]


@dataclass(frozen=True)
class View:
    """A view by name: its function, the artifact that it reads, and its options with their defaults."""

    function: Callable[..., list[TrainingSequence]]
    reads: Literal["problems", "rollouts"]
    options: Mapping[str, Any] = field(default_factory=dict)


VIEWS: dict[str, View] = {
    "demonstrations": View(demonstrations, "problems"),
    "rollouts.correct": View(correct, "rollouts"),
    "rollouts.pairs": View(pairs, "rollouts", {"per_problem": 1, "seed": 0}),
    "rollouts.groups": View(groups, "rollouts"),
}


def with_prompts(rollouts: Iterable[Rollout], prompts: Mapping[str, list[int]]) -> list[Rollout]:
    """The rollouts with other prompt ids, by problem: for training on another template than the one that was sampled
    from.

    After another prompt the sampler's log-probabilities are of something else, so they are left out.

    Raises:
        StageFailure: a rollout's problem has no prompt.
    """
    replaced = []
    for rollout in rollouts:
        if rollout.problem_id not in prompts:
            raise StageFailure(f"rollout of problem {rollout.problem_id!r}: the view's problems do not hold it")
        prompt = prompts[rollout.problem_id]
        same = list(rollout.prompt_ids) == list(prompt)
        replaced.append(rollout if same else dataclasses.replace(rollout, prompt_ids=prompt, sampler_logp=[]))
    return replaced


def bound_length(
    sequences: Sequence[TrainingSequence], max_length: int | None, over_length: Literal["drop", "truncate"]
) -> tuple[list[TrainingSequence], int]:
    """Bound prompt + completion to ``max_length`` tokens; returns what is left, units renumbered from 0, and how many
    were dropped.

    ``truncate`` cuts completions on the right. Where that leaves no completion token, and wherever ``drop`` meets a
    sequence that is over length, the whole unit goes: half a pair cannot be trained on. Completions without a token go
    too.

    Raises:
        StageFailure: nothing is left.
    """
    cut = [_cut(sequence, max_length) if over_length == "truncate" else sequence for sequence in sequences]
    limit = float("inf") if max_length is None else max_length
    bad = {row.unit for row in cut if not row.token_ids or len(row.prompt_ids) + len(row.token_ids) > limit}
    units: dict[int, int] = {}
    kept = []
    for row in cut:
        if row.unit not in bad:
            unit = units.setdefault(row.unit, len(units))
            kept.append(row if row.unit == unit else dataclasses.replace(row, unit=unit))
    if not kept:
        raise StageFailure(f"none of {len(sequences)} sequences fits into max_length = {max_length} tokens")
    return kept, len(sequences) - len(kept)


def build(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: Any) -> None:
    """Stage function: write a view to ``sequences.parquet``, and its size to ``view.json``.

    ``config`` holds ``view``, ``options``, ``template`` (text with ``{problem}``), ``max_length`` and ``over_length``.
    The view of demonstrations reads the input ``problems``; the others read ``rollouts``, whose prompts are encoded
    anew from the template if ``problems`` is an input too, and kept as sampled if it is not. ``model`` gives the
    tokenizer. Counts ``sequences``.

    Raises:
        StageFailure: nothing is left to train on.
        UserError: the view or an option is unknown.
    """
    view, options = resolve(config["view"], config.get("options") or {})
    problems = read_problems(inputs["problems"] / "problems.jsonl") if "problems" in inputs else []
    tokenizer: Any = models.load_tokenizer(inputs["model"]) if "problems" in inputs else None

    def prompts_of(wanted: Sequence[Problem]) -> dict[str, list[int]]:
        prompts = models.encode_prompts(tokenizer, config["template"], wanted, context.note)
        return {problem.id: prompt for problem, prompt in zip(wanted, prompts, strict=True)}

    if view.reads == "problems":
        solved = [problem for problem in problems if problem.solution]
        prompts, ids = prompts_of(solved), models.encode_solutions(tokenizer, solved, context.note)
        solutions = {problem.solution: row for problem, row in zip(solved, ids, strict=True)}
        sequences = view.function(problems, lambda problem: prompts[problem.id], solutions.__getitem__, **options)
    else:
        rollouts = read_records(inputs["rollouts"] / "rollouts.parquet", Rollout)
        if problems:
            used = {rollout.problem_id for rollout in rollouts}
            rollouts = with_prompts(rollouts, prompts_of([problem for problem in problems if problem.id in used]))
        sequences = view.function(rollouts, **options)
    kept, dropped = bound_length(sequences, config["max_length"], config["over_length"])
    write_records(output / "sequences.parquet", TrainingSequence, kept)
    (output / "view.json").write_text(json.dumps({**size(kept), "dropped_over_length": dropped}, indent=1) + "\n")
    context.count(sequences=len(kept))


def resolve(name: str, options: Mapping[str, Any]) -> tuple[View, dict[str, Any]]:
    """A view by name, with its options' defaults filled in.

    Raises:
        UserError: there is no such view, or it has no such option.
    """
    if name not in VIEWS:
        raise UserError(f"unknown view {name!r}; views: {', '.join(VIEWS)}")
    view = VIEWS[name]
    for key in options:
        if key not in view.options:
            raise UserError(f"view {name!r} has no option {key!r}; options: {', '.join(view.options) or 'none'}")
    return view, {**view.options, **options}


def size(sequences: Sequence[TrainingSequence]) -> dict[str, int]:
    """How much there is to train on: sequences, units, completion tokens, problems."""
    return {
        "sequences": len(sequences),
        "units": len({row.unit for row in sequences}),
        "tokens": sum(len(row.token_ids) for row in sequences),
        "problems": len({row.group for row in sequences}),
    }


def _sequence(unit: int, rollout: Rollout, reward: float) -> TrainingSequence:
    return TrainingSequence(
        unit, rollout.problem_id, rollout.prompt_ids, rollout.token_ids, rollout.sampler_logp, reward
    )


def _by_problem(rollouts: Iterable[Rollout]) -> dict[str, list[Rollout]]:
    found: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        found.setdefault(rollout.problem_id, []).append(rollout)
    return found


def _draw(seed: int, problem: str, sample: int) -> bytes:
    """A sample's place in the shuffle: a hash, as the shuffles of ``random`` may change between versions of Python."""
    return hashlib.sha256(json.dumps([seed, problem, sample]).encode()).digest()


def _cut(sequence: TrainingSequence, max_length: int | None) -> TrainingSequence:
    if max_length is None or len(sequence.prompt_ids) + len(sequence.token_ids) <= max_length:
        return sequence
    room = max(0, max_length - len(sequence.prompt_ids))
    return dataclasses.replace(sequence, token_ids=sequence.token_ids[:room], sampler_logp=sequence.sampler_logp[:room])
