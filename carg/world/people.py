"""People and places as records name them: names, addresses and phones drawn together, with some of life's mess."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from unicodedata import normalize

# A name's region goes with cities and phone prefixes below, so that Ines Novak lives in Ljubljana more than in Lagos.
_REGIONS = {
    "en": (
        "James Olivia Grace Henry Amelia Thomas Chloe Daniel Emily Samuel Hannah Marcus Ruth Isaac Leah".split(),
        "Walker Bennett Hughes Carter Mitchell Foster Brooks Reed Palmer Sullivan O'Connor Whitfield Marsh".split(),
        [
            ("Bristol", "United Kingdom", "BS1 4DJ"),
            ("Leeds", "United Kingdom", "LS2 7HY"),
            ("Portland", "USA", "97205"),
        ],
        ["High Street", "Church Lane", "Maple Avenue", "Station Road", "Mill Lane", "King Street"],
        "+44 20 7946 0",
    ),
    "de": (
        "Lukas Anna Jonas Marie Felix Sophie Paul Lena Jürgen Katrin Björn Ute".split(),
        "Müller Schmidt Weber Fischer Köhler Becker Wagner Hoffmann Schäfer Brandt".split(),
        [("Hamburg", "Germany", "20095"), ("Leipzig", "Germany", "04109"), ("Graz", "Austria", "8010")],
        ["Lindenstraße", "Bahnhofstr.", "Hauptstraße", "Am Markt", "Gartenweg"],
        "+49 30 2312 5",
    ),
    "es": (
        "Lucía Mateo Carmen Diego Sofía Javier Valentina Andrés Inés Rafael".split(),
        "García Fernández López Martínez Torres Navarro Ibáñez Romero Castillo".split(),
        [("Valencia", "Spain", "46002"), ("Bilbao", "Spain", "48001"), ("Rosario", "Argentina", "S2000")],
        ["Calle Mayor", "Avda. de la Paz", "Calle del Sol", "Paseo Marítimo"],
        "+34 910 6",
    ),
    "sl": (
        "Ines Marko Petra Tomaž Ana Luka Nina Žiga Maja Ivan".split(),
        "Novak Horvat Kovač Zupančič Krajnc Babić Marić Petrović".split(),
        [("Ljubljana", "Slovenia", "1000"), ("Maribor", "Slovenia", "2000"), ("Zagreb", "Croatia", "10000")],
        ["Slovenska cesta", "Trubarjeva ul.", "Ilica", "Prešernova ulica"],
        "+386 1 555 0",
    ),
    "zh": (
        "Tom Wei Mei Jun Lily Hao Xin Yan Grace Kevin".split(),
        "Wong Chen Li Zhang Lam Liu Huang Tan Ng".split(),
        [("Hong Kong", "China", "999077"), ("Singapore", "Singapore", "048616"), ("Taipei", "Taiwan", "100")],
        ["Queen's Road", "Orchard Road", "Nathan Rd", "Zhongshan N. Road"],
        "+65 6700 0",
    ),
    "in": (
        "Priya Arjun Ananya Rahul Kavya Vikram Neha Sanjay Meera Aditya".split(),
        "Sharma Patel Iyer Reddy Gupta Nair Mehta Rao Das".split(),
        [("Pune", "India", "411001"), ("Chennai", "India", "600002"), ("Kolkata", "India", "700016")],
        ["MG Road", "Park Street", "Anna Salai", "FC Rd"],
        "+91 22 5550 ",
    ),
    "ng": (
        "Chidi Amara Tunde Ngozi Kwame Adaeze Femi Zainab Kofi".split(),
        "Okafor Adeyemi Mensah Eze Balogun Owusu Bello Danjuma".split(),
        [("Lagos", "Nigeria", "101241"), ("Accra", "Ghana", "GA-145"), ("Abuja", "Nigeria", "900211")],
        ["Broad Street", "Independence Ave", "Marina Rd", "Ring Road East"],
        "+234 1 555 0",
    ),
}
_PEOPLES = list(_REGIONS.values())
_UP_TO = list(accumulate((6, 4, 3, 2, 3, 3, 2)))
"""Their weights, added up."""
# RFC 2606 reserves .example, so no drawn address can reach anyone.
_HOSTS = ("mail.example", "post.example", "inbox.example", "work.example")


def draw_person(rng: Random) -> str:
    """A full name; now and then with an initial, or the surname first."""
    first, last = _parts(rng)
    slip = rng.random()
    if slip < 0.06:
        return f"{last}, {first}"
    if slip < 0.16:
        return f"{first} {rng.choice('ABCDEFGHJKLMPRST')}. {last}"
    return f"{first} {last}"


def _parts(rng: Random) -> tuple[str, str]:
    firsts, lasts = rng.choices(_PEOPLES, cum_weights=_UP_TO)[0][:2]
    return rng.choice(firsts), rng.choice(lasts)


def draw_email(rng: Random, name: str) -> str:
    """An e-mail address that follows the name."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = ["".join(char for char in word if char.isalpha()) for word in plain.replace(",", " ").split()]
    words = [word for word in words if len(word) > 1] or ["user"]
    host = rng.choice(_HOSTS)
    form = rng.random()
    if form < 0.5:
        return f"{words[0]}.{words[-1]}@{host}"
    if form < 0.75:
        return f"{words[0][0]}{words[-1]}@{host}"
    return f"{words[-1]}{rng.randint(1, 99)}@{host}"


def draw_phone(rng: Random) -> str:
    """A phone number in international form, sometimes written without blanks."""
    prefix = rng.choices(_PEOPLES, cum_weights=_UP_TO)[0][4]
    number = f"{prefix}{rng.randint(100, 999)}"
    return number.replace(" ", "") if rng.random() < 0.2 else number


def draw_address(rng: Random) -> dict[str, str]:
    """Street, postal code, city and country that belong together."""
    _, _, cities, streets, _ = rng.choices(_PEOPLES, cum_weights=_UP_TO)[0]
    city, country, code = rng.choice(cities)
    street, number = rng.choice(streets), rng.randint(1, 180)
    first = country in ("United Kingdom", "USA", "Singapore", "China", "India", "Nigeria", "Ghana")
    line = f"{number} {street}" if first else f"{street} {number}"
    return {"street": line, "postal_code": code, "city": city, "country": country}
