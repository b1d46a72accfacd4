"""``--mix f.json``: several workloads in one run, by weight.

The file is a list of parts: ``[{"weight": 3, "label": "chat", "dataset-name": "sharegpt",
"dataset-path": "s.json"}, {"weight": 1, "label": "long", "dataset-name": "random", "input-len":
8000}]``. A part takes dataset flags by name; flags that it omits come from the command line. Each
of the ``--num-prompts`` requests belongs to a part drawn by weight and seed, and has its label. A
part's seed is the run's seed plus its index, so that two equal parts differ.

Either all parts have recorded times (each trace starts at 0) or none has.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig, part_config
from llmbench_locust.workload.files import read_json
from llmbench_locust.workload.one_dataset import load_dataset
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of the file. ``flags``: its dataset flags, by name."""

    weight: float
    label: str
    flags: Json


def load(
    config: RunConfig, tokenizer: Tokenizer | None, progress: Progress = silent
) -> list[SampleRequest]:
    """The requests of all parts, interleaved. Raises ConfigError with file and entry."""
    parts = read_parts(config.mix or "")
    order = random.Random(config.seed).choices(
        range(len(parts)), [p.weight for p in parts], k=config.num_prompts
    )
    counts = Counter(order)
    shares: list[list[SampleRequest]] = []
    timed: list[bool] = []
    for i, part in enumerate(parts):
        try:
            # At least one, so that a part that was never drawn is checked, too.
            own = part_config(
                config, {"seed": (config.seed + i) % 2**32} | part.flags, max(1, counts[i])
            )
            timed.append(own.self_timed)
            samples = load_dataset(
                own, tokenizer, _shifted(progress, sum(map(len, shares)), config.num_prompts)
            )
        except ConfigError as e:
            raise ConfigError(f"--mix: {config.mix!r} entry {i + 1}: {e}") from None
        shares.append([_of_part(sample, part, own, config) for sample in samples[: counts[i]]])
    if len(set(timed)) > 1:
        untimed = timed.index(False) + 1
        what = f"entry {timed.index(True) + 1} has recorded times, entry {untimed} has none"
        advice = 'all or none must have them ("self-timed": false ignores them)'
        raise ConfigError(f"--mix: {config.mix!r} {what}; {advice}")
    return interleave([_from_zero(share) for share in shares], order, config.request_id_prefix)


def read_parts(path: str) -> list[Part]:
    data = read_json(path, "--mix")
    if not isinstance(data, list) or not data:
        raise ConfigError(f"--mix: {path!r} is not a list of one or more entries")
    parts = [_part(entry, f"--mix: {path!r} entry {i}") for i, entry in enumerate(data, 1)]
    labels = Counter(part.label for part in parts)
    label, times = labels.most_common(1)[0]
    if times > 1:
        raise ConfigError(
            f"--mix: {path!r}: {times} entries have the label {label!r}; give each its own 'label'"
        )
    return parts


def interleave(
    shares: list[list[SampleRequest]], order: list[int], prefix: str
) -> list[SampleRequest]:
    """The requests of all shares, renumbered: ``order`` names the share of each next request.

    Exhausted shares are skipped. Conversations get numbers that are unique across shares.
    """
    first_conversation, offsets = 0, []
    for share in shares:
        offsets.append(first_conversation)
        first_conversation += 1 + max(
            (s.conversation for s in share if s.conversation is not None), default=-1
        )
    left = [iter(share) for share in shares]
    found: list[SampleRequest] = []
    for i in order:
        sample = next(left[i], None)
        if sample is not None:
            conversation = None if sample.conversation is None else sample.conversation + offsets[i]
            found.append(
                replace(sample, request_id=f"{prefix}{len(found)}", conversation=conversation)
            )
    return found


def _part(entry: object, where: str) -> Part:
    if not isinstance(entry, dict):
        what = "'weight', 'label', 'dataset-name' and flags of the dataset"
        raise ConfigError(f"{where} is not an object with {what}")
    flags = {key.removeprefix("--").replace("_", "-"): value for key, value in entry.items()}
    weight, label = flags.pop("weight", 1), flags.pop("label", flags.get("dataset-name"))
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0 < weight < float("inf"):
        raise ConfigError(f"{where}: weight {weight!r} is not allowed; use a number above 0")
    if not isinstance(flags.get("dataset-name"), str):
        raise ConfigError(f"{where} has no 'dataset-name'")
    if not isinstance(label, str) or not label:
        raise ConfigError(f"{where}: label {label!r} is not allowed; use a string")
    if "num-prompts" in flags:
        raise ConfigError(f"{where}: 'num-prompts' is for the whole run; give a 'weight'")
    return Part(float(weight), label, flags)


def _of_part(sample: SampleRequest, part: Part, own: RunConfig, config: RunConfig) -> SampleRequest:
    overrides = sample.body_overrides
    if own.ignore_eos and not config.ignore_eos:
        # For this part only.
        wanted: Json = {"ignore_eos": True}
        nested = own.backend_info.nested
        overrides = {**(overrides or {}), **({nested: wanted} if nested else wanted)}
    return replace(sample, label=part.label, body_overrides=overrides)


def _from_zero(share: list[SampleRequest]) -> list[SampleRequest]:
    times = [s.due_s for s in share if s.due_s is not None]
    if not times:
        return share
    start = min(times)
    return [replace(s, due_s=None if s.due_s is None else s.due_s - start) for s in share]


def _shifted(progress: Progress, done: int, total: int) -> Progress:
    return lambda own, _: progress(min(done + own, total), total)
