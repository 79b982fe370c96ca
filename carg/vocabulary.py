"""Words for parameters without a world: what a value is like, told by the parameter's name and description.

A `Scene` is drawn once for a call, so that name and e-mail, city and country, start and end go together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

PEOPLE = (
    "Amara Okafor", "Tomás Rivera", "Ines Novak", "Priya Raman",
    "Lars Lindqvist", "Mei Tanaka", "Omar Haddad", "Grace Mbeki",
    "Jonas Weber", "Sofia Rossi", "Liam O'Brien", "Chloé Martin",
    "Noah Kim", "Elif Yilmaz", "Ruth Abara", "Diego Castillo",
    "Hannah Fischer", "Yusuf Rahman", "Olivia Brown", "Piotr Zielinski",
    "Aiko Mori", "Samuel Cohen", "Leila Farah", "Marta Silva",
)  # fmt: skip
PLACES = (
    "Lisbon,Portugal,PT,Lisboa,1100-148,38.7223,-9.1393,Europe/Lisbon,EUR",
    "Austin,United States,US,Texas,78701,30.2672,-97.7431,America/Chicago,USD",
    "Nairobi,Kenya,KE,Nairobi,00100,-1.2921,36.8219,Africa/Nairobi,KES",
    "Kyoto,Japan,JP,Kyoto,600-8216,35.0116,135.7681,Asia/Tokyo,JPY",
    "Leeds,United Kingdom,GB,England,LS1 4AP,53.8008,-1.5491,Europe/London,GBP",
    "Montréal,Canada,CA,Quebec,H2Y 1C6,45.5019,-73.5674,America/Toronto,CAD",
    "Pune,India,IN,Maharashtra,411001,18.5204,73.8567,Asia/Kolkata,INR",
    "Utrecht,Netherlands,NL,Utrecht,3511 LX,52.0907,5.1214,Europe/Amsterdam,EUR",
    "Curitiba,Brazil,BR,Paraná,80010-000,-25.4284,-49.2733,America/Sao_Paulo,BRL",
    "Berlin,Germany,DE,Berlin,10115,52.52,13.405,Europe/Berlin,EUR",
    "San Francisco,United States,US,California,94103,37.7749,-122.4194,America/Los_Angeles,USD",
    "Melbourne,Australia,AU,Victoria,3000,-37.8136,144.9631,Australia/Melbourne,AUD",
)
PLACE_KEYS = ("city", "country", "country_code", "state", "postcode", "latitude", "longitude", "timezone", "currency")

LISTS = {
    "street": "Rua Augusta|Congress Avenue|Park Row|Mill Lane|Bahnhofstraße|Harbour Road|Elm Street|Via Roma",
    "company": "Northwind Traders|Baltic Foods|Heron Analytics|Acorn & Sons|Meridian Freight|Quill Press|Solara Energy",
    "title": "Quarterly review|Fix login timeout|Weekly sync|Draft budget|Onboarding notes|Server migration plan",
    "text": "Please confirm by Friday.|The customer asked for a later delivery.|Checked twice, looks fine.|"
    "See the attached notes for details.|Started again after the restart.|Needs a second opinion before we go on.",
    "query": "wireless headphones|climate report|vegetarian lasagna|python async timeout|cheap flights|solar panels|"
    "open invoices|tax deadline|used bicycles|sleep research",
    "product": "oak desk|running shoes|espresso grinder|rain jacket|desk lamp|mountain bike|water filter|notebook",
    "category": "electronics|books|garden|travel|finance|health|music|sports",
    "color": "red|navy|green|black|amber|white|teal",
    "language": "en|fr|de|es|ja|pt|hi",
    "status": "active|pending|closed|draft|archived",
    "sort": "created_at|name|updated_at|price|relevance",
    "order": "asc|desc",
    "role": "admin|editor|viewer|member",
    "tag": "urgent|beta|internal|follow-up|archived|spring",
    "unit": "metric|imperial|km|kg|celsius",
    "branch": "main|develop|release/2.4|fix-timeout",
    "repo": "atlas|ledger-api|paper-trail|weather-station",
    "owner": "northwind|heron-labs|okafor|quillpress",
    "file": "report.pdf|notes.md|data/2024/sales.csv|src/app/main.py|photos/harbour.jpg",
    "folder": "/home/ines/projects|/srv/data|documents/2024|src/app",
    "symbol": "AAPL|MSFT|NVDA|TSLA|SAP|BTC-USD",
    "airport": "LIS|AUS|NBO|KIX|LBA|YUL|AMS|SFO",
    "food": "margherita pizza|lentil soup|ramen|apple pie|falafel wrap",
    "movie": "The Third Man|Spirited Away|Arrival|City of God",
    "song": "Blue in Green|Águas de Março|Heroes|Clair de Lune",
    "team": "payments|platform|growth|field-ops",
    "gender": "female|male|other",
    "model": "standard|large-v2|base|turbo",
    "code": "x = sum(range(10))|def area(r): return 3.14 * r ** 2",
    "sql": "SELECT id, total FROM orders WHERE total > 100|SELECT COUNT(*) FROM users",
    "expression": "2*x + 3|x**2 - 4*x + 1|sin(x) / x|(12 + 7) * 3",
    "method": "standard|linear|exact|fast",
    "mode": "auto|manual|eco|batch",
    "weekday": "Monday|Tuesday|Thursday|Saturday",
    "month": "January|April|June|October",
    "key": "theme|retries|region|greeting",
    "noun": "harbour|lantern|meadow|copper|orbit|willow|cinder|atlas|pepper|quartz",
}
WORDS = {kind: tuple(words.split("|")) for kind, words in LISTS.items()}

NAMES = {
    "person": "name customer author artist",
    "username": "user username login assignee actor",
    "email": "recipient email mail cc",
    "phone": "phone mobile telephone",
    "city": "city location place destination origin town",
    "country": "country nationality",
    "state": "state region province",
    "postcode": "zip zipcode postcode postal",
    "latitude": "latitude lat",
    "longitude": "longitude lon lng",
    "timezone": "timezone tz",
    "currency": "currency",
    "address": "address",
    "url": "url uri link website webhook endpoint",
    "host": "host domain",
    "ip": "ip",
    "date": "date day birthday dob deadline since until",
    "time": "time",
    "datetime": "timestamp datetime at",
    "id": "id ids reference number",
    "uuid": "uuid guid",
    "hex": "sha hash commit token",
    "text": "message body content comment description text note notes prompt reason summary",
    "title": "subject",
    "query": "topic search keyword keywords q question term",
    "first": "first firstname",
    "last": "last lastname surname",
    "product": "item",
    "category": "genre type",
    "language": "lang",
    "file": "path filename",
    "folder": "directory dir",
    "symbol": "ticker stock",
    "color": "colour",
    "tag": "tags label labels",
    "unit": "units",
    "repo": "repository database",
    "owner": "org",
    "company": "organization employer brand",
    "song": "track album",
    "movie": "film",
    "food": "dish recipe ingredient",
    "expression": "equation function formula",
    "noun": "table",
    "sql": "statement",
    "code": "script",
    "team": "group department channel",
}
"""Words of parameter names, by the kind of value that they ask for."""

KINDS = {name: kind for kind, names in NAMES.items() for name in names.split()} | {kind: kind for kind in WORDS}

BOUNDS = (
    (18, 80, 0, "age"),
    (1995, 2026, 0, "year"),
    (1, 30, 0, "years days"),
    (1, 12, 0, "month hours quantity"),
    (1, 36, 0, "months"),
    (1, 28, 0, "day"),
    (0, 23, 0, "hour"),
    (5, 90, 0, "minutes"),
    (5, 300, 0, "seconds"),
    (5, 120, 0, "timeout"),
    (10, 240, 0, "duration"),
    (5, 400, 2, "price"),
    (10, 5000, 2, "amount"),
    (5, 900, 2, "cost"),
    (200, 20000, 0, "budget"),
    (28000, 120000, 0, "salary"),
    (20000, 150000, 0, "income"),
    (1000, 90000, 0, "principal"),
    (0.01, 0.2, 3, "rate"),
    (1, 100, 1, "percent percentage"),
    (0.05, 0.95, 2, "probability"),
    (1, 9, 0, "page min depth"),
    (5, 50, 0, "limit"),
    (1, 50, 0, "size"),
    (1, 20, 0, "count top"),
    (0, 100, 0, "offset"),
    (10, 200, 0, "max"),
    (1, 40, 1, "width height"),
    (1, 60, 1, "length velocity"),
    (1, 25, 1, "radius"),
    (1, 900, 1, "distance"),
    (2, 120, 1, "weight"),
    (1, 80, 1, "mass"),
    (-5, 38, 1, "temperature"),
    (5, 130, 1, "speed"),
    (90, 110, 1, "pressure"),
    (1, 100, 0, "score"),
    (1, 5, 0, "rating"),
    (1024, 9000, 0, "port"),
    (1000, 99999, 0, "id"),
    (1, 200, 0, "number"),
    (-60, 65, 4, "latitude lat"),
    (-150, 150, 4, "longitude lon lng"),
    (1600000000, 1780000000, 0, "timestamp"),
)
"""Least, most, decimals, and the words of parameter names that they are likely for."""

RANGES = {name: (low, high, decimals) for low, high, decimals, names in BOUNDS for name in names.split()}

DATE_STYLES = (
    ("yyyy-mm-dd hh:mm:ss", "%Y-%m-%d %H:%M:%S"),
    ("yyyy-mm-dd hh:mm", "%Y-%m-%d %H:%M"),
    ("yyyy-mm-ddthh:mm:ss", "%Y-%m-%dT%H:%M:%SZ"),
    ("yyyy-mm-dd", "%Y-%m-%d"),
    ("mm/dd/yyyy", "%m/%d/%Y"),
    ("dd/mm/yyyy", "%d/%m/%Y"),
    ("dd-mm-yyyy", "%d-%m-%Y"),
    ("mm-dd-yyyy", "%m-%d-%Y"),
    ("yyyy/mm/dd", "%Y/%m/%d"),
    ("dd.mm.yyyy", "%d.%m.%Y"),
    ("yyyymmdd", "%Y%m%d"),
    ("iso 8601", "%Y-%m-%dT%H:%M:%SZ"),
    ("hh:mm:ss", "%H:%M:%S"),
    ("hh:mm", "%H:%M"),
)
"""How descriptions spell a date, longest first, and the format that it stands for."""

_LATER = {"end", "until", "to", "checkout", "return", "due", "expires", "expiry", "before", "deadline"}
_WEAK = {"number", "code", "key", "type", "name", "text", "value", "at", "item", "function", "group", "model"}
"""Words that say little beside another one: a phone number is no id."""
_CUE = r"(?:e\.g\.?|such as|for example|example:?|like|options?:?|one of:?|either)[ ,:(\[]*"
_EXAMPLE = re.compile(_CUE + r"((?:['\"“`][^'\"”`\n]{1,60}['\"”`](?:, | or |, or |,)?)+)", re.IGNORECASE)


@dataclass(slots=True)
class Scene:
    """Who, where and when one call is about; what was used already is not used again."""

    facts: dict[str, str]
    now: datetime
    id_style: int
    used: set[str] = field(default_factory=set)


def draw_scene(rng: Random) -> Scene:
    """A person, a place and a day that go together."""
    facts = _person(rng) | dict(zip(PLACE_KEYS, rng.choice(PLACES).split(","), strict=True))
    now = datetime(2019, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(7 * 365 * 24 * 12) * 5)
    return Scene(facts, now, rng.randrange(4))


def tokens(name: str) -> list[str]:
    """The words of an identifier, lower-case: snake, kebab, dotted and camel case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def draw_word(name: str, description: str, rng: Random, scene: Scene) -> str:
    """A value that a person would give for this parameter: the description's own examples in three of four cases."""
    if (told := told_examples(description)) and rng.random() < 0.75:
        return rng.choice(told)
    if (style := date_style(description)) and not {"id", "name"} & set(tokens(name)):
        return _moment(name, rng, scene).strftime(style)
    return draw_kind(_kind(name) or _kind(" ".join(description.split()[:6])) or "noun", name, rng, scene)


def told_examples(description: str) -> list[str]:
    """What a description gives as examples between quotation marks, in order."""
    found = [
        match for group in _EXAMPLE.findall(description[:1000]) for match in re.findall(r"['\"“`]([^'\"”`]+)", group)
    ]
    return [text for text in found if text.strip(" ,") not in ("", "or") and not set(text) & set("{}<>")]


def date_style(description: str) -> str | None:
    """The strftime format that a description asks for."""
    text = description.lower()
    return next((style for spelled, style in DATE_STYLES if spelled in text), None)


def draw_kind(kind: str, name: str, rng: Random, scene: Scene) -> str:
    """A value of one kind of KINDS, from the scene while it has one that is not used."""
    made = _MAKERS[kind](name, rng, scene) if kind in _MAKERS else scene.facts.get(kind)
    if made is None or (kind in scene.facts and made in scene.used):
        made = rng.choice(WORDS[kind]) if kind in WORDS else _elsewhere(kind, rng, scene)
    scene.used.add(made)
    return made


def draw_number(name: str, description: str, rng: Random) -> tuple[float, int]:
    """A likely number for the parameter and the decimals it is given with."""
    words = [*reversed(tokens(name)), *tokens(description)[:8]]
    low, high, decimals = next((RANGES[word] for word in words if word in RANGES), (1, 100, 0))
    return round(rng.uniform(low, high), decimals), decimals


def _kind(name: str) -> str | None:
    words = tokens(name)
    if words[-2:] in (["user", "name"], ["screen", "name"]):
        return "username"
    if words[-1:] == ["name"] and len(words) > 1 and words[-2] in KINDS and KINDS[words[-2]] != "username":
        return KINDS[words[-2]]
    known = [word for word in reversed(words) if word in KINDS]
    return next((KINDS[word] for word in [*(word for word in known if word not in _WEAK), *known]), None)


def _person(rng: Random) -> dict[str, str]:
    first, _, last = (person := rng.choice(PEOPLE)).partition(" ")
    plain = re.sub(r"[^a-z.]", "", f"{first}.{last}".lower().translate(str.maketrans("áéíñöü", "aeinou")))
    email = f"{plain}@{rng.choice(('example.com', 'northwind.example', 'mail.example.org'))}"
    return {"person": person, "first": first, "last": last, "username": plain.replace(".", "_"), "email": email}


def _elsewhere(kind: str, rng: Random, scene: Scene) -> str:
    """Another value of a scene's kind, for the second city or person of a call."""
    pool = [dict(zip(PLACE_KEYS, place.split(","), strict=True)) for place in PLACES] if kind in PLACE_KEYS else []
    others = [place[kind] for place in pool if place[kind] not in scene.used]
    return rng.choice(others) if others else (scene.facts | _person(rng))[kind]


def _moment(name: str, rng: Random, scene: Scene) -> datetime:
    later = bool(_LATER & set(tokens(name)))
    return scene.now + later * timedelta(days=rng.randrange(1, 21), minutes=rng.randrange(0, 600, 15))


def _identifier(name: str, rng: Random, scene: Scene) -> str:
    entity = next((word for word in tokens(name) if word not in ("id", "ids", "number", "reference", "the")), "item")
    number = rng.randrange(1000, 99999)
    return (f"{entity[:3].upper()}-{number}", f"{entity}_{number}", str(number), f"{rng.getrandbits(48):012x}")[
        scene.id_style
    ]


def _uuid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


_MAKERS: dict[str, Callable[[str, Random, Scene], str]] = {
    "id": _identifier,
    "uuid": lambda name, rng, scene: _uuid(rng),
    "hex": lambda name, rng, scene: f"{rng.getrandbits(160):040x}",
    "date": lambda name, rng, scene: _moment(name, rng, scene).strftime("%Y-%m-%d"),
    "time": lambda name, rng, scene: _moment(name, rng, scene).strftime("%H:%M"),
    "datetime": lambda name, rng, scene: _moment(name, rng, scene).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "phone": lambda name, rng, scene: (
        f"+{rng.randrange(1, 99)} {rng.randrange(100, 999)} 555 {rng.randrange(1000, 9999)}"
    ),
    "ip": lambda name, rng, scene: f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
    "host": lambda name, rng, scene: f"{rng.choice(WORDS['noun'])}.example.com",
    "url": lambda name, rng, scene: f"https://{rng.choice(WORDS['noun'])}.example.com/{rng.choice(WORDS['tag'])}",
    "address": lambda name, rng, scene: f"{rng.randrange(1, 240)} {rng.choice(WORDS['street'])}, {scene.facts['city']}",
}
