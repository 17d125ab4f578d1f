"""Does a model know a benchmark by heart? It is shown the first part of each problem and asked, greedily, to go on.

A model that has not seen a problem cannot complete its text, and cannot answer a question that it was not asked. Wu et
al. 2025 (arXiv:2507.10532) found Qwen2.5 models completing more than half of MATH-500's problems word by word from 60 %
of them, and next to none of problems that were published later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlbench.records import Probe, read_problems, write_records
from rlbench.sampling.engine import SamplingParams

if TYPE_CHECKING:
    from rlbench.graph.stage import StageContext


def probe(config: Mapping[str, Any], inputs: Mapping[str, Path], output: Path, context: StageContext) -> None:
    """Stage function: write ``probes.parquet``, one ``Probe`` a problem of ``inputs["problems"]`` that has two words or
    more.

    ``config`` holds ``share`` (of a problem's words that are shown), ``template``, ``max_new_tokens``, and what decides
    the engine. Counts ``tokens`` sampled and ``samples``.
    """
    from rlbench.grading.pool import shared_grader
    from rlbench.models import encode_prompts
    from rlbench.sampling.engines import kept_engine
    from rlbench.sampling.rollouts import progress_of, sample

    engine, tokenizer, stop_ids = kept_engine(config, inputs["model"], context)
    problems = [
        problem for problem in read_problems(inputs["problems"] / "problems.jsonl") if len(problem.problem.split()) > 1
    ]
    cut = [truncate(problem.problem, config["share"]) for problem in problems]
    shown = [dataclasses.replace(problem, problem=text) for problem, (text, _) in zip(problems, cut, strict=True)]
    prompts = encode_prompts(tokenizer, config["template"], shown, context.note)
    params = SamplingParams(0.0, config["max_new_tokens"], stop_ids)
    grader = shared_grader(config["grader"]["name"])
    rollouts = sample(engine, tokenizer, grader, shown, prompts, params, 1, ("contamination",), progress_of(context))
    probes = [
        Probe(
            benchmark=config["benchmark"],
            problem_id=r.problem_id,
            share=config["share"],
            rest=rest,
            completion=r.text,
            verbatim=is_verbatim(rest, r.text),
            rouge_l=rouge_l(rest, r.text),
            verdict=r.verdict,
        )
        for r, (_, rest) in zip(rollouts, cut, strict=True)
    ]
    write_records(output / "probes.parquet", Probe, probes)
    context.count(tokens=sum(len(r.token_ids) for r in rollouts), samples=len(rollouts))


def truncate(text: str, share: float) -> tuple[str, str]:
    """The first ``share`` of a text's words, at least one and never all, as they stand there; and the rest."""
    words = text.split()
    shown = min(max(1, round(share * len(words))), len(words) - 1)
    end = 0
    for word in words[:shown]:
        end = text.index(word, end) + len(word)
    return text[:end], text[end:].strip()


def is_verbatim(rest: str, completion: str) -> bool:
    """True where a completion begins with the rest, word by word; how they are spaced does not count."""
    wanted = rest.split()
    return completion.split()[: len(wanted)] == wanted


def rouge_l(rest: str, completion: str) -> float:
    """The longest common subsequence of words, as a share of the rest's (Lin 2004, ROUGE-L recall), in [0, 1].

    The completion is cut to as many words as the rest has.
    """
    wanted = rest.split()
    return _common(wanted, completion.split()[: len(wanted)]) / len(wanted)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
