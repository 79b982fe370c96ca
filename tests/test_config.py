"""carg.config: a TOML file becomes settings, or a list of all its faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carg.config import (
    Asking,
    Config,
    ExpandSettings,
    RunSettings,
    check_config,
    read_config,
    sampling_of,
    shares_of,
    split_address,
)
from carg.errors import ConfigError

WHOLE = """
[run]
folder = "outputs/nightly"
seed = 7
minutes = 50
max-cost = 20.0
[expand]
domains = ["beekeeping", "retail_banking"]
tools = 2000
backend = "openai/gpt-5-mini"
max_cost = 5
[generate]
exchanges = 40000
[filter]
[finetune]
init = "tiny"
steps = 100
lora-rank = 0
"""


def test_a_file_becomes_settings(tmp_path: Path) -> None:
    """Names are those of the flags, with - or _; what a file does not say has the default of the flag."""
    (tmp_path / "run.toml").write_text(WHOLE)

    config = read_config(tmp_path / "run.toml")

    assert config.run == RunSettings("outputs/nightly", 7, 50, 20.0)
    assert config.folder == Path("outputs/nightly")
    asking = Asking(backend="openai/gpt-5-mini", max_cost=5)
    assert config.expand == ExpandSettings(("beekeeping", "retail_banking"), 2000, 4, asking)
    assert config.generate is not None
    assert config.generate.asking == Asking()
    assert config.filter is not None
    assert config.finetune == {"init": "tiny", "steps": 100, "lora_rank": 0}


def test_a_stage_without_a_table_is_not_walked() -> None:
    """The tables say which stages there are."""
    config, faults = check_config({"filter": {"workers": 1}})

    assert faults == []
    assert (config.expand, config.generate, config.finetune) == (None, None, None)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """Every fault is one line with file, table, key, and what it should be."""
    path = tmp_path / "run.toml"
    path.write_text(
        'speed = 1\n[run]\nminuets = 5\nseed = "x"\n[expand]\ntools = 0\ndomains = [1]\nbackend = "a=0.7,b=0.7"\n'
        '[generate]\nexchanges = true\n[finetune]\ninit = "huge"\nsteps = 1.5\nseed = 2\n[filtre]\n'
    )

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    assert sorted(line.removeprefix(f"{path}: ") for line in caught.value.message.split("\n")) == sorted(
        [
            "[speed] is unknown; there are run, expand, generate, filter, finetune",
            "[filtre] is unknown; did you mean filter?",
            "[run] minuets is unknown; did you mean minutes?",
            "[run] seed = 'x': must be a whole number",
            "[expand] tools = 0: must be above 0",
            "[expand] domains = [1]: must be a list of texts",
            "[expand] backend 'a=0.7,b=0.7': the shares do not make 1",
            "[generate] exchanges = True: must be a whole number",
            "[finetune] init = 'huge': must be one of 'tiny', 'small', '1.5b'",
            "[finetune] steps = 1.5: must be a whole number",
            next(line for line in caught.value.message.split("\n") if "[finetune] seed" in line).removeprefix(
                f"{path}: "
            ),
        ]
    )


@pytest.mark.parametrize(
    ("text", "words"), [("[run", "not TOML"), ("", "no stage to walk"), ("run = 1\n[filter]", "must be a table")]
)
def test_what_is_no_config_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """A file that is no TOML, names no stage, or is not there."""
    (tmp_path / "run.toml").write_text(text)

    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path / "run.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("backend", "shares"),
    [
        ("openai/gpt-5-mini", {"openai/gpt-5-mini": 1.0}),
        ("b=0.25, a=0.75", {"a": 0.75, "b": 0.25}),
        ("replay:x=1,y.jsonl", {"replay:x=1,y.jsonl": 1.0}),
        ("a=1", {"a": 1.0}),
    ],
)
def test_models_by_share(backend: str, shares: dict[str, float]) -> None:
    """Shares in any order mean the same; a name that only looks a bit like shares is a name."""
    found = shares_of(backend)

    assert found == shares
    assert list(found) == sorted(found)


@pytest.mark.parametrize("backend", ["a=0.5,b=0.4", "a=0.5,a=0.5"])
def test_shares_must_make_one(backend: str) -> None:
    """Neither less than 1 together, nor a model twice."""
    with pytest.raises(ConfigError, match="do not make 1"):
        shares_of(backend)


TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["seed", "tools", "domains", "backend", "width", "init", "exchanges", "minutes", "max-cost"])


@given(
    st.dictionaries(
        st.sampled_from(["run", "expand", "generate", "filter", "finetune", "x"]), st.dictionaries(NAMES, TOML) | TOML
    )
)
def test_no_file_makes_it_crash(raw: dict[str, object]) -> None:
    """Whatever the tables hold, there are settings and a list of faults; with no fault, every value has its type."""
    config, faults = check_config(raw)

    assert isinstance(config, Config)
    if not faults and config.expand is not None:
        assert all(isinstance(name, str) for name in config.expand.domains)
        assert config.expand.tools is None or type(config.expand.tools) is int


@pytest.mark.parametrize(
    ("backend", "parts"),
    [
        ("m@http://gpu:8000/v1", ("m", "http://gpu:8000/v1")),
        ("org/m@https://a.b", ("org/m", "https://a.b")),
        ("openai/gpt-5-mini", ("openai/gpt-5-mini", "")),
        ("@cf/meta/llama", ("@cf/meta/llama", "")),
    ],
)
def test_a_model_may_have_a_server_of_its_own(backend: str, parts: tuple[str, str]) -> None:
    """MODEL@URL, alone or with a share; an @ without an address is part of the name."""
    assert split_address(backend) == parts
    assert shares_of(f"{backend}=0.25,z=0.75") == {backend: 0.25, "z": 0.75}


def test_an_address_does_not_change_the_order_of_models() -> None:
    """So slots keep their models when a server moves."""
    order = [[split_address(name)[0] for name in shares_of(f"b@http://{host}=0.5,a=0.5")] for host in ("x", "y:1")]

    assert order == [["a", "b"]] * 2


def test_sampling_is_read_as_json_or_text() -> None:
    """Numbers, lists and flags as such, all else as text; the temperature among them."""
    options = ("reasoning_effort=low", "top_p=0.9", 'stop=["a"]', "user=a=b")

    found = sampling_of(Asking(temperature=0.5, sampling=options))

    assert found == {"temperature": 0.5, "reasoning_effort": "low", "top_p": 0.9, "stop": ["a"], "user": "a=b"}


@pytest.mark.parametrize("options", [("top_p",), ("=1",), ("top_p=1", "top_p=2"), ("api_base=http://x",)])
def test_sampling_that_cannot_be_is_told(options: tuple[str, ...]) -> None:
    """No name, no value, the same twice, or what is not the model's business."""
    with pytest.raises(ConfigError):
        sampling_of(Asking(sampling=options))
    _, faults = check_config({"expand": {"sampling": list(options)}})
    assert len(faults) == 1
