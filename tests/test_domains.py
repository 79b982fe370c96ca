"""The shipped domains are whole and sound, and every fault of a seed is named."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carg import domains
from carg.domains import Seed, domain_folder, find_seed, list_seeds, read_domain, seed_faults
from carg.errors import DomainError

SHIPPED = Path(__file__).parent.parent / "domains"

WORLDS = [
    "agriculture/beekeeping",
    "medicine/pharmacy",
    "travel/hotels",
    "transport/freight",
    "cloud/identity_access",
    "banking/retail_banking",
    "software/issue_tracking",
    "physics/classical_mechanics",
    "markets/options_pricing",
    "property/structural_engineering",
    "robotics/mobile_robots",
    "earth_space/weather_forecasting",
]

HELD_OUT = [
    "accounting/bookkeeping",
    "agriculture/crop_management",
    "banking/mortgage_lending",
    "biology/genomics",
    "business/telecom",
    "chemistry/chemical_kinetics",
    "cloud/dns_management",
    "commerce/pricing_promotions",
    "culture/crafts",
    "data_ai/feature_store",
    "earth_space/climate_modeling",
    "education/course_management",
    "energy/nuclear_plant",
    "environment/wildfire",
    "government/public_procurement",
    "health_services/telehealth",
    "manufacturing/predictive_maintenance",
    "markets/equity_trading",
    "mathematics/probability",
    "media/newsroom",
    "medicine/cardiology",
    "physics/electromagnetism",
    "productivity/email",
    "property/structural_engineering",
    "robotics/warehouse_robots",
    "security/fraud_detection",
    "software/api_gateway",
    "sports_games/fantasy_sports",
    "transport/freight",
    "travel/visas",
]

SOUND = """title = "Falconry"
category = "Leisure"
summary = "Birds flown at quarry: weights each morning, telemetry of lost birds, molt, permits and the hunting bag."
topics = ["weight records", "telemetry tracking", "molt diary", "permit renewal", "hunting bag", "mews hygiene rounds"]
"""


@pytest.fixture
def write(tmp_path: Path):
    """Writes a domain file of the text given into `leisure/` and gives its path."""

    def _write(text: str, name: str = "falconry.toml") -> Path:
        path = tmp_path / "leisure" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture(scope="module")
def seeds() -> tuple[Seed, ...]:
    return list_seeds(SHIPPED)


# --- the files that carg ships


def test_there_are_thirty_categories_of_ten_domains():
    """Three hundred names, each once, counting worlds that are still to come."""
    names = {f"{path.parent.name}/{path.stem}" for path in SHIPPED.glob("*/*.toml")} | set(WORLDS)

    per_category = Counter(name.split("/")[0] for name in names)

    assert len({name.split("/")[1] for name in names}) == 300
    assert list(per_category.values()) == [10] * 30


def test_one_domain_a_category_is_held_out(seeds: tuple[Seed, ...]):
    """Exactly the thirty that the list holds out, so that training never sees them."""
    present = {f"{seed.category}/{seed.name}" for seed in seeds}

    held_out = [f"{seed.category}/{seed.name}" for seed in seeds if seed.held_out]

    assert held_out == [name for name in HELD_OUT if name in present]
    assert len({name.split("/")[0] for name in HELD_OUT}) == 30


def test_every_shipped_seed_is_sound():
    """No file has a fault in its seed part."""
    assert seed_faults(SHIPPED) == []


def test_a_category_has_one_title_and_titles_are_distinct(seeds: tuple[Seed, ...]):
    """Folder and category title belong together; no two domains have one title."""
    titles = defaultdict(set)
    for seed in seeds:
        titles[seed.category].add(seed.category_title)

    assert [len(found) for found in titles.values()] == [1] * 30
    assert len({seed.title for seed in seeds}) == len(seeds)


def test_no_two_summaries_share_six_words_in_a_row(seeds: tuple[Seed, ...]):
    """A summary is written for its field, not filled into a phrase."""
    seen: dict[tuple[str, ...], str] = {}
    shared = []
    for seed in seeds:
        words = re.findall(r"\w+", seed.summary.lower())
        for run in zip(*(words[start:] for start in range(6)), strict=False):
            if seen.setdefault(run, seed.name) != seed.name:
                shared.append((seed.name, seen[run], " ".join(run)))

    assert shared == []


def test_no_topic_stands_in_more_than_two_domains(seeds: tuple[Seed, ...]):
    """Topics tell domains apart."""
    topics = Counter(topic.casefold() for seed in seeds for topic in seed.topics)

    assert [topic for topic, n in topics.items() if n > 2] == []


def test_help_parses_no_domain():
    """Importing the module reads no file and loads nothing heavy."""
    code = "import sys; sys.addaudithook(lambda e, a: e == 'open' and str(a[0]).endswith('.toml') and sys.exit(3))"

    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import carg.domains; print('orjson' in sys.modules)"],
        cwd=SHIPPED.parent,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b"False\n")


# --- finding them


def test_a_seed_says_all_that_its_file_says(write):
    """Every field of a user's file, also without `held_out`."""
    path = write(SOUND)

    expected = Seed(
        name="falconry",
        category="leisure",
        category_title="Leisure",
        title="Falconry",
        summary="Birds flown at quarry: weights each morning, telemetry of lost birds, molt, permits and the hunting "
        "bag.",
        topics=(
            "weight records",
            "telemetry tracking",
            "molt diary",
            "permit renewal",
            "hunting bag",
            "mews hygiene rounds",
        ),
        held_out=False,
        path=path,
        has_world=False,
    )
    assert find_seed(str(path)) == expected
    assert find_seed(path) == expected
    assert find_seed("falconry", path.parent.parent) == expected
    assert list_seeds(path) == list_seeds(path.parent) == list_seeds(path.parent.parent) == (expected,)


@pytest.mark.parametrize("key", ["resources.hive", "formulas.lift", "tables.bloom", "services.keeper"])
def test_a_file_with_a_world_has_one(write, key: str):
    """Any of four keys makes a world, and then other keys are not the seed's business."""
    path = write(f"held_out = true\nkind = 'records'\nsomething_else = 3\n{SOUND}[{key}]\n")

    assert seed_faults(path) == []
    assert find_seed(path).has_world
    assert find_seed(path).held_out


def test_seeds_are_sorted_by_category_then_name(write, tmp_path: Path):
    """The order does not depend on the file system; `list_seeds` of a folder takes folders and loose files."""
    write(SOUND, "zither.toml")
    write(SOUND, "archery.toml")
    (tmp_path / "arts").mkdir()
    (tmp_path / "arts" / "mosaic.toml").write_text(SOUND)

    assert [(seed.category, seed.name) for seed in list_seeds(tmp_path)] == [
        ("arts", "mosaic"),
        ("leisure", "archery"),
        ("leisure", "zither"),
    ]


def test_finding_one_seed_reads_no_other_file(write, tmp_path: Path):
    """A broken neighbor does not stop a user's own domain; listing them does name it."""
    path = write(SOUND)
    broken = write("title =", "broken.toml")

    assert find_seed("falconry", tmp_path).path == path
    with pytest.raises(DomainError, match=re.escape(f"{broken}: not TOML")):
        list_seeds(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("falconri", "did you mean 'falconry'?"),
        ("Falconry", "did you mean 'falconry'?"),
        ("accounting", "`carg domains list` names the 1 that are known"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(write, tmp_path: Path, name: str, hint: str):
    """Did you mean; else who lists them."""
    write(SOUND)

    with pytest.raises(DomainError) as fault:
        find_seed(name, tmp_path)

    assert (fault.value.message, fault.value.hint) == (f"domain {name!r} is unknown", hint)


def test_a_name_stands_for_one_file(write, tmp_path: Path):
    """Tools are known by the name of their domain: two files of one name are a fault everywhere."""
    first = write(SOUND)
    second = tmp_path / "sport" / "falconry.toml"
    second.parent.mkdir()
    second.write_text(SOUND)
    expected = f"{second}: {first} is named 'falconry' too"

    assert seed_faults(tmp_path) == [expected]
    for ask in (lambda: list_seeds(tmp_path), lambda: find_seed("falconry", tmp_path)):
        with pytest.raises(DomainError) as fault:
            ask()
        assert fault.value.message == expected


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, write, tmp_path: Path):
    """CARG_DOMAINS first, and a wrong one is said, not passed over; empty is unset."""
    write(SOUND)
    monkeypatch.setenv("CARG_DOMAINS", str(tmp_path))
    assert domain_folder() == tmp_path
    assert [seed.name for seed in list_seeds()] == ["falconry"]

    monkeypatch.setenv("CARG_DOMAINS", str(tmp_path / "none"))
    with pytest.raises(DomainError, match="which is no folder"):
        domain_folder()

    monkeypatch.setenv("CARG_DOMAINS", "")
    assert domain_folder() == SHIPPED


def test_an_installed_wheel_has_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`_data/domains` wins over whatever folder named domains lies beside the package."""
    (tmp_path / "carg" / "_data" / "domains").mkdir(parents=True)
    (tmp_path / "domains").mkdir()
    monkeypatch.delenv("CARG_DOMAINS", raising=False)
    monkeypatch.setattr(domains, "__file__", str(tmp_path / "carg" / "domains.py"))

    assert domain_folder() == tmp_path / "carg" / "_data" / "domains"


def test_an_empty_folder_is_said(tmp_path: Path):
    """No domain at all is an error, not an empty list."""
    with pytest.raises(DomainError, match="holds no domain"):
        list_seeds(tmp_path)


# --- faults


def test_a_sound_seed_has_no_fault(write):
    """The text that the spoiled ones below start from."""
    assert seed_faults(write(SOUND)) == []
    assert seed_faults(write(SOUND + "held_out = false\n")) == []


@pytest.mark.parametrize(
    ("summary", "topics"),
    [("s" * 80, [f"topic {n}" for n in range(6)]), ("s" * 240, [f"{n} b c d e f" for n in range(10)])],
)
def test_the_bounds_are_allowed(write, summary: str, topics: list[str]):
    """Least and most, both within."""
    assert seed_faults(write(f"title = 'Go'\ncategory = 'Go'\nsummary = '{summary}'\ntopics = {topics}\n")) == []


SUMMARY = next(line for line in SOUND.splitlines() if line.startswith("summary"))
TOPICS = SOUND.splitlines()[3]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "Falconry"\n', "", "[title] must be a text of 2 to 60 characters, but is missing"),
        ('"Falconry"', "7", "[title] must be a text of 2 to 60 characters, not int"),
        ('"Falconry"', '"F"', "[title] must have 2 to 60 characters, not 1"),
        ('"Falconry"', '" Falconry"', "[title] must be one line, without spaces around it"),
        ('category = "Leisure"\n', "", "[category] must be a text of 2 to 60 characters, but is missing"),
        (SUMMARY, "", "[summary] must be a text of 80 to 240 characters, but is missing"),
        (SUMMARY, 'summary = "Birds."', "[summary] must have 80 to 240 characters, not 6"),
        ("Birds flown", "Birds " * 40 + "flown", "[summary] must have 80 to 240 characters, not 338"),
        ("Birds flown", "Birds\\nflown", "[summary] must be one line, without spaces around it"),
        (TOPICS, "", "[topics] must be a list of 6 to 10 texts, but is missing"),
        (TOPICS, 'topics = "hunting"', "[topics] must be a list of 6 to 10 texts, not str"),
        ('"molt diary", ', "", "[topics] must be 6 to 10, not 5"),
        ('"molt diary"', '"a b", "b c", "c d", "d e", "e f", "f g"', "[topics] must be 6 to 10, not 11"),
        ('"molt diary"', "3", "[topics, number 3] must be a text, not int"),
        ('"molt diary"', '"a b c d e f g"', "[topics, number 3] must be 1 to 6 words, not 'a b c d e f g'"),
        ('"molt diary"', '"Hunting Bag"', "[topics] must be distinct, but 'hunting bag' stands 2 times"),
        ("title", 'held_out = "yes"\ntitle', "[held_out] must be true or false, not str"),
        ("title", "heldout = true\ntitle", "[heldout] is an unknown key; did you mean 'held_out'?"),
        ("title", "service = 1\ntitle", "[service] is an unknown key; did you mean 'services'?"),
        ("title", "zzz = 1\ntitle", "[zzz] is an unknown key; a seed has title, category, summary, topics, held_out"),
    ],
)
def test_a_spoiled_seed_has_one_fault(write, old: str, new: str, expected: str):
    """Each fault names file and entry and says what is allowed."""
    assert old in SOUND
    path = write(SOUND.replace(old, new, 1))

    assert seed_faults(path) == [f"{path}: {expected}"]
    with pytest.raises(DomainError, match=re.escape(expected)):
        list_seeds(path)


@pytest.mark.parametrize("name", ["Falconry.toml", "falcon-ry.toml", "1falcon.toml", "falconry.txt"])
def test_a_file_name_is_the_name_of_a_domain(write, name: str):
    """Names go into tool keys: lower case letters, digits and _ only."""
    path = write(SOUND, name)

    expected = f"{path}: [file name] {name!r} must be lower case letters, digits and _ (at most 48), then .toml"
    assert seed_faults(path) == [expected]


def test_all_faults_come_at_once(write):
    """Three faults of one file, in the order of the entries."""
    path = write(SOUND.replace('"Falconry"', "7").replace('"molt diary"', '"a b c d e f g"') + "colour = 1\n")

    assert [fault.split("] ")[0] for fault in seed_faults(path)] == [
        f"{path}: [title",
        f"{path}: [topics, number 3",
        f"{path}: [colour",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("title = 'a'\ntitle = 'b'", "not TOML: Cannot overwrite a value (at line 2, "),
        ("title = 'a'\nsummary = [\n'b'", "not TOML: Unclosed array (at line 3, the end of the file)"),
        ("a = 1\nb = 2\n" + ".".join("c" * 3000) + " = 3", "line 3 has over 4000 characters"),
        ("a = " + "[" * 3900, "nested too deeply"),
        ("#" * 600_000, "over 512 kB"),
    ],
)
def test_a_file_that_is_not_toml_names_its_line(write, text: str, expected: str):
    """Torn, hostile and huge files end in an error that says where, not in a traceback or a long wait."""
    path = write(text)

    assert [fault[: len(f"{path}: {expected}")] for fault in seed_faults(path)] == [f"{path}: {expected}"]


def test_a_file_of_other_bytes_names_its_line(tmp_path: Path):
    """Latin-1 is refused, a byte order mark is not."""
    path = tmp_path / "cafe.toml"
    path.write_bytes(b"a = 1\nb = 'caf\xe9'\n")
    marked = tmp_path / "marked.toml"
    marked.write_bytes(b"\xef\xbb\xbf" + SOUND.encode())

    assert seed_faults(path) == [f"{path}: not UTF-8 at line 2"]
    assert seed_faults(marked) == []


def test_a_missing_file_is_said(tmp_path: Path):
    """A path that leads nowhere is one fault, or the error of whoever needs the file."""
    path = tmp_path / "none.toml"

    assert seed_faults(path) == [f"{path}: cannot be read: No such file or directory"]
    with pytest.raises(DomainError, match="cannot be read"):
        read_domain(path)


@given(st.text(alphabet="titlesumaryop=[]{}\"'\n.# 0123_é", max_size=80))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str):
    """Whatever a file holds, the answer is a list of faults."""
    path = tmp_path_factory.getbasetemp() / "noise.toml"
    path.write_text(text, encoding="utf-8")

    assert seed_faults(path) != []
