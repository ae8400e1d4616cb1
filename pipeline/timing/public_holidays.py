"""Public holidays as the `holidays` library knows them: of countries, their subdivisions, and stock exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline.mistakes import nearest

if TYPE_CHECKING:
    from holidays import HolidayBase

_EXAMPLES = "write a country such as DE, one with its subdivision such as DE-BY or US-NY, or an exchange such as XNYS"


@dataclass(frozen=True, slots=True)
class Holidays:
    """The public holidays of a `region`: `DE`, `DE-BY`, `US-NY`, `XNYS`; in any case of letters, kept as ISO has it.

    Raises ValueError, with the nearest one, for a region that the library does not know.
    """

    region: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", _canonical(self.region))

    @property
    def label(self) -> str:
        return f"holidays ({self.region})"

    def name(self, day: date) -> str | None:
        """What holiday it is, in English as far as the library goes; None for another day."""
        found = dict.get(_year(self.region, day.year), day)
        return found and f"{found} ({self.region})"

    def works(self, day: date) -> bool:
        """Whether the region works on that day, by its own weekend and holidays, or makes up for one."""
        return _year(self.region, day.year).is_working_day(day)


@lru_cache(maxsize=1024)
def _year(region: str, year: int) -> HolidayBase:
    """One year of a region, never changed later: an object that grows as it is asked may be seen half-grown."""
    country, _, subdivision = region.partition("-")
    entity = _entities()[country]
    language = "en_US" if "en_US" in entity.supported_languages else entity.default_language
    found: HolidayBase = entity(years=year, subdiv=subdivision or None, expand=False, language=language)
    return found


@lru_cache
def _entities() -> dict[str, Any]:
    """The library's entities, not yet loaded, by their first code: DE, XNYS."""
    import holidays
    from holidays import registry

    known = {**registry.COUNTRIES, **registry.FINANCIAL}
    return {codes[1]: getattr(holidays, codes[1]) for codes in known.values()}


@lru_cache(maxsize=1024)
def _canonical(written: str) -> str:
    country, _, subdivision = written.strip().partition("-")
    code = _code(country)
    if not subdivision:
        return code
    entity = _entities()[code]
    known: dict[str, str] = {**entity.subdivisions_aliases, **{one: one for one in entity.subdivisions}}
    found = {name.casefold(): one for name, one in known.items()}.get(subdivision.casefold())
    if found is None:
        near = nearest(subdivision, known)
        hint = f"did you mean {code}-{known[near]}? " if near else ""
        there = ", ".join(sorted(entity.subdivisions)) or "none"
        raise ValueError(f'"{written}": {code} has no subdivision {subdivision}: {hint}It has {there}')
    return f"{code}-{found}"


def _code(written: str) -> str:
    """The first code of a country or exchange, from any of its codes. Raises ValueError."""
    from holidays import registry

    known = [*registry.COUNTRIES.items(), *registry.FINANCIAL.items()]
    codes = {code.casefold(): codes[0] for _, (_, *codes) in known for code in codes}
    folded = written.casefold()
    if folded in codes:
        return codes[folded]
    names = {name.replace("_", " "): codes[0] for name, (_, *codes) in known}
    begun = [name for name in names if len(folded) > 2 and name.startswith(folded)]
    near = begun[0] if begun else nearest(folded, names)
    hint = f"did you mean {names[near]} ({near.title()})?" if near else _EXAMPLES
    raise ValueError(f'"{written}" is no country or exchange whose holidays are known: {hint}')
