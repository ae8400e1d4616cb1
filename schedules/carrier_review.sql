-- On time: arrived less than 15 minutes after schedule. A diverted flight has left, but not arrived where it should.
select
    flights.carrier,
    airlines.name as airline,
    day,
    substr(cast(10000 + sched_dep_time as text), 2, 2) || ':' || substr(cast(10000 + sched_dep_time as text), 4, 2)
        as departure,
    flight,
    tailnum,
    origin,
    dest,
    replace(airports.name, '\', '') as destination,         -- the register writes Martha\'s Vineyard
    case
        when cancelled = 1 then 'cancelled'
        when arr_delay is null then 'diverted'
        when arr_delay < 15 then 'on time'
        else 'late'
    end as outcome,
    dep_delay,
    arr_delay
from flights
join airlines on airlines.carrier = flights.carrier
left join airports on airports.faa = dest          -- BQN, PSE, SJU and STT have no row there
where day >= :start and day < :end
order by flights.carrier, day, sched_dep_time, flight
