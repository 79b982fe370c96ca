"""What `carg run` is told: one TOML file, read and checked into frozen settings; the names are those of the flags.

    [run]       folder, seed, minutes, max-cost, max-tokens
    [expand]    domains, tools, instances, and how a model is asked
    [generate]  exchanges, workers, and how a model is asked
    [filter]    workers
    [finetune]  dataset, out, init or base, steps, epochs, ...: the flags of `carg finetune`

A stage is walked when its table is there. Nothing is read here but the file: no domain, no run, no model.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from carg.errors import ConfigError

STAGES = ("expand", "generate", "filter", "finetune")

_SHARE = re.compile(r"(.+)=(\d*\.?\d+)")
_ADDRESS = re.compile(r"(.+?)@(https?://.+)")
_OURS = {
    "api_key",
    "api_base",
    "base_url",
    "timeout",
    "max_retries",
    "num_retries",
    "model",
    "messages",
    "response_format",
    "stream",
    "n",
    "tools",
}
_MAY_BE_ZERO = {
    "seed",
    "queries",
    "temperature",
    "warmup",
    "beta2",
    "lora_rank",
    "eval_every",
    "eval_rows",
    "max_failed",
    "weight_decay",
    "context_weight",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked, and what it may cost."""

    backend: str = "world"
    """world, a litellm model, MODEL@URL, replay:FILE, gtm:DIR, or several models by share: a=0.7,b@URL=0.3."""
    api_base: str | None = None
    width: int = 32
    """Calls in flight."""
    temperature: float | None = None
    sampling: tuple[str, ...] = ()
    """Further options of the model, NAME=VALUE: reasoning_effort=low, top_p=0.9."""
    rpm: float | None = None
    """Requests a minute that each model allows."""
    tpm: float | None = None
    """Tokens a minute that each model allows."""
    max_cost: float | None = None
    """US dollars of one visit to the stage."""
    max_tokens: int | None = None
    max_minutes: float | None = None
    timeout: float = 300.0
    """Seconds that a call may take."""
    max_failed: float = 0.1
    """Share of slots that may fail; above it the stage ends with exit 3, its records kept."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The run as a whole. Money and tokens are counted over all visits, minutes are of one visit."""

    folder: str = "outputs/run"
    seed: int = 0
    minutes: float | None = None
    max_cost: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ExpandSettings:
    """As the flags of `carg expand`."""

    domains: tuple[str, ...] = ()
    tools: int | None = None
    instances: int = 4
    asking: Asking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """As the flags of `carg generate`."""

    exchanges: int = 4000
    queries: int = 0
    """Queries of people, written by the model besides."""
    session_mode: Literal["stepwise", "whole"] = "stepwise"
    workers: int | None = None
    asking: Asking = field(default_factory=Asking)


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """As the flags of `carg filter`."""

    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole file. A stage that has no table is None; `finetune` holds the settings that were given."""

    run: RunSettings
    expand: ExpandSettings | None = None
    generate: GenerateSettings | None = None
    filter: FilterSettings | None = None
    finetune: Mapping[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.run.folder)


def read_config(path: Path) -> Config:
    """The settings of a TOML file. Raises ConfigError with all faults at once."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(
            f"{path}: cannot be read: {fault.strerror}", "name a TOML file: carg run --config FILE"
        ) from fault
    except ValueError as fault:
        raise ConfigError(f"{path}: not TOML: {fault}", "mend the line; texts stand in double quotes") from fault
    config, faults = check_config(raw)
    if faults:
        raise ConfigError(
            "\n".join(f"{path}: {fault}" for fault in faults), "names are those of the flags; see docs/runs.md"
        )
    return config


def check_config(raw: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """The settings in the tables of a file, and every fault in them."""
    faults = [f"[{name}] is unknown{_meant(name, ('run', *STAGES))}" for name in raw if name not in ("run", *STAGES)]
    tables = {name: value for name, value in raw.items() if name in ("run", *STAGES)}
    faults += [
        f"{name} = ... must be a table, [{name}]" for name, value in tables.items() if not isinstance(value, dict)
    ]
    tables = {name: value for name, value in tables.items() if isinstance(value, dict)}
    if not tables.keys() & set(STAGES):
        faults.append(f"no stage to walk: give at least one of {', '.join(f'[{name}]' for name in STAGES)}")
    kinds: dict[str, type[Any]] = {"run": RunSettings, "expand": ExpandSettings, "generate": GenerateSettings}
    read = {name: _read(kind, name, tables[name], faults) for name, kind in kinds.items() if name in tables}
    if "filter" in tables:
        read["filter"] = _read(FilterSettings, "filter", tables["filter"], faults)
    if "finetune" in tables:
        read["finetune"] = _read_finetune(tables["finetune"], faults)
    return Config(**{"run": RunSettings(), **read}), faults


def shares_of(backend: str) -> dict[str, float]:
    """Models and their shares, sorted by name: {"a": 0.7, "b": 0.3} of a=0.7,b=0.3; one model has all.

    A model may be on a server of its own, MODEL@URL: sorted by model, then by address, so that an address may change.
    Raises ConfigError when the shares do not make 1.
    """
    found = [_SHARE.fullmatch(part.strip()) for part in backend.split(",")]
    if not all(found):
        return {backend: 1.0}
    shares = {match[1]: float(match[2]) for match in found if match is not None}
    if abs(sum(shares.values()) - 1) > 1e-6 or len(shares) < len(found):
        raise ConfigError(
            f"backend {backend!r}: the shares do not make 1", "as in --backend openai/gpt-5-mini=0.7,openai/o4=0.3"
        )
    return dict(sorted(shares.items(), key=lambda item: split_address(item[0])))


def sampling_of(asking: Asking) -> dict[str, Any]:
    """What the model is asked with, by name; values are JSON, or texts where they are none. Raises ConfigError."""
    found: dict[str, Any] = {} if asking.temperature is None else {"temperature": asking.temperature}
    for option in asking.sampling:
        name, equals, value = option.partition("=")
        if not name.isidentifier() or not equals or name in found:
            said = "is given twice" if name in found else "is no NAME=VALUE"
            raise ConfigError(f"sampling {option!r} {said}", "as in --sampling reasoning_effort=low")
        if name in _OURS:
            raise ConfigError(f"sampling {option!r}: carg sets {name} itself", "leave it out")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def split_address(backend: str) -> tuple[str, str]:
    """Model and address of MODEL@URL; no address where there is none."""
    found = _ADDRESS.fullmatch(backend)
    return (found[1], found[2]) if found else (backend, "")


Settings = TypeVar("Settings")


def _read(kind: type[Settings], table: str, raw: Mapping[str, Any], faults: list[str]) -> Settings:
    """The settings with what the table gives; keys of `asking` stand in the same table."""
    own = _plain(kind)
    asked = _plain(Asking) if any(item.name == "asking" for item in fields(kind)) else {}  # type: ignore[arg-type]
    given = dict(_checked(table, raw, {**own, **asked}, faults))
    values = {name: value for name, value in given.items() if name in own}
    if asked:
        asking = Asking(**{name: value for name, value in given.items() if name in asked})
        values["asking"] = asking
        try:
            shares_of(asking.backend)
            sampling_of(asking)
        except ConfigError as fault:
            faults.append(f"[{table}] {fault.message}")
    return kind(**values)


def _read_finetune(raw: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    from carg.gtm.settings import FinetuneSettings

    hints = {**_plain(FinetuneSettings), "dataset": str, "out": str}
    del hints["seed"]
    return dict(_checked("finetune", raw, hints, faults))


def _plain(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind) if item.name != "asking"}


def _checked(
    table: str, raw: Mapping[str, Any], hints: Mapping[str, Any], faults: list[str]
) -> Iterator[tuple[str, Any]]:
    for key, value in raw.items():
        name = key.replace("-", "_")
        if name not in hints:
            faults.append(f"[{table}] {key} is unknown{_meant(name, hints)}")
            continue
        allowed = _allowed(hints[name])
        if isinstance(value, str) and allowed == "a list of texts":
            value = [value]
        if (complaint := _complaint(name, value, hints[name], allowed)) is not None:
            faults.append(f"[{table}] {key} = {value!r}: {complaint}")
        else:
            yield name, tuple(value) if isinstance(value, list) else value


def _complaint(name: str, value: Any, hint: Any, allowed: str) -> str | None:
    if not _fits(value, hint):
        return f"must be {allowed}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isfinite(value):
        return "must be finite"
    if number and (value < 0 or (value == 0 and name not in _MAY_BE_ZERO)):
        return "must be above 0" if name not in _MAY_BE_ZERO else "must not be below 0"
    return None


def _kinds(hint: Any) -> list[Any]:
    return [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    for kind in _kinds(hint):
        if typing.get_origin(kind) is typing.Literal:
            return value in typing.get_args(kind)
        if isinstance(value, bool):
            return kind is bool
        if isinstance(value, (int, float) if kind is float else kind):
            return True
    return False


def _allowed(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "a list of texts"
    literal = next((kind for kind in (hint, *_kinds(hint)) if typing.get_origin(kind) is typing.Literal), None)
    if literal is not None:
        return f"one of {', '.join(map(repr, typing.get_args(literal)))}"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return " or ".join(names[kind] for kind in _kinds(hint))


def _meant(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
