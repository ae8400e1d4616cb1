"""One carrier's week out of New York: how punctual it was, on which days, at which hours, on which routes."""

from collections import Counter, defaultdict
from statistics import fmean

ROUTES = {
    "route": "Route",
    "destination": "Destination",
    "flights": {"label": "Flights", "total": "sum"},
    "cancelled": {"label": "Cancelled", "total": "sum"},
    "on_time": {"label": "On time", "format": "percent", "digits": 0},
    "delay": {"label": "Mean delay", "format": "decimal", "digits": 0, "unit": "min"},
}
DELAYS = {
    "day": "Day",
    "departure": "Departure",
    "flight": "Flight",
    "route": "Route",
    "tailnum": "Aircraft",
    "dep_delay": {"label": "Left late", "unit": "min"},
    "arr_delay": {"label": "Arrived late", "unit": "min"},
}


def build(rows, period, everyone):
    """Return figures, charts and tables of one carrier; `everyone` counts all carriers by day and scheduled hour."""
    carrier, airline = rows[0].carrier, rows[0].airline
    days, hours, delays = by_day(rows, everyone), by_hour(carrier, everyone), longest_delays(rows)
    charts = [
        {"title": "On time by day", "x": "day", "rows": days, "columns": against(airline, "percent")},
        {
            "title": "Mean departure delay by hour",
            "x": "hour",
            "rows": hours,
            "columns": against(airline, "decimal", "min"),
        },
    ]
    tables = [{"title": "Routes, least punctual first", "rows": by_route(rows), "columns": ROUTES}]
    if delays:
        tables.append({"title": "The longest delays", "rows": delays, "columns": DELAYS})
    return {
        "title": f"{airline} out of New York",
        "summary": summary(rows, days, everyone),
        "figures": figures(rows, *standing(carrier, everyone)),
        "charts": [{**chart, "y": ["own", "all"]} for chart in charts],
        "tables": tables,
    }


def share(part, whole):
    """`part` of `whole`, None of nothing: a chart leaves a gap there, a table shows a dash."""
    return part / whole if whole else None


def on_time(rows):
    """The share that arrived less than 15 minutes late; what was cancelled or diverted did not."""
    return share(sum(row.outcome == "on time" for row in rows), len(rows))


def mean(values):
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def summary(rows, days, everyone):
    own, flights = on_time(rows), f"{len(rows):,} flight{'' if len(rows) == 1 else 's'}"
    if own == 1:
        return f"All of {flights} arrived on time."
    everybody = share(sum(row.on_time for row in everyone), sum(row.flights for row in everyone))
    points = round(100 * own) - round(100 * everybody)
    against = f"{abs(points)} points {'above' if points > 0 else 'below'}" if points else "the same as"
    worst = min((day for day in days if day["own"] is not None), key=lambda day: day["own"])
    return (
        f"{own:.0%} of {flights} arrived on time, {against} all carriers together. "
        f"The worst day was {worst['day']:%A}, with {worst['own']:.0%}."
    )


def figures(rows, place, carriers):
    outcomes = Counter(row.outcome for row in rows)
    minutes = {"format": "decimal", "digits": 1, "unit": "min"}
    return [
        {"label": "Flights", "value": len(rows)},
        {"label": "On time", "value": on_time(rows), "format": "percent", "digits": 0},
        {"label": "Place by share on time", "value": f"{place} of {carriers}"},
        {"label": "Cancelled", "value": outcomes["cancelled"]},
        {"label": "Diverted", "value": outcomes["diverted"]},
        {"label": "Mean departure delay", "value": mean(row.dep_delay for row in rows), **minutes},
        {"label": "Mean arrival delay", "value": mean(row.arr_delay for row in rows), **minutes},
        {"label": "An hour late or more", "value": sum((row.arr_delay or 0) >= 60 for row in rows)},
    ]


def standing(carrier, everyone):
    """The carrier's place by share on time, and how many carriers there are; equal shares share the better place."""
    flights, punctual = Counter(), Counter()
    for row in everyone:
        flights[row.other] += row.flights
        punctual[row.other] += row.on_time
    shares = {one: share(punctual[one], flights[one]) for one in flights}
    return 1 + sum(one > shares[carrier] for one in shares.values()), len(shares)


def by_day(rows, everyone):
    own, flights, punctual = defaultdict(list), Counter(), Counter()
    for row in rows:
        own[row.day].append(row)
    for row in everyone:
        flights[row.day] += row.flights
        punctual[row.day] += row.on_time
    return [
        {"day": day, "own": on_time(own[day]), "all": share(punctual[day], flights[day])} for day in sorted(flights)
    ]


def by_hour(carrier, everyone):
    minutes, departed = Counter(), Counter()
    for row in everyone:
        for who in (carrier, "all") if row.other == carrier else ("all",):
            minutes[who, row.hour] += row.minutes
            departed[who, row.hour] += row.departed
    hours = sorted({hour for _, hour in departed})
    return [
        {"hour": f"{hour:02}:00"}
        | {name: share(minutes[who, hour], departed[who, hour]) for name, who in (("own", carrier), ("all", "all"))}
        for hour in hours
    ]


def against(airline, kind, unit=None):
    """Both series of a chart: the carrier's own and everybody's."""
    return {
        name: {"label": label, "format": kind, "digits": 0, "unit": unit}
        for name, label in (("own", airline), ("all", "All carriers"))
    }


def by_route(rows):
    flown = defaultdict(list)
    for row in rows:
        flown[row.origin, row.dest].append(row)
    routes = [
        {
            "route": f"{origin}-{dest}",
            "destination": of_route[0].destination,
            "flights": len(of_route),
            "cancelled": sum(row.outcome == "cancelled" for row in of_route),
            "on_time": on_time(of_route),
            "delay": mean(row.arr_delay for row in of_route),
        }
        for (origin, dest), of_route in flown.items()
    ]
    return sorted(routes, key=lambda route: (route["on_time"], -route["flights"], route["route"]))


def longest_delays(rows, most=10):
    late = sorted((row for row in rows if (row.arr_delay or 0) >= 15), key=lambda row: -row.arr_delay)
    return [{**dict(row), "route": f"{row.origin}-{row.dest}"} for row in late[:most]]
